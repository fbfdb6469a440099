"""Exact search in plain numpy: slow, short, and the oracle for every other way to search.

Scores are float32 sums of float32 products, added term by term in ascending order of the terms,
so that the kernels can be held to them bit for bit. A sum too large for float32 is inf and comes
first; a product too small for it is 0, and a document that scores 0 is no hit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lsr.sparse import SparseVector, SparseVectors  # noqa: F401  (the examples use it)

if TYPE_CHECKING:
    from .searchable import Live


class ExactHit(NamedTuple):
    """A document of one of the segments, with its best row."""

    score: float
    id: str
    segment: int
    document: int
    row: int


def exact_scores(
    indptr: npt.NDArray[np.int64],
    terms: npt.NDArray[Any],
    weights: npt.NDArray[np.float32],
    query: SparseVector,
) -> npt.NDArray[np.float32]:
    """Return the score of every row of a CSR triple; query terms that no row has add nothing.

    >>> rows = SparseVectors.from_dicts([{1: 2.0, 3: 1.0}, {2: 1.0}], vocab_size=4)
    >>> exact_scores(rows.indptr, rows.terms, rows.weights, rows[0]).tolist()
    [5.0, 0.0]
    """
    scores = np.zeros(len(indptr) - 1, np.float32)
    with np.errstate(over="ignore", under="ignore"):
        for term, weight in zip(query.terms, query.weights, strict=True):
            at = np.flatnonzero(terms == term)
            rows = np.searchsorted(indptr, at, side="right") - 1
            scores[rows] += weights[at].astype(np.float32) * weight
    return scores


def exact_search(
    segments: Sequence[Live],
    query: SparseVector,
    k: int,
    allowed: Sequence[npt.NDArray[np.bool_] | None] | None = None,
) -> list[ExactHit]:
    """Return the k best live, allowed documents of the segments; ties by id in UTF-8 order.

    Of the rows of one document the best counts, the first of them when several are.

    >>> from lsr.index.warmup import MemoryLive, MemorySegment
    >>> vectors = SparseVectors.from_dicts([{1: 1.0}, {1: 2.0}], vocab_size=4)
    >>> [hit.id for hit in exact_search([MemoryLive(MemorySegment.build(vectors))], vectors[0], 2)]
    ['1', '0']
    """
    hits = []
    for number, live in enumerate(segments):
        segment = live.segment
        scores = exact_scores(*segment.forward, query)
        live_ones = np.ones(segment.n_documents, bool) if live.deleted is None else ~live.deleted
        keep = None if allowed is None else allowed[number]
        first = segment.document_rows
        bounds = np.arange(segment.n_documents + 1) if first is None else first
        for document in np.flatnonzero(live_ones if keep is None else live_ones & keep).tolist():
            rows = range(*bounds[document : document + 2].tolist())
            row = max(rows, key=scores.__getitem__, default=-1)
            if row >= 0 and scores[row] > 0:
                name = segment.ids([document])[0]
                hits.append(ExactHit(float(scores[row]), name, number, document, row))
    return sorted(hits, key=lambda hit: (-hit.score, hit.id.encode()))[:k]
