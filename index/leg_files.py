"""The files of a leg's part of a segment: an immutable folder of arrays under one header."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_64_hexdigest

from lsr.errors import ConfigError, IndexFormatError

from . import disk
from .manifest import CHECK_HINT, FORMAT, damaged, parsed, plain, seal, unseal
from .segment import HEADER, FileEntry

#: What the names of a part's files end in; with the header, all that is removed with a part.
SUFFIX = ".bin"

_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*")


class PartWriter:
    """Writes a new folder of arrays and other files, each checksummed; `folder` must not exist.

    Files grow by `put` (arrays of one type, one after another) and `file` (any bytes). `close`
    makes them durable and writes the header last; the folder above still needs `sync_folder`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[str, disk.FileWriter] = {}
        self._types: dict[str, np.dtype[Any]] = {}
        self._scratch: dict[str, disk.FileWriter] = {}
        disk.make_folder(folder)

    def put(self, name: str, array: npt.NDArray[Any]) -> None:
        """Append an array, flat and little-endian, to the one of that name."""
        dtype = array.dtype.newbyteorder("<")
        if self._types.setdefault(name, dtype) != dtype:
            raise ConfigError(f"the array {name} is {self._types[name]}, not {dtype}")
        self.file(name).write(np.ascontiguousarray(array, dtype).reshape(-1))

    def file(self, name: str) -> disk.FileWriter:
        """Return the file of that name, made now if it was not; `close` finishes it."""
        if name not in self._files:
            if not _NAME.fullmatch(name):
                raise ConfigError(f"{name!r} cannot be the name of a part's file")
            self._files[name] = disk.FileWriter(self.folder / f"{name}{SUFFIX}")
        return self._files[name]

    def read_back(self, name: str, start: int, stop: int) -> npt.NDArray[Any]:
        """Return entries `start` to `stop` of what was put under that name."""
        return _read(self._files[name], self._types[name], start, stop)

    def scratch(self, name: str) -> disk.FileWriter:
        """Return a new file for what does not fit the memory; `close` removes it."""
        self._scratch[name] = disk.FileWriter(self.folder / f"{name}{SUFFIX}")
        return self._scratch[name]

    def scratched(self, name: str, dtype: np.dtype[Any], start: int, stop: int) -> npt.NDArray[Any]:
        """Return entries `start` to `stop` of what was written to a scratch file."""
        return _read(self._scratch[name], dtype, start, stop)

    def close(self, facts: Mapping[str, Any]) -> str:
        """Finish all files and write the header with `facts` (JSON); return its checksum."""
        for file in self._scratch.values():
            file.abandon()
            disk.remove_file(file.path)
        entries = {}
        for name, file in self._files.items():
            written, dtype = file.finish(), self._types.get(name)
            entries[name] = {"bytes": written.bytes, "xxh3": written.xxh3}
            if dtype is not None:
                entries[name] |= {"dtype": dtype.str, "shape": [written.bytes // dtype.itemsize]}
        content = {"format": FORMAT, "facts": plain(facts), "files": entries}
        written = disk.write_new(self.folder / HEADER, seal(content))
        disk.sync_folder(self.folder)
        return written.xxh3

    def abort(self) -> None:
        """Remove what has been written. May be called at any time, more than once."""
        for file in [*self._files.values(), *self._scratch.values()]:
            file.abandon()
        remove_part(self.folder)


def _read(file: disk.FileWriter, dtype: np.dtype[Any], start: int, stop: int) -> npt.NDArray[Any]:
    file.flush()
    with disk.reported(file.path, "read"):
        return np.fromfile(file.path, dtype, count=stop - start, offset=start * dtype.itemsize)


class PartFiles:
    """The files of a part as its header describes them; arrays are mapped when asked for."""

    def __init__(self, folder: Path, facts: dict[str, Any], files: dict[str, FileEntry]) -> None:
        self.folder = folder
        self.facts = facts
        self.files = files

    @classmethod
    def open(
        cls, folder: Path, verify: bool = True, *, header_xxh3: str | None = None
    ) -> PartFiles:
        """Return the files of a part, with all checksums verified unless told not to.

        Raises IndexFormatError that names the first file that is not as written.
        """
        found, problems = _inspect(folder, header_xxh3, verify)
        if found is None or problems:
            raise problems[0]
        return found

    def array(self, name: str) -> npt.NDArray[Any]:
        """Return an array, read-only and flat, memory-mapped."""
        entry, path = self._entry(name), self.path(name)
        try:
            return disk.map_array(path, np.dtype(entry.dtype), entry.shape)
        except FileNotFoundError as error:
            raise IndexFormatError(f"{path} is missing", hint=CHECK_HINT) from error

    def path(self, name: str) -> Path:
        """Return where a file is."""
        self._entry(name)
        return self.folder / f"{name}{SUFFIX}"

    @property
    def bytes(self) -> int:
        """What the files weigh, without the header."""
        return sum(entry.bytes for entry in self.files.values())

    def _entry(self, name: str) -> FileEntry:
        if name not in self.files:
            raise damaged(self.folder / HEADER, f"it has no file {name!r}", "what its leg writes")
        return self.files[name]


def part_problems(folder: Path, header_xxh3: str | None = None) -> list[str]:
    """Return what is wrong with a part's files, a sentence for each; empty when sound."""
    return [problem.message for problem in _inspect(folder, header_xxh3, True)[1]]


def remove_part(folder: Path) -> bool:
    """Remove a part's folder; return false if it stays because it holds files of others."""
    if folder.is_dir():
        for file in sorted(folder.glob(f"*{SUFFIX}")):
            disk.remove_file(file)
        disk.remove_file(folder / HEADER)
    return disk.remove_folder(folder)


def _inspect(
    folder: Path, header_xxh3: str | None, verify: bool
) -> tuple[PartFiles | None, list[IndexFormatError]]:
    path = folder / HEADER
    try:
        data = disk.read_bytes(path)
        found = _parsed(folder, data)
    except IndexFormatError as error:
        return None, [error]
    except FileNotFoundError:
        return None, [IndexFormatError(f"{path} is missing", hint=CHECK_HINT)]
    checksum = xxh3_64_hexdigest(data)
    if header_xxh3 not in (None, checksum):
        return found, [damaged(path, f"its checksum is {checksum}", f"{header_xxh3} (manifest)")]
    problems = (_file_problem(found.path(name), found.files[name], verify) for name in found.files)
    return found, [problem for problem in problems if problem is not None]


def _parsed(folder: Path, data: bytes) -> PartFiles:
    path = folder / HEADER
    content = unseal(data, path)

    def parse() -> PartFiles:
        files = {}
        for name, entry in content["files"].items():
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not the name of a part's file")
            dtype, shape = entry.get("dtype", ""), tuple(entry.get("shape", ()))
            files[name] = FileEntry(int(entry["bytes"]), str(entry["xxh3"]), dtype, shape)
            if dtype and shape != (files[name].bytes // np.dtype(dtype).itemsize,):
                raise ValueError(f"{name} is not of shape {shape}")
        return PartFiles(folder, dict(content["facts"]), files)

    return parsed(path, parse)


def _file_problem(path: Path, entry: FileEntry, verify: bool) -> IndexFormatError | None:
    try:
        found = disk.checksum(path) if verify else disk.Written(disk.size(path), entry.xxh3)
    except FileNotFoundError:
        return IndexFormatError(f"{path} is missing", hint=CHECK_HINT)
    if found.bytes != entry.bytes:
        return damaged(path, f"it has {found.bytes:,} bytes", f"{entry.bytes:,}")
    if found.xxh3 != entry.xxh3:
        return damaged(path, f"its checksum is {found.xxh3}", f"{entry.xxh3} (header)")
    return None
