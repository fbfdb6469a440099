"""The file system as the index uses it: every change goes through here and can be stepped."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from xxhash import xxh3_64

from lsr.errors import StorageError

#: Called with a name before and after each change of the file system. The crash tests set it, in
#: a process of their own, to kill that process at every step in turn.
on_step: Callable[[str], None] | None = None

_BUFFER = 1 << 20

_FULL = "free some space on that disk, then run the command again; the last commit is unharmed"
_RIGHTS = "make the index folder writable for this user, or copy the index to one that is"
_CAUSES: dict[int, tuple[str, str]] = {
    errno.ENOSPC: ("the disk is full", _FULL),
    errno.EDQUOT: ("the disk quota is used up", _FULL),
    errno.EFBIG: ("the file grew past the limit for one file", "raise the limit (ulimit -f)"),
    errno.EROFS: ("the file system is read-only", _RIGHTS),
    errno.EACCES: ("permission denied", _RIGHTS),
    errno.EPERM: ("the operation is not permitted", _RIGHTS),
    errno.EMFILE: ("this process has too many files open", "raise the limit (ulimit -n)"),
    errno.ENFILE: ("the system has too many files open", "close other programs, then try again"),
    errno.EIO: ("the disk reported a read or write error", "check the disk, then run lsr check"),
}


class Written(NamedTuple):
    """What a finished file holds: its size in bytes and the XXH3-64 of them in hex."""

    bytes: int
    xxh3: str


@contextmanager
def reported(path: Path, doing: str) -> Iterator[None]:
    """Turn an OSError inside the block into a StorageError that names the path and the remedy."""
    try:
        yield
    except OSError as error:
        cause, hint = _CAUSES.get(error.errno or 0, (error.strerror or str(error), None))
        raise StorageError(f"{path}: {doing} failed: {cause}", hint=hint) from error


@contextmanager
def _changing(path: Path, doing: str) -> Iterator[None]:
    if on_step is not None:
        on_step(f"before {doing} {path.name}")
    with reported(path, doing):
        yield
    if on_step is not None:
        on_step(f"after {doing} {path.name}")


class FileWriter:
    """A new file, written from start to end and checksummed on the way.

    `finish` makes it durable; nothing may be relied on before. The file must not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._buffer = bytearray()
        self._hash = xxh3_64()
        self._bytes = 0
        with _changing(path, "create"):
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o666)

    def write(self, data: Any) -> int:
        """Append a bytes-like object; return its size. Small pieces are gathered first."""
        view = memoryview(data)
        if view.nbytes == 0:
            return 0
        view = view.cast("B")
        if view.nbytes >= _BUFFER:
            self.flush()
            self._put(view)
        else:
            self._buffer += view
            if len(self._buffer) >= _BUFFER:
                self.flush()
        self._bytes += view.nbytes
        return view.nbytes

    def tell(self) -> int:
        """Return how many bytes have been given to `write`."""
        return self._bytes

    def flush(self) -> None:
        """Hand all gathered bytes to the operating system."""
        if self._buffer:
            gathered, self._buffer = self._buffer, bytearray()
            self._put(memoryview(gathered))

    def finish(self) -> Written:
        """Flush, fsync and close the file; return its size and checksum."""
        self.flush()
        with _changing(self.path, "fsync"):
            os.fsync(self._fd)
        self.abandon()
        return Written(self._bytes, self._hash.hexdigest())

    def abandon(self) -> None:
        """Close the file as it is, without making it durable. May be called twice."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            with reported(self.path, "close"):
                os.close(fd)

    def _put(self, view: memoryview) -> None:
        self._hash.update(view)
        with _changing(self.path, "write"):
            while view.nbytes:
                view = view[os.write(self._fd, view) :]


_BINARY: int = getattr(os, "O_BINARY", 0)


def write_new(path: Path, data: bytes) -> Written:
    """Write a small new file and make it durable; its folder still needs `sync_folder`."""
    writer = FileWriter(path)
    try:
        writer.write(data)
        return writer.finish()
    finally:
        writer.abandon()


def replace(path: Path, data: bytes) -> None:
    """Give `path` new content, at once and durably: readers see the old or the new, never a mix.

    Writes `path` + ".tmp", fsyncs it, renames it over `path` and fsyncs the folder.
    """
    temporary = path.with_name(path.name + ".tmp")
    remove_file(temporary)
    try:
        write_new(temporary, data)
        with _changing(path, "rename"):
            temporary.replace(path)
    except BaseException:
        # Only tidiness: the next writer removes it too, and the reason matters more than this.
        with suppress(StorageError):
            remove_file(temporary)
        raise
    sync_folder(path.parent)


def overwrite(path: Path, data: bytes) -> None:
    """Write a file that nothing relies on, in place and without fsync."""
    with _changing(path, "overwrite"):
        path.write_bytes(data)


def make_folder(path: Path, *, exist_ok: bool = False) -> None:
    """Make a folder and those above it."""
    if exist_ok and path.is_dir():
        return
    with _changing(path, "mkdir"):
        path.mkdir(parents=True, exist_ok=exist_ok)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable; a no-op where folders cannot be opened (Windows)."""
    if os.name == "nt":
        return
    with _changing(path, "fsync"):
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def remove_file(path: Path) -> None:
    """Remove a file if it is there."""
    with reported(path, "remove"):
        if not path.exists():
            return
    with _changing(path, "remove"):
        path.unlink(missing_ok=True)


def remove_folder(path: Path) -> bool:
    """Remove a folder if it is empty; return whether it is gone."""
    with _changing(path, "rmdir"):
        try:
            path.rmdir()
        except FileNotFoundError:
            return True
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            return False
    return True


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn an OSError inside the block into a StorageError, but leave FileNotFoundError be."""
    try:
        with reported(path, "read"):
            yield
    except StorageError as error:
        if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
            raise FileNotFoundError(str(path)) from error
        raise


def read_bytes(path: Path) -> bytes:
    """Return the content of a small file."""
    with reading(path):
        return path.read_bytes()


def size(path: Path) -> int:
    """Return the size of a file in bytes."""
    with reading(path):
        return path.stat().st_size


def checksum(path: Path) -> Written:
    """Return size and XXH3-64 of a file, reading it once."""
    digest, total = xxh3_64(), 0
    with reading(path), path.open("rb", buffering=0) as file:
        chunk = bytearray(min(_BUFFER, os.fstat(file.fileno()).st_size + 1))
        view = memoryview(chunk)
        while count := file.readinto(chunk):
            digest.update(view[:count])
            total += count
    return Written(total, digest.hexdigest())


def map_array(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Return a file as a read-only array, memory-mapped, that keeps no file open.

    The mapping outlives the file's name: an array goes on reading after its file is removed.
    """
    if 0 in shape:
        array = np.empty(shape, dtype)
        array.flags.writeable = False
        return array
    with reading(path), pa.memory_map(str(path)) as file:
        mapped: npt.NDArray[Any] = np.frombuffer(memoryview(file.read_buffer()), dtype=dtype)
        return mapped.reshape(shape)
