"""Found: what one query found, copied from where the kernels left it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .scratch import Scratch
from .searchable import Live, Searchable
from .windows import frozen

_ZEROS = frozen(np.zeros(1024, np.int64))


class Found(NamedTuple):
    """What one query found, best first, one entry for each document.

    `segments` int64 numbers the segment in the snapshot, `documents` int64 the document in the
    segment, `rows` int64 its best row there, `scores` float32. `path` is `exact` or
    `accumulate` (postings were added up, rank-safe in all segments or not), `blocks` (blocks were
    opened, in some segment), `scan` (rows were scored one by one), or `empty` when there was
    nothing to score. `postings` (or entries of summaries) were added, `scored` rows (documents)
    scored in full and `blocks` opened; numpy, which answers first in a process, does not count.
    """

    segments: npt.NDArray[np.int64]
    documents: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    path: str
    postings: int = 0
    scored: int = 0
    blocks: int = 0


def copied(
    segment: Searchable, scratch: Scratch, at: int, size: int, way: str, *counts: int
) -> Found:
    """Return so many hits that lie in the scratch from `at`."""
    rows = scratch.hits.rows[at : at + size].copy()
    documents = (
        rows if segment.row_document is None else segment.row_document[rows].astype(np.int64)
    )
    owners = _ZEROS[:size] if size <= len(_ZEROS) else np.zeros(size, np.int64)
    return Found(owners, documents, rows, scratch.hits.scores[at : at + size].copy(), way, *counts)


def merged(
    segments: Sequence[Live], scratch: Scratch, total: int, k: int, several: bool, path: str
) -> Found:
    """Return the k best of the hits in the scratch, which is copied from."""
    hits = scratch.hits
    scores, rows, owners = hits.scores[:total], hits.rows[:total], scratch.owners[:total]
    if not several:
        rows, owners = rows.copy(), owners.copy()
        documents = _documents(segments, owners, rows)
        return Found(owners, documents, rows, scores.copy(), path, *scratch.work.counts.tolist())
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    equal = np.flatnonzero(ranked[1:] == ranked[:-1])
    if len(equal) and equal[0] < k:
        _order_ties(segments, order, equal[equal < k], ranked, owners, rows)
    order = order[:k]
    rows, owners = rows[order], owners[order]
    documents = _documents(segments, owners, rows)
    return Found(owners, documents, rows, ranked[:k], path, *scratch.work.counts.tolist())


def _documents(
    segments: Sequence[Live], owners: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return the document of each row, by ordinal in its segment."""
    documents = rows
    for number, live in enumerate(segments):
        if live.segment.row_document is not None:
            mine = owners == number
            documents = documents.copy() if documents is rows else documents
            documents[mine] = live.segment.row_document[rows[mine]]
    return documents


def _order_ties(
    segments: Sequence[Live],
    order: npt.NDArray[np.int64],
    equal: npt.NDArray[np.int64],
    ranked: npt.NDArray[np.float32],
    owners: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
) -> None:
    """Sort each run of equal scores in `order` by document id, in place; ids are read only here.

    equal: places in `order`, ascending, whose score (`ranked`) is that of the next place.
    """
    done = 0
    for start in equal.tolist():
        if start < done:
            continue
        done = int(np.searchsorted(-ranked, -ranked[start], side="right"))
        run = order[start:done]
        if (owners[run] == owners[run[0]]).all():
            continue  # one segment: its hits are in order of id already
        documents = _documents(segments, owners[run], rows[run])
        names: dict[int, bytes] = {}
        for number in np.unique(owners[run]).tolist():
            mine = owners[run] == number
            ids = segments[number].segment.ids(documents[mine].tolist())
            names.update(zip(run[mine].tolist(), (name.encode() for name in ids), strict=True))
        order[start:done] = sorted(run.tolist(), key=names.__getitem__)
