"""Where a model is, and a hash of what it is."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import xxhash

from lsr.errors import ModelError, OfflineError
from lsr.model_folder import (
    AnySide,
    CodeSide,
    LearnedSide,
    ModelFolder,
    NetworkSide,
    TableSide,
)
from lsr.weights import weight_files

_TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "merges.txt")
_WANTED = ("*.json", "*.txt", "*.model", "*.safetensors", "README.md", "LICENSE*")
_UNWANTED = ("*.bin", "*.pt", "*.onnx", "onnx/*", "openvino/*", "*.msgpack", "*.h5")


def find_model(name: str | Path) -> Path:
    """Return the folder of a model: the bundled one, a local folder, or one from the hub.

    With LSR_OFFLINE=1 or HF_HUB_OFFLINE=1 only models that were downloaded before are found.

    >>> (find_model("bundled") / "model.safetensors").is_file()
    True
    """
    text = str(name)
    if text == "bundled":
        return Path(__file__).parent / "bundled"
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    looks_local = isinstance(name, Path) or text.startswith((".", "/", "~")) or "\\" in text
    if folder.exists() or looks_local or not 0 < text.count("/") < 2:
        raise ModelError(
            f"there is no model folder {text!r}",
            hint="give a folder, a hub id such as naver/splade-v3, or `bundled`",
        )
    return _from_hub(text)


def is_offline() -> bool:
    """Return whether the environment forbids downloads."""
    names = ("LSR_OFFLINE", "HF_HUB_OFFLINE")
    return any(os.environ.get(name, "").lower() in ("1", "true", "yes", "on") for name in names)


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    offline = is_offline()
    hint = f"hf download {name}  (on a machine with a network), or give a folder"
    try:
        found = snapshot_download(
            name,
            allow_patterns=list(_WANTED),
            ignore_patterns=list(_UNWANTED),
            local_files_only=offline,
        )
    except HFValidationError as error:
        raise ModelError(f"{name!r} is neither a folder nor a hub id ({error})") from error
    except LocalEntryNotFoundError as error:
        why = "downloads are off" if offline else "the hub cannot be reached"
        raise OfflineError(f"{name} is not on this machine and {why}", hint=hint) from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"{name} is not a folder here and not a public model on the hub",
            hint="check the name; for a gated model log in with: hf auth login",
        ) from error
    except Exception as error:  # whatever the network layer below the hub client raises
        raise OfflineError(f"{name} cannot be downloaded ({error})", hint=hint) from error
    return Path(found)


def fingerprint(folder: ModelFolder) -> str:
    """Return a hash of weights, tokenizer and settings, 32 hexadecimal digits.

    The files themselves are hashed, so it does not depend on which side is loaded, on the name
    of the folder, or on the model card.
    """
    digest = xxhash.xxh3_128()
    settings = {
        "query": _settings(folder.query),
        "document": _settings(folder.document),
        "prompts": [folder.query_prompt, folder.document_prompt],
        "max_active_dims": folder.max_active_dims,
    }
    digest.update(json.dumps(settings, sort_keys=True).encode())
    sides = [folder.query] if folder.query == folder.document else [folder.query, folder.document]
    for side in sides:
        for file in _files(side):
            update_digest(digest, file)
    return digest.hexdigest()


def _settings(side: AnySide) -> list[Any]:
    if isinstance(side, TableSide):
        plain = ["table", side.max_seq_length]
        return [*plain, side.counts, side.unit] if side.counts or side.unit else plain
    if isinstance(side, CodeSide):
        after = [part if isinstance(part, str) else part.activation for part in side.dense.after]
        dense = side.dense
        return ["codes", dense.max_seq_length, dense.lower_case, *dense.pooling, *after, side.unit]
    if isinstance(side, LearnedSide):
        values = asdict(side)
        return ["learned", *(values[name] for name in values if name not in ("folder", "tensors"))]
    plain = ["network", side.max_seq_length, side.lower_case, side.pooling, side.activation]
    return plain if side.frequency is None else [*plain, "frequency", side.window]


def _files(side: AnySide) -> list[Path]:
    if isinstance(side, TableSide) and not (side.folder / "model.safetensors").is_file():
        return _settings_files(side.folder) + sorted(side.folder.glob("idf.json"))
    if isinstance(side, CodeSide):
        parts = [part.folder for part in side.dense.after if not isinstance(part, str)]
        own = [file for part in [*parts, side.coder] for file in weight_files(part)]
        return [*network_files(side.dense.network), *own, side.coder / "config.json"]
    if isinstance(side, LearnedSide) and side.tensors.is_file():
        return [side.tensors, *network_files(side.folder)]
    if isinstance(side, NetworkSide) and side.frequency is not None:
        return [side.frequency, *network_files(side.folder)]
    return network_files(side.folder)


def network_files(folder: Path) -> list[Path]:
    """Return the files that make a network what it is: settings, tokenizer and weights."""
    return _settings_files(folder) + weight_files(folder)


def _settings_files(folder: Path) -> list[Path]:
    names = ["config.json", *_TOKENIZER_FILES]
    present = [folder / name for name in names if (folder / name).is_file()]
    return present + sorted(folder.glob("*.model"))


def update_digest(digest: Any, file: Path) -> None:
    """Add the name and the content of a file to a digest."""
    digest.update(file.name.encode() + b"\0")
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
