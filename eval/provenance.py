"""Provenance: what has to be known to do an evaluation again."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lsr import __version__
from lsr.encoder import count_threads

from .search_measures import machine

_PACKAGES = (
    "numpy", "numba", "scipy", "torch", "transformers", "tokenizers", "pyarrow", "ir-measures",
    "pytrec-eval-terrier", "ir-datasets", "bm25s", "PyStemmer", "matplotlib",
)  # fmt: skip
#: Variables that change how many threads the libraries use.
_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def provenance() -> dict[str, Any]:
    """Return versions, commit, machine, command line and the time, with what can be known."""
    return {
        "lsr": __version__,
        "commit": commit(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command_line(),
        "python": platform.python_version(),
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
        "machine": {
            "system": f"{platform.system()} {platform.release()}",
            "processor": machine()["processor"],
            "cores": count_threads(None),
            "memory": memory(),
        },
        "environment": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
    }


def command_line() -> str:
    """Return the command of this process, as it could be typed again."""
    program, *rest = sys.argv or [""]
    name = Path(program).name
    return shlex.join(["lsr" if name in ("lsr", "__main__.py") else name, *rest])


def commit() -> str | None:
    """Return the commit of the checkout that lsr runs from, None where it runs from no checkout.

    A `+` behind it says that files were changed since.
    """
    here = Path(__file__).resolve().parent
    asked = ["git", "-C", str(here), "describe", "--always", "--abbrev=12", "--exclude=*"]
    changed = ["git", "-C", str(here), "status", "--porcelain", "--untracked-files=no", ".."]
    try:
        # Installed into some other project's tree, that project's commit would be told.
        tracked = ["git", "-C", str(here), "ls-files", "--error-unmatch", Path(__file__).name]
        if subprocess.run(tracked, capture_output=True, check=False, timeout=10).returncode:
            return None
        found = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=10)
        edits = subprocess.run(changed, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() + ("+" if edits.stdout.strip() else "")


def memory() -> int | None:
    """Return the bytes of memory in this machine, None where it does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
