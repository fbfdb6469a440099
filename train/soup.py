"""Soup: the average of several checkpoints, which is often better than the best of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.errors import ConfigError, ModelError
from lsr.model_folder import read_model_folder

from .checkpoints import write_folder

#: Files that must be the same in all folders, or the average would mean nothing.
_SAME = ("modules.json", "router_config.json", "tokenizer.json")


def make_soup(
    folders: Sequence[Path], target: Path, *, shares: Sequence[float] | None = None
) -> None:
    """Write the weighted mean of several models of one run, or of one start, to a new folder.

    Each is a model folder, or a checkpoint that holds one. `shares` are made to add up to 1; all
    equal if absent. Weights are averaged in float64, query tables as well; everything else is
    that of the first. ReLU cuts off elsewhere than in any of them, so measure quality and number
    of terms again. Raises ModelError when the folders have different tokenizers, layouts or
    shapes (arXiv:2203.05482).
    """
    if len(folders) < 2:
        raise ConfigError("a soup needs at least two models", hint="lsr soup A B --out MEAN")
    weights = _normal(shares, len(folders))
    if target.exists():
        raise ConfigError(f"{target} is there already", hint="give another --out")
    roots = [model_in(folder) for folder in folders]
    for root in roots[1:]:
        _check_same(roots[0], root)

    def fill(partial: Path) -> None:
        shutil.copytree(roots[0], partial, dirs_exist_ok=True)
        for file in sorted(roots[0].rglob("*.safetensors")):
            name = file.relative_to(roots[0])
            _average([root / name for root in roots], weights, partial / name)
        _tables_again(partial)

    write_folder(target, fill)


def _normal(shares: Sequence[float] | None, count: int) -> list[float]:
    if shares is None:
        return [1.0 / count] * count
    if len(shares) != count or any(share < 0 for share in shares) or not sum(shares):
        raise ConfigError(
            f"{len(shares)} shares were given for {count} models; one number of 0 or more for "
            "each is expected, not all 0"
        )
    return [share / sum(shares) for share in shares]


def model_in(folder: Path) -> Path:
    """Return the model folder: the folder itself, or `model` in a checkpoint or a run."""
    for found in (folder / "model", folder):
        if (found / "config.json").is_file():
            read_model_folder(found)
            return found
    raise ModelError(
        f"{folder} is neither a model folder nor a checkpoint",
        hint="give folders such as RUN/checkpoints/checkpoint-2000",
    )


def _check_same(first: Path, other: Path) -> None:
    for name in _SAME:
        ours, theirs = first / name, other / name
        if ours.is_file() != theirs.is_file() or (ours.is_file() and _json(ours) != _json(theirs)):
            raise ModelError(
                f"{first} and {other} differ in {name}; only models of one kind and one "
                "vocabulary can be averaged"
            )


def _average(files: Sequence[Path], shares: Sequence[float], target: Path) -> None:
    from safetensors.numpy import load_file, save_file

    first = load_file(files[0])
    sums = {name: shares[0] * part.astype(np.float64) for name, part in first.items()}
    for file, share in zip(files[1:], shares[1:], strict=True):
        if not file.is_file():
            raise ModelError(f"{file} is missing; the first model has such a file")
        found = load_file(file)
        for name, part in first.items():
            if name not in found or found[name].shape != part.shape:
                there = str(found[name].shape) if name in found else "nothing"
                raise ModelError(
                    f"{file}: {name!r} is {there}, in the first model it is {part.shape}"
                )
            sums[name] += share * found[name].astype(np.float64)
    means: dict[str, npt.NDArray[Any]] = {
        name: np.ascontiguousarray(total, dtype=first[name].dtype) for name, total in sums.items()
    }
    save_file(means, str(target), metadata={"format": "pt"})
    target.chmod(0o644)


def _tables_again(folder: Path) -> None:
    """Write idf.json anew, which repeats the query table for engines that read it."""
    table = folder / "idf.json"
    if not table.is_file():
        return
    from lsr.static_query import StaticTable

    side = read_model_folder(folder).query
    weights = StaticTable(side).weights  # type: ignore[arg-type]
    vocabulary = _json(folder / "tokenizer.json")["model"]["vocab"]
    content = {token: float(weights[term]) for token, term in vocabulary.items()}
    table.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _json(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))
