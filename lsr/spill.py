"""Spill: numbers in the order of one key turned into the order of another, on disk."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from lsr.errors import StorageError

#: Entries gathered in memory before they are sorted and written as one run.
ROOM = 4_000_000
_BYTES = 12

Unsigned = npt.NDArray[np.uint32]


class Spill:
    """Takes (key, minor, value) in any order and gives them back by key.

    Keys are below `n_keys`, all three below 2^32. They go through a temporary file of 12 bytes an
    entry, in `folder` or where the system keeps such files. Memory is that of `ROOM` entries
    (150 MB while they are sorted), of the `width` keys that are read at a time, and 8 bytes for
    each `width` keys and `ROOM` entries.

    >>> with Spill(n_keys=3) as spill:
    ...     spill.add(np.array([2, 0, 2]), np.array([7, 8, 9]), np.array([1, 2, 3]))
    ...     [part.tolist() for part in spill.read(2)]
    [[2, 2], [7, 9], [1, 3]]
    """

    def __init__(
        self, n_keys: int, *, width: int = 1, folder: Path | None = None, room: int = ROOM
    ) -> None:
        self.width = width
        self._bounds = np.arange(-(-n_keys // width) + 1, dtype=np.int64) * width
        self._folder = folder
        self._room = room
        self._parts: list[tuple[Unsigned, Unsigned, Unsigned]] = []
        self._held = 0
        #: Where each run begins in the file, in entries, and where each bucket begins in it.
        self._runs: list[tuple[int, npt.NDArray[np.int64]]] = []
        self._written = 0
        self._open: IO[bytes] | None = None

    def add(
        self, keys: npt.NDArray[Any], minors: npt.NDArray[Any], values: npt.NDArray[Any]
    ) -> None:
        """Take some entries."""
        for at in range(0, len(keys), self._room):
            piece = slice(at, at + self._room)
            part = tuple(array[piece].astype(np.uint32) for array in (keys, minors, values))
            self._parts.append((part[0], part[1], part[2]))
            self._held += len(part[0])
            if self._held >= self._room:
                self._write_run()

    def read(self, bucket: int) -> tuple[Unsigned, Unsigned, Unsigned]:
        """Return keys, minors and values of the keys of a bucket, `width` keys each.

        Sorted by key, then by minor; buckets may be read in any order, but nothing added after.
        """
        if self._held:
            self._write_run()
        parts = []
        for start, bounds in self._runs:
            first, last = int(bounds[bucket]), int(bounds[bucket + 1])
            if last > first:
                size = int(bounds[-1])
                offsets = (_BYTES * start + 4 * (size * array + first) for array in range(3))
                parts.append([self._read(offset, last - first) for offset in offsets])
        if not parts:
            nothing = np.empty(0, np.uint32)
            return nothing, nothing, nothing
        keys, minors, values = (np.concatenate([part[at] for part in parts]) for at in range(3))
        order = np.lexsort((minors, keys))
        return keys[order], minors[order], values[order]

    def __enter__(self) -> Spill:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._open is not None:
            self._open.close()

    def _write_run(self) -> None:
        keys, minors, values = (
            np.concatenate([part[at] for part in self._parts]) for at in range(3)
        )
        self._parts, self._held = [], 0
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        bounds = np.searchsorted(keys, self._bounds).astype(np.int64)
        try:
            file = self._file()
            file.seek(_BYTES * self._written)
            for array in (keys, minors[order], values[order]):
                file.write(array.data)
        except OSError as error:
            raise self._failed(error) from error
        self._runs.append((self._written, bounds))
        self._written += len(keys)

    def _read(self, offset: int, count: int) -> Unsigned:
        found = np.empty(count, np.uint32)
        view = found.data.cast("B")
        try:
            file = self._file()
            file.seek(offset)
            while len(view):
                taken = file.readinto(view)  # type: ignore[attr-defined]
                if not taken:
                    raise StorageError("a temporary file is shorter than what was written to it")
                view = view[taken:]
        except OSError as error:
            raise self._failed(error) from error
        return found

    def _file(self) -> IO[bytes]:
        if self._open is None:
            self._open = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
        return self._open

    def _failed(self, error: OSError) -> StorageError:
        where = self._folder or tempfile.gettempdir()
        return StorageError(
            f"a temporary file in {where} failed: {error.strerror or error}",
            hint=f"{_BYTES} bytes are needed for each weight; TMPDIR names another place",
        )
