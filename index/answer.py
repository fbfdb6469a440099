"""Answers: what search found, as hits and explanations that a person can read."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lsr.sparse import SparseVector
from lsr.types import Document, Explanation, Hit, Passage, TermProduct

from .search import Found, score_rows
from .store import LiveSegment


class Answer:
    """What a search found, read from the segments when it is asked for."""

    __slots__ = ("_found", "_segments")

    def __init__(self, segments: Sequence[LiveSegment], found: Found) -> None:
        self._segments = segments
        self._found = found

    def ids(self) -> list[str]:
        """Return the ids of the documents, best first."""
        found = self._found
        if len(self._segments) == 1:
            return self._segments[0].segment.ids(found.documents)
        ids = [""] * len(found.documents)
        for number, live in enumerate(self._segments):
            mine = np.flatnonzero(found.segments == number)
            names = live.segment.ids(found.documents[mine])
            for at, name in zip(mine.tolist(), names, strict=True):
                ids[at] = name
        return ids

    def scores(self) -> list[float]:
        """Return the scores, best first."""
        scores: list[float] = self._found.scores.tolist()
        return scores

    def hits(self) -> tuple[Hit, ...]:
        """Return the hits with their documents, best first."""
        found = self._found
        numbers = found.segments.tolist()
        return tuple(_hit(self._segments[number], found, at) for at, number in enumerate(numbers))


def explanation(
    live: LiveSegment, ordinal: int, query: SparseVector, token: Callable[[int], str]
) -> Explanation:
    """Return the products of the query with the best row of one document, largest first."""
    segment = live.segment
    rows = segment.rows_of(ordinal)
    scores = score_rows(segment, query, np.arange(rows.start, rows.stop))
    best = int(np.argmax(scores))
    vector = segment.vectors(rows.start + best)[0]
    shared, at_query, at_document = np.intersect1d(
        query.terms, vector.terms, assume_unique=True, return_indices=True
    )
    products = [
        TermProduct(term, token(term), wanted, weight, wanted * weight)
        for term, wanted, weight in zip(
            shared.tolist(),
            query.weights[at_query].tolist(),
            vector.weights[at_document].tolist(),
            strict=True,
        )
    ]
    products.sort(key=lambda one: (-one.product, one.term))
    document = segment.document(ordinal)
    return Explanation(
        id=document.id,
        score=float(scores[best]),
        terms=tuple(products),
        passage=_passage(live, ordinal, best, document),
    )


def _hit(live: LiveSegment, found: Found, at: int) -> Hit:
    ordinal = int(found.documents[at])
    document = live.segment.document(ordinal)
    number = int(found.rows[at]) - live.segment.rows_of(ordinal).start
    return Hit(
        id=document.id,
        rank=at + 1,
        score=float(found.scores[at]),
        title=document.title,
        text=document.text,
        fields=document.fields,
        passage=_passage(live, ordinal, number, document),
    )


def _passage(live: LiveSegment, ordinal: int, number: int, document: Document) -> Passage | None:
    spans = live.segment.spans(ordinal)
    if spans is None:
        return None
    span = spans[number]
    return Passage(number, span.start, span.end, document.text[span.start : span.end])
