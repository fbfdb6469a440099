"""Answers of a leg: what it found, as hits that a person can read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from lsr.errors import ConfigError
from lsr.types import Hit, LegScore, SearchResult, SearchStats, TermProduct

from .answer import ids_of, passage_of
from .legs import LegFound, LegSearcher
from .store import LiveSegment


class LegScores(Protocol):
    """What each leg made of the hit at a place."""

    def __getitem__(self, at: int, /) -> Mapping[str, LegScore]: ...


class LegAnswer:
    """What a leg found, read from the segments when it is asked for.

    `legs` has for each hit the score and the rank that every leg gave it; `why` the terms of a
    hit by its place.
    """

    __slots__ = ("_found", "_legs", "_segments", "_why")

    def __init__(
        self,
        segments: Sequence[LiveSegment],
        found: LegFound,
        legs: LegScores,
        why: Callable[[int], tuple[TermProduct, ...]],
    ) -> None:
        self._segments = segments
        self._found = found
        self._legs = legs
        self._why = why

    def ids(self) -> list[str]:
        """Return the ids of the documents, best first."""
        return ids_of(self._segments, self._found.segments, self._found.documents)

    def scores(self) -> list[float]:
        """Return the scores, best first."""
        scores: list[float] = self._found.scores.tolist()
        return scores

    def hits(self, start: int = 0, stop: int | None = None) -> tuple[Hit, ...]:
        """Return the hits with their documents, best first, or some of them."""
        places = range(len(self._found.scores))[start:stop]
        return tuple(self._hit(at) for at in places)

    def why(self, at: int) -> tuple[TermProduct, ...]:
        """Return the terms of a hit's score, largest first."""
        return self._why(at)

    def _hit(self, at: int) -> Hit:
        found = self._found
        segment, ordinal = self._segments[int(found.segments[at])].segment, int(found.documents[at])
        document = segment.document(ordinal)
        tell = found.passage
        return Hit(
            id=document.id,
            rank=at + 1,
            score=float(found.scores[at]),
            title=document.title,
            text=document.text,
            fields=document.fields,
            passage=passage_of(segment, ordinal, document.text, lambda: tell(at) if tell else None),
            legs=self._legs[at],
        )


class Alone:
    """What the hits of a single leg have of it, made when it is asked for."""

    def __init__(self, name: str, found: LegFound) -> None:
        self._name = name
        self._found = found

    def __getitem__(self, at: int) -> dict[str, LegScore]:
        return {self._name: LegScore(float(self._found.scores[at]), at + 1)}


def leg_result(
    segments: Sequence[LiveSegment],
    name: str,
    searcher: LegSearcher,
    query: object,
    found: LegFound,
    took: float,
) -> SearchResult:
    """Return what one leg found as the result of a search that took so many seconds."""

    def why(at: int) -> tuple[TermProduct, ...]:
        return searcher.explain(query, int(found.segments[at]), int(found.documents[at]))

    answer = LegAnswer(segments, found, Alone(name, found), why)
    stats = SearchStats(found.postings, found.scored, took * 1e6)
    return SearchResult(answer, found.path, took * 1e3, stats)


def refuse_sparse_options(mode: str, **options: object) -> None:
    """Refuse options that only the sparse leg has; None is an option that was not given."""
    for option, value in options.items():
        if value is not None:
            raise ConfigError(f"{option} is an option of mode sparse; the mode is {mode}")
