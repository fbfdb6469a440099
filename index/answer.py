"""Answers: what search found, as hits and explanations that a person can read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.sparse import SparseVector
from lsr.types import Explanation, Hit, LegScore, Passage, TermProduct

from .found import Found
from .legs import SPARSE
from .search import score_rows
from .segment import Segment
from .store import LiveSegment


class Answer:
    """What a search found, read from the segments when it is asked for."""

    __slots__ = ("_found", "_query", "_segments", "_token")

    def __init__(
        self,
        segments: Sequence[LiveSegment],
        found: Found,
        query: SparseVector,
        token: Callable[[int], str],
    ) -> None:
        self._segments = segments
        self._found = found
        self._query = query
        self._token = token

    def ids(self) -> list[str]:
        """Return the ids of the documents, best first."""
        return ids_of(self._segments, self._found.segments, self._found.documents)

    def scores(self) -> list[float]:
        """Return the scores, best first."""
        scores: list[float] = self._found.scores.tolist()
        return scores

    def hits(self, start: int = 0, stop: int | None = None) -> tuple[Hit, ...]:
        """Return the hits with their documents, best first, or some of them."""
        found, part = self._found, slice(start, stop)
        places = zip(
            found.segments[part].tolist(),
            found.documents[part].tolist(),
            found.rows[part].tolist(),
            found.scores[part].tolist(),
            strict=True,
        )
        return tuple(
            _hit(self._segments[number].segment, rank, ordinal, row, score)
            for rank, (number, ordinal, row, score) in enumerate(places, start + 1)
        )

    def why(self, at: int) -> tuple[TermProduct, ...]:
        """Return the products of the query with the row that made a hit, largest first."""
        forward = self._segments[int(self._found.segments[at])].segment.forward
        row = int(self._found.rows[at])
        span = slice(int(forward.indptr[row]), int(forward.indptr[row + 1]))
        query, token = self._query, self._token
        return _products(query, forward.terms[span], forward.weights[span], token)


def ids_of(
    segments: Sequence[LiveSegment], owners: npt.NDArray[np.int64], documents: npt.NDArray[np.int64]
) -> list[str]:
    """Return the id of each document, by the number of its segment and its ordinal there."""
    if len(segments) == 1:
        return segments[0].segment.ids(documents)
    ids = [""] * len(documents)
    for number, live in enumerate(segments):
        mine = np.flatnonzero(owners == number)
        for at, name in zip(mine.tolist(), live.segment.ids(documents[mine]), strict=True):
            ids[at] = name
    return ids


def explanation(
    live: LiveSegment, ordinal: int, query: SparseVector, token: Callable[[int], str]
) -> Explanation:
    """Return the products of the query with the best row of one document, largest first."""
    segment = live.segment
    rows = segment.rows_of(ordinal)
    scores = score_rows(segment, query, np.arange(rows.start, rows.stop))
    best = int(np.argmax(scores))
    vector = segment.vectors(rows.start + best)[0]
    document = segment.document(ordinal)
    return Explanation(
        id=document.id,
        score=float(scores[best]),
        terms=_products(query, vector.terms, vector.weights, token),
        passage=passage_of(segment, ordinal, document.text, lambda: best),
    )


def _products(
    query: SparseVector,
    terms: npt.NDArray[Any],
    weights: npt.NDArray[np.float32],
    token: Callable[[int], str],
) -> tuple[TermProduct, ...]:
    """Return the products of a query with a row, both with ascending terms, largest first."""
    places = np.searchsorted(terms, query.terms)
    places[places == len(terms)] = 0
    shared = terms[places] == query.terms if len(terms) else np.zeros(len(places), np.bool_)
    products = [
        TermProduct(term, token(term), wanted, weight, wanted * weight)
        for term, wanted, weight in zip(
            query.terms[shared].tolist(),
            query.weights[shared].tolist(),
            weights[places[shared]].tolist(),
            strict=True,
        )
    ]
    products.sort(key=lambda one: (-one.product, one.term))
    return tuple(products)


def _hit(segment: Segment, rank: int, ordinal: int, row: int, score: float) -> Hit:
    name, title, text, fields = segment.parts(ordinal)
    passage = None
    if segment.header.passages:
        number = row - segment.rows_of(ordinal).start
        passage = passage_of(segment, ordinal, text, lambda: number)
    return Hit(name, rank, score, title, text, fields, passage, {SPARSE: LegScore(score, rank)})


def passage_of(
    segment: Segment, ordinal: int, text: str, choose: Callable[[], int | None]
) -> Passage | None:
    """Return the passage that `choose` names, which is asked only where documents are split."""
    spans = segment.spans(ordinal)
    number = None if spans is None else choose()
    if spans is None or number is None:
        return None
    span = spans[number]
    return Passage(number, span.start, span.end, text[span.start : span.end])
