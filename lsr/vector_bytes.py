"""Bytes out: a file of vectors, compressed when its name says so."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def compressed(path: Path, name: str) -> Iterator[IO[bytes]]:
    """Open `path` for writing, compressed if `name`, which it will get, ends in .gz or .zst.

    The same bytes go in, the same come out: no time stamp is written.
    """
    with ExitStack() as stack:
        raw: Any = stack.enter_context(path.open("wb"))
        if name.endswith(".gz"):
            raw = stack.enter_context(gzip.GzipFile("", "wb", 6, raw, 0))
        elif name.endswith(".zst"):
            import zstandard

            raw = stack.enter_context(zstandard.ZstdCompressor().stream_writer(raw, closefd=False))
        yield raw
