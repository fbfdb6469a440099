"""Neighbours: scores of documents that someone else chose, and documents like a document."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from lsr.errors import ConfigError, DataError
from lsr.sparse import SparseVector, SparseVectors

from .found import Found
from .ids import hash_ids
from .search import score_rows
from .store import LiveSegment


def score_documents(
    segments: Sequence[LiveSegment],
    query: SparseVector,
    ids: Sequence[str],
    missing: float | None = None,
) -> list[float]:
    """Return the score of each document, in the order of `ids`; `missing` for those not live.

    The best row of a document counts. Raises DataError that names the first id without a live
    document when `missing` is None.
    """
    ids = _checked(ids)
    scores = np.full(len(ids), np.nan if missing is None else missing, np.float64)
    left = np.arange(len(ids))
    hashes = hash_ids(ids)
    for live in segments:
        if not len(left):
            break
        ordinals = live.segment.find([ids[at] for at in left.tolist()], hashes[left])
        there = ordinals >= 0
        if live.deleted is not None:
            there[there] = ~live.deleted[ordinals[there]]
        if there.any():
            scores[left[there]] = best_scores(live, query, ordinals[there])
            left = left[~there]
    if len(left) and missing is None:
        absent = ids[int(left[0])]
        more = f" (and {len(left) - 1} more of the {len(ids)} ids)" if len(left) > 1 else ""
        raise DataError(
            f"the index has no document {absent!r}{more}",
            hint="leave such ids out, or give the score that they are to have: missing=0.0",
        )
    return scores.tolist()


def find_like(
    segments: Sequence[LiveSegment],
    document_id: str,
    k: int,
    find: Callable[[SparseVector, int], Found],
) -> Found:
    """Return the k documents that `find(vector, k)` finds for a document's vector, without it.

    Raises DataError when no live document has that id.
    """
    if k < 1:
        raise ConfigError(f"k is {k}; it must be at least 1")
    for number, live in enumerate(segments):
        ordinal = int(live.segment.find(_checked([document_id]))[0])
        if ordinal >= 0 and (live.deleted is None or not live.deleted[ordinal]):
            # The document itself takes one of the places, unless a filter keeps it out.
            return _leave_out(find(own_vector(live, ordinal), k + 1), number, ordinal, k)
    raise DataError(f"the index has no document {document_id!r}")


def own_vector(live: LiveSegment, ordinal: int) -> SparseVector:
    """Return the vector of a document; of several rows, the largest weight of each term."""
    rows = live.segment.rows_of(ordinal)
    vectors = live.segment.vectors(rows.start, rows.stop)
    if len(vectors) == 1:
        return vectors[0]
    terms, at = np.unique(vectors.terms, return_inverse=True)
    weights = np.zeros(len(terms), np.float32)
    np.maximum.at(weights, at, vectors.weights)
    bounds = [0, len(terms)]
    return SparseVectors.from_arrays(bounds, terms, weights, vocab_size=vectors.vocab_size)[0]


def _leave_out(found: Found, segment: int, ordinal: int, k: int) -> Found:
    """Return the first k of what was found but the one document."""
    others = np.flatnonzero((found.segments != segment) | (found.documents != ordinal))[:k]
    return found._replace(
        segments=found.segments[others],
        documents=found.documents[others],
        rows=found.rows[others],
        scores=found.scores[others],
    )


def _checked(ids: Sequence[str]) -> Sequence[str]:
    if isinstance(ids, str):
        raise ConfigError("score takes a list of ids; put the one id in a list")
    for at, one in enumerate(ids):
        if not isinstance(one, str):
            raise DataError(f"id {at} of {len(ids)} is {one!r}; a string is expected")
    return ids


def best_scores(
    live: LiveSegment, query: SparseVector, ordinals: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Return the scores of documents of a segment, each that of its best row."""
    segment = live.segment
    first = segment.document_rows
    if first is None:
        return score_rows(segment, query, ordinals)
    counts = first[ordinals + 1] - first[ordinals]
    starts = np.cumsum(counts) - counts
    rows = np.repeat(first[ordinals] - starts, counts) + np.arange(counts.sum())
    # A segment's writer refuses documents without a row, so no run here is empty.
    best: npt.NDArray[np.float32] = np.maximum.reduceat(score_rows(segment, query, rows), starts)
    return best
