"""Merge: several segments into one, without their deleted documents, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from . import disk
from .documents import DOCUMENTS, documents_schema, stream_batches
from .ids import hash_ids
from .segment import Segment
from .segment_writer import Rows, SegmentWriter

Which = Literal["auto", "all"]

#: More segments than this of one tier are merged by `auto`.
TIER_SEGMENTS = 8
#: A tier holds segments up to this many times larger than the tier below.
TIER_RATIO = 8
_SMALLEST_TIER = 1000
#: `auto` rewrites a segment when more than this part of its documents is deleted.
DELETED_PART = 0.2
#: `auto` does not make segments of more documents than this.
MOST_DOCUMENTS = 10_000_000

_CHUNK = 4096


class Size(NamedTuple):
    """What the policy looks at: a segment's documents, and those of them not deleted."""

    n_documents: int
    n_live: int


def plan(sizes: Sequence[Size], which: Which) -> list[int]:
    """Return which segments to merge next, by position; empty when nothing is to be done.

    `all` wants one segment without deleted documents. `auto` wants at most 8 segments of a
    tier (sizes within a factor of 8) and none with more than a fifth deleted.

    >>> plan([Size(10, 10), Size(10, 9)], "all"), plan([Size(10, 10), Size(10, 9)], "auto")
    ([0, 1], [])
    """
    if which == "all":
        sound = len(sizes) <= 1 and all(size.n_live == size.n_documents for size in sizes)
        return [] if sound else list(range(len(sizes)))
    for at, size in enumerate(sizes):
        if size.n_documents - size.n_live > DELETED_PART * size.n_documents:
            return [at]
    tiers: dict[int, list[int]] = {}
    for at, size in enumerate(sizes):
        tiers.setdefault(_tier(size.n_live), []).append(at)
    for _, members in sorted(tiers.items()):
        if len(members) > TIER_SEGMENTS:
            group = _within_cap(sizes, members)
            if len(group) > 1:
                return group
    return []


def merge_segments(
    sources: Sequence[tuple[Segment, npt.NDArray[np.bool_] | None]], writer: SegmentWriter
) -> None:
    """Append the live documents of all sources to `writer`, in order.

    Sources are read a chunk of documents at a time from their files, not through the mappings,
    so that memory stays bounded and the cache of searches undisturbed.
    """
    schema = documents_schema(writer.fields, passages=writer.passages)
    for segment, deleted in sources:
        ordinal = 0
        for batch in _chunks(segment.folder / DOCUMENTS, schema):
            stop = ordinal + batch.num_rows
            keep = np.ones(batch.num_rows, np.bool_)
            if deleted is not None:
                keep = ~deleted[ordinal:stop]
            if keep.any():
                rows = _live_rows(segment, ordinal, stop, keep)
                live = batch if keep.all() else batch.filter(pa.array(keep))
                ids: list[Any] = live.column(0).to_pylist()
                writer.write([live], ids, hash_ids(ids), rows)
            ordinal = stop


def _tier(n_documents: int) -> int:
    tier, limit = 0, _SMALLEST_TIER
    while n_documents >= limit:
        tier, limit = tier + 1, limit * TIER_RATIO
    return tier


def _within_cap(sizes: Sequence[Size], members: Sequence[int]) -> list[int]:
    """Return as many of the smallest members as may be one segment, in their order."""
    group, total = [], 0
    for at in sorted(members, key=lambda at: sizes[at].n_live):
        total += sizes[at].n_live
        if total > MOST_DOCUMENTS:
            break
        group.append(at)
    return sorted(group)


def _chunks(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for batch in stream_batches(path, schema):
        for start in range(0, batch.num_rows, _CHUNK):
            yield batch.slice(start, _CHUNK)


def _live_rows(segment: Segment, start: int, stop: int, keep: npt.NDArray[np.bool_]) -> Rows:
    """Return the rows of the kept ones among documents `start` to `stop`."""
    document_rows = np.arange(start, stop + 1, dtype=np.int64)
    if segment.document_rows is not None:
        document_rows = _read(segment, "documents.rows", start, stop + 1)
    indptr = _read(segment, "forward.indptr", int(document_rows[0]), int(document_rows[-1]) + 1)
    first, last = int(indptr[0]), int(indptr[-1])
    terms = _read(segment, "forward.terms", first, last)
    weights = _read(segment, segment.header.weights, first, last).astype(np.float32)
    per_document, per_row = np.diff(document_rows), np.diff(indptr)
    if not keep.all():
        row_keep = np.repeat(keep, per_document)
        entry_keep = np.repeat(row_keep, per_row)
        terms, weights = terms[entry_keep], weights[entry_keep]
        per_document, per_row = per_document[keep], per_row[row_keep]
    return Rows(_bounds(per_row), terms, weights, _bounds(per_document))


def _bounds(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    bounds = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=bounds[1:])
    return bounds


def _read(segment: Segment, name: str, start: int, stop: int) -> npt.NDArray[Any]:
    path, dtype = segment.folder / name, np.dtype(segment.header.files[name].dtype)
    with disk.reported(path, "read"):
        return np.fromfile(path, dtype, count=stop - start, offset=start * dtype.itemsize)
