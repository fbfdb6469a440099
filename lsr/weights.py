"""Tensors out of safetensors files, as float32 numpy arrays."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lsr.errors import ModelError

_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4"}
_INDEX = "model.safetensors.index.json"


class _Entry(NamedTuple):
    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int


class WeightFiles:
    """The tensors of a model folder by name: one `model.safetensors`, its shards, or `name`.

    Only the headers are read; `tensor` maps the file and returns float32. Raises ModelError when
    there are no weights, only pickles, or a file is damaged or cut short.
    """

    def __init__(self, folder: Path, name: str | None = None) -> None:
        self.folder = folder
        self.files = weight_files(folder) if name is None else [_named(folder / name)]
        self._maps: dict[Path, npt.NDArray[np.uint8]] = {}
        self._entries: dict[str, _Entry] = {}
        for file in self.files:
            self._entries.update(_read_header(file))

    @property
    def names(self) -> frozenset[str]:
        """The names of all tensors."""
        return frozenset(self._entries)

    @property
    def n_numbers(self) -> int:
        """How many numbers all tensors have together."""
        return sum(math.prod(entry.shape) for entry in self._entries.values())

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor without reading it."""
        return self._entry(name).shape

    def tensor(self, name: str) -> npt.NDArray[np.float32]:
        """Return a tensor as float32; a float32 tensor is a private mapping of the file."""
        entry = self._entry(name)
        kind = np.dtype(_DTYPES[entry.dtype])
        size = int(np.prod(entry.shape, dtype=np.int64)) * kind.itemsize
        if entry.file not in self._maps:
            self._maps[entry.file] = np.memmap(entry.file, np.uint8, mode="c")
        raw = self._maps[entry.file][entry.start : entry.start + size]
        if entry.start % kind.itemsize:
            raw = raw.copy()
        values = np.asarray(raw).view(kind).reshape(entry.shape)
        if entry.dtype == "BF16":
            return (values.astype(np.uint32) << 16).view(np.float32)
        return values.astype(np.float32, copy=False)

    def _entry(self, name: str) -> _Entry:
        if name not in self._entries:
            raise ModelError(f"the weights in {self.folder} have no tensor {name!r}")
        return self._entries[name]


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a model folder; ModelError when there are none."""
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    index = folder / _INDEX
    if index.is_file():
        shards = sorted(set(_shard_names(index)))
        missing = [name for name in shards if not (folder / name).is_file()]
        if missing:
            raise ModelError(
                f"{index} lists {missing[0]}, which is not in the folder",
                hint="fetch the whole model again",
            )
        return [folder / name for name in shards]
    pickles = sorted(path.name for kind in ("*.bin", "*.pt") for path in folder.glob(kind))
    if pickles:
        raise ModelError(
            f"{folder} has its weights only as a pickle ({pickles[0]}); safetensors is expected",
            hint="load it once with transformers and write it with "
            "model.save_pretrained(folder, safe_serialization=True)",
        )
    raise ModelError(f"{folder} has no model.safetensors", hint="fetch the whole model again")


def _named(file: Path) -> Path:
    if not file.is_file():
        raise ModelError(f"{file} is missing", hint="fetch the whole model again")
    return file


def _shard_names(index: Path) -> list[str]:
    try:
        names = list(json.loads(index.read_text("utf-8"))["weight_map"].values())
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(f"{index} is not an index of safetensors shards ({error})") from error
    for name in names:
        if not isinstance(name, str) or Path(name).name != name:
            raise ModelError(f"{index} lists the shard {name!r}, which is not a plain file name")
    return names


def _read_header(file: Path) -> dict[str, _Entry]:
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if size < 8 or length > size - 8:
                raise _cut_short(file, size, length + 8)
            header = json.loads(stream.read(length))
        entries = {
            name: _entry(file, meta, 8 + length)
            for name, meta in header.items()
            if name != "__metadata__"
        }
        end = max((8 + length + meta["data_offsets"][1] for meta in _tensors(header)), default=0)
    except (ValueError, KeyError, AttributeError, TypeError, IndexError) as error:
        raise ModelError(
            f"{file} is not a safetensors file: its header cannot be read ({error})",
            hint="fetch the model again",
        ) from error
    if size < end:
        raise _cut_short(file, size, end)
    return entries


def _tensors(header: dict[str, Any]) -> list[dict[str, Any]]:
    return [meta for name, meta in header.items() if name != "__metadata__"]


def _entry(file: Path, meta: dict[str, Any], base: int) -> _Entry:
    start, end = meta["data_offsets"]
    shape = tuple(int(side) for side in meta["shape"])
    dtype = meta["dtype"]
    if dtype in _DTYPES:
        expected = int(np.prod(shape, dtype=np.int64)) * np.dtype(_DTYPES[dtype]).itemsize
        if end - start != expected or start < 0:
            raise ValueError(f"a tensor of shape {shape} {dtype} has {end - start} bytes")
    return _Entry(file, dtype, shape, base + start)


def _cut_short(file: Path, size: int, expected: int) -> ModelError:
    return ModelError(
        f"{file} is cut short: it has {size} bytes, its header promises {expected}",
        hint="fetch the model again",
    )
