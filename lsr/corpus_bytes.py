"""Bytes in: files, pipes and compressed streams, as numbered lines of bounded size."""

from __future__ import annotations

import io
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from lsr.errors import DataError

#: The longest line that is read; a longer one is a bad record.
LINE_LIMIT = 64 * 2**20
#: Compression suffixes, and the first bytes by which each is told (whatever the suffix says).
SUFFIXES = {".gz": "gzip", ".zst": "zstd", ".bz2": "bzip2", ".xz": "xz"}
_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
}
_CHUNK = 2**18
# A frame of zstd can hold long runs of one byte; a small bite keeps what comes out small too.
_ZSTD_BITE = 2**13
_KEPT = 8000


class Broken(NamedTuple):
    """A record that could not be read at all: why, and its first bytes."""

    reason: str
    raw: bytes = b""


class CountedFile(io.RawIOBase):
    """A readable stream that knows how many bytes have been taken from it."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__()
        self._stream = stream
        self.taken = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer and return the number of bytes, 0 at the end."""
        read = getattr(self._stream, "read1", self._stream.read)
        data = read(len(buffer))
        buffer[: len(data)] = data
        self.taken += len(data)
        return len(data)


@contextmanager
def opened(source: Path | IO[bytes] | None) -> Iterator[CountedFile]:
    """Open a file, take an open stream as it is, or (None) the standard input."""
    if not isinstance(source, Path):
        yield CountedFile(sys.stdin.buffer if source is None else source)
        return
    try:
        stream = source.open("rb", buffering=0)
    except OSError as error:
        raise DataError(f"{source}: cannot be read: {error.strerror}") from error
    with stream:
        yield CountedFile(stream)


class Damaged(Exception):
    """The compressed data end early or are not what they say."""


def chunks(file: CountedFile, name: str = "") -> Iterator[bytes]:
    """Yield the decompressed bytes piece by piece; plain bytes come as they are."""
    buffered = io.BufferedReader(file, _CHUNK)
    head = buffered.peek(6)[:6]
    kind = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)
    if kind is None:
        if not head and Path(name).suffix in SUFFIXES:
            raise Damaged("the file is empty, although its name says that it is compressed")
        while chunk := buffered.read(_CHUNK):
            yield chunk
    elif kind == "zstd":
        yield from _zstd(buffered)
    else:
        yield from _stdlib(buffered, kind)


def _stdlib(buffered: io.BufferedReader[CountedFile], kind: str) -> Iterator[bytes]:
    import bz2
    import gzip
    import lzma

    openers: dict[str, Any] = {"gzip": gzip.GzipFile, "bzip2": bz2.BZ2File, "xz": lzma.LZMAFile}
    opener = openers[kind]
    stream = opener(fileobj=buffered) if kind == "gzip" else opener(buffered)
    with stream:
        try:
            while chunk := stream.read1(_CHUNK):
                yield chunk
        except EOFError as error:
            raise Damaged(f"the {kind} data are cut off") from error
        except (OSError, zlib.error, lzma.LZMAError) as error:
            raise Damaged(f"the {kind} data are damaged ({error})") from error


def _zstd(buffered: io.BufferedReader[CountedFile]) -> Iterator[bytes]:
    import zstandard

    decoder = zstandard.ZstdDecompressor().decompressobj()
    begun = False
    try:
        while bite := buffered.read(_ZSTD_BITE):
            while bite:
                if decoder.eof:
                    decoder = zstandard.ZstdDecompressor().decompressobj()
                begun = True
                if data := decoder.decompress(bite):
                    yield data
                bite = decoder.unused_data if decoder.eof else b""
    except zstandard.ZstdError as error:
        raise Damaged(f"the zstd data are damaged ({error})") from error
    if begun and not decoder.eof:
        raise Damaged("the zstd data are cut off")


def lines(
    file: CountedFile, name: str = "", *, limit: int = LINE_LIMIT
) -> Iterator[tuple[int, bytes | Broken]]:
    """Yield (number from 1, line without its line feed) for every line, blank ones too.

    A mark of byte order at the start is dropped. A line above `limit` bytes comes as Broken and
    is never held whole. Compressed data that end early or are damaged come as one last Broken,
    in place of the line that was being read.
    """
    number = 0
    tail = _Tail(limit)
    source = chunks(file, name)
    try:
        for at, chunk in enumerate(source):
            if at == 0 and chunk.startswith(b"\xef\xbb\xbf"):
                chunk = chunk[3:]
            pieces = chunk.split(b"\n")
            last = pieces.pop()
            for piece in pieces:
                number += 1
                if tail.size or len(piece) > limit:
                    tail.add(piece)
                    yield number, tail.take()
                else:
                    yield number, piece
            tail.add(last)
    except Damaged as error:
        yield number + 1, Broken(f"{error}; what could be read ends at line {number}", tail.start())
        return
    except OSError as error:
        raise DataError(f"{name}: cannot be read after line {number}: {error.strerror}") from error
    if tail.size:
        yield number + 1, tail.take()


class _Tail:
    """The line that has begun and not ended, dropped but for its start when it grows too long."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self.size = 0

    def add(self, piece: bytes) -> None:
        self.size += len(piece)
        if self.size <= self._limit:
            self._pieces.append(piece)
        else:
            self._pieces = [self.start() or piece[:_KEPT]]

    def start(self) -> bytes:
        kept: list[bytes] = []
        left = _KEPT
        for piece in self._pieces:
            kept.append(piece[:left])
            left -= len(kept[-1])
            if left <= 0:
                break
        return b"".join(kept)

    def take(self) -> bytes | Broken:
        size = self.size
        whole = b"".join(self._pieces)
        self._pieces, self.size = [], 0
        if size > self._limit:
            return Broken(
                f"the line has {size:,} bytes; at most {self._limit:,} are read", whole[:_KEPT]
            )
        return whole
