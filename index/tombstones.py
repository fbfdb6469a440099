"""Tombstones: which documents of a segment are deleted, one bit each, a new file each commit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from lsr.errors import IndexFormatError

from . import disk
from .manifest import CHECK_HINT, TOMBSTONES, SegmentEntry, TombstoneEntry, damaged, tombstone_name

Deleted = npt.NDArray[np.bool_]


def write_tombstones(
    folder: Path, segment: str, generation: int, deleted: Deleted
) -> TombstoneEntry:
    """Write a segment's tombstones durably; return what the manifest says of them.

    The folder of tombstones still needs an fsync.
    """
    file = tombstone_name(segment, generation)
    bits = np.packbits(deleted, bitorder="little").tobytes()
    written = disk.write_new(folder / TOMBSTONES / file, bits)
    return TombstoneEntry(file, int(np.count_nonzero(deleted)), written.xxh3)


def read_tombstones(folder: Path, entry: SegmentEntry) -> Deleted | None:
    """Return a segment's tombstones, (n_documents,), True where deleted; None if it has none.

    The checksum is always verified. Raises IndexFormatError if the file is missing or damaged.
    """
    gone = entry.tombstones
    if gone is None:
        return None
    path = folder / TOMBSTONES / gone.file
    try:
        found = disk.checksum(path)
        bits = np.frombuffer(disk.read_bytes(path), np.uint8)
    except FileNotFoundError as error:
        raise IndexFormatError(f"{path} is missing", hint=CHECK_HINT) from error
    expected = -(-entry.n_documents // 8)
    if found.bytes != expected:
        raise damaged(path, f"it has {found.bytes:,} bytes", f"{expected:,}")
    if found.xxh3 != gone.xxh3:
        raise damaged(path, f"its checksum is {found.xxh3}", f"{gone.xxh3} (manifest)")
    deleted = np.unpackbits(bits, count=entry.n_documents, bitorder="little").astype(np.bool_)
    deleted.flags.writeable = False
    return deleted
