"""The doctor: is everything here that lsr needs, and what would make it faster?"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from lsr import __version__
from lsr.errors import LsrError
from lsr.output import size

Status = Literal["ok", "note", "broken"]

_CORE = (
    "numpy", "numba", "pyarrow", "tokenizers", "safetensors", "torch", "transformers", "scipy",
    "ir-datasets", "ir-measures", "faiss-cpu", "httpx2",
)  # fmt: skip
_OPTIONAL = {
    "sentence-transformers": "the peer of lsr bench encode",
    "splade-index": "a peer of the search benchmark",
}
_CPU_FEATURES = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16")
_LITTLE_DISK = 2 * 10**9
_MODEL_PROBE = "does it work?"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `note` is worth knowing; `broken` stops lsr from working."""

    name: str
    status: Status
    found: str
    hint: str | None = None


def examine(
    load_settings: Callable[[], tuple[str, int | None]], folder: Path | None = None
) -> list[Finding]:
    """Return what was found, in the order of a report.

    `load_settings` gives the model and the number of threads in force, or raises ConfigError;
    `folder` is the one whose disk is looked at, the current one by default.
    """
    model, threads, findings = "bundled", None, [_versions()]
    try:
        model, threads = load_settings()
        findings.append(Finding("settings", "ok", "lsr config show --origin lists them"))
    except LsrError as error:
        findings.append(Finding("settings", "broken", error.message, error.hint))
    findings += [
        *_variables(),
        _processor(),
        _threads(threads),
        *_packages(),
        _kernel_cache(),
        _network(),
        _model(model),
        _disk(folder or Path.cwd()),
    ]
    return findings


def _versions() -> Finding:
    python = platform.python_version()
    found = f"lsr {__version__}, Python {python}, {platform.system()} {platform.machine()}"
    return Finding("version", "ok", found)


def _variables() -> Iterator[Finding]:
    from lsr.config import unknown_variables

    for sentence in unknown_variables(os.environ):
        yield Finding("variable", "note", sentence)


def _processor() -> Finding:
    name, flags = platform.processor() or platform.machine(), set[str]()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, _, value = (part.strip() for part in line.partition(":"))
            if key in ("model name", "Model"):
                name = value
            elif key in ("flags", "Features"):
                flags = set(value.split())
                break
    except OSError:
        # Only Linux has the file; elsewhere the name must do.
        return Finding("processor", "ok", name)
    present = [feature for feature in _CPU_FEATURES if feature in flags]
    return Finding(
        "processor", "ok", f"{name} ({', '.join(present) or 'no vector features known'})"
    )


def _threads(asked: int | None) -> Finding:
    cores = os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    found = f"{asked or allowed} threads; {allowed} of {cores} cores may be used"
    if asked is not None and asked > allowed:
        return Finding("threads", "note", found, "more threads than cores make nothing faster")
    return Finding("threads", "ok", found)


def _packages() -> Iterator[Finding]:
    present: list[str] = []
    missing: list[str] = []
    for name in _CORE:
        version = _version(name)
        (present if version else missing).append(f"{name} {version or ''}".strip())
    if missing:
        hint = f"python -m pip install {' '.join(missing)}"
        yield Finding("packages", "broken", f"not installed: {', '.join(missing)}", hint)
    yield Finding("packages", "ok", ", ".join(present))
    for name, purpose in _OPTIONAL.items():
        version = _version(name)
        found = f"{name} {version}" if version else f"{name} is not installed ({purpose})"
        yield Finding("optional", "ok" if version else "note", found)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _kernel_cache() -> Finding:
    from importlib.util import find_spec

    from lsr.numba_cache import NUMBA_VARIABLE, choose

    named = os.environ.get(NUMBA_VARIABLE)
    if named:
        if os.access(named, os.W_OK):
            return Finding("kernel cache", "ok", f"{named} ({NUMBA_VARIABLE})")
        hint = f"make the folder writable, or unset {NUMBA_VARIABLE}"
        return Finding("kernel cache", "note", f"{named} cannot be written", hint)
    spec = find_spec("lsr.index")
    homes = [Path(spec.origin).parent] if spec is not None and spec.origin else []
    chosen = choose(homes)
    if chosen is None:
        return Finding("kernel cache", "ok", "beside the package")
    if chosen.name.startswith("lsr-numba-"):
        return Finding(
            "kernel cache",
            "note",
            "no folder can be written, so every process compiles the kernels anew",
            "set LSR_CACHE to a folder that can be written, then lsr warmup",
        )
    return Finding("kernel cache", "ok", str(chosen))


def _network() -> Finding:
    from lsr.model_files import is_offline

    return Finding("network", "ok", "never used (offline)" if is_offline() else "may be used")


def _model(name: str) -> Finding:
    from lsr.encoder import load_encoder

    try:
        encoder = load_encoder(name, side="query")
        terms = encoder.encode_queries([_MODEL_PROBE]).nnz
    except LsrError as error:
        return Finding("model", "broken", f"{name}: {error.message}", error.hint)
    except (ImportError, OSError) as error:
        return Finding("model", "broken", f"{name}: {error}")
    licence = encoder.licence or "licence not stated"
    return Finding(
        "model", "ok", f"{name}: {encoder.vocab_size:,} terms, {licence}; {terms} active"
    )


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    if free < _LITTLE_DISK:
        return Finding("disk", "note", f"{size(free)} free at {folder}", "an index needs more soon")
    return Finding("disk", "ok", f"{size(free)} free at {folder}")
