"""What the public layouts of sparse and dense model folders have in common."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lsr.errors import ModelError
from lsr.tokens import NO_LIMIT, read_json

_TRANSFORMER_CONFIGS = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
#: These place their first token at position `pad_token_id + 1`.
_OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "longformer", "mpnet", "xlm-roberta-xl")


def read_chain(path: Path) -> list[tuple[str, str]]:
    """Return (type, folder) of each module that modules.json lists, in their order."""
    file = path / "modules.json"
    try:
        entries = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{file} cannot be read as JSON ({error})", hint="fetch the model again"
        ) from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ModelError(f"{file} is not a list of modules", hint="fetch the model again")
    entries.sort(key=lambda entry: int(entry.get("idx", 0)))
    return [(_text(entry, "type"), _text(entry, "path")) for entry in entries]


def kind_of(type_name: str) -> str:
    """Return the class that a module's type names, without the package it came from.

    >>> kind_of("sentence_transformers.models.Pooling")
    'Pooling'
    """
    return type_name.rsplit(".", 1)[-1]


def inside(path: Path, name: str) -> Path:
    """Return the folder of a module; ModelError when its name leads out of the model."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ModelError(f"{path}: module path {name!r} leads out of the model folder")
    return path / name if name else path


def transformer_settings(folder: Path) -> dict[str, Any]:
    """Return what sentence-transformers keeps about a Transformer module, {} when nothing."""
    found = next((name for name in _TRANSFORMER_CONFIGS if (folder / name).is_file()), None)
    return {} if found is None else read_json(folder / found)


def max_length(folder: Path, config: dict[str, Any], *limits: object) -> int:
    """Return the longest text in tokens: the first limit that is given, else the tokenizer's.

    Never more than there are positions in `config`, the settings of the network.
    """
    length = NO_LIMIT
    tokenizer = read_json(folder / "tokenizer_config.json", missing={})
    for value in (*limits, tokenizer.get("model_max_length")):
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            length = int(min(value, NO_LIMIT))
            break
    return min(length, _positions(config))


def prompts(path: Path, settings: dict[str, Any]) -> tuple[str, str]:
    """Return the query and the document prompt as `encode_query` and `encode_document` pick them.

    sentence-transformers always has the names `query` and `document`, empty when not given, so
    neither `passage` nor `default_prompt_name` is ever reached by the two.
    """
    named = settings.get("prompts") or {}
    default = settings.get("default_prompt_name")
    file = path / "config_sentence_transformers.json"
    if not isinstance(named, dict):
        raise ModelError(f"{file}: `prompts` is not an object of names and texts")
    if default is not None and default not in {"query", "document", *named}:
        raise ModelError(f"{file}: default_prompt_name {default!r} is not among the prompts")
    chosen = [named.get(name) or "" for name in ("query", "document")]
    if not all(isinstance(prompt, str) for prompt in chosen):
        raise ModelError(f"{file}: a prompt is not a text")
    return chosen[0], chosen[1]


def licence(path: Path) -> str | None:
    """Return the licence that the front matter of the model card names."""
    try:
        lines = (path / "README.md").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return None
    if not lines or lines[0].strip() != "---":
        return None
    for line in lines[1:]:
        if line.strip() == "---":
            break
        key, _, value = line.partition(":")
        if key.strip() == "license":
            return value.strip().strip("\"'") or None
    return None


def _positions(config: dict[str, Any]) -> int:
    positions = config.get("max_position_embeddings")
    if not isinstance(positions, int) or positions <= 0:
        return NO_LIMIT
    if config.get("model_type") in _OFFSET_POSITIONS:
        positions -= int(config.get("pad_token_id") or 0) + 1
    return positions


def _text(entry: dict[str, Any], key: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str):
        raise ModelError(f"modules.json: a module has no {key!r}", hint="fetch the model again")
    return value
