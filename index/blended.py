"""What a search over several legs found, as hits and explanations that a person can read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan

import numpy as np

from lsr.errors import ConfigError
from lsr.types import (
    Document,
    Explanation,
    Hit,
    LegExplanation,
    LegScore,
    Passage,
    SearchResult,
    TermProduct,
)

from .answer import ids_of, passage_of
from .feedback import Feedback
from .fusion import Column, Fusion, Method
from .hybrid import DEPTH, HYBRID, Blend, Blended, Legs
from .legs import Allowed, LegSearcher
from .places import names_in, to_places
from .store import LiveSegment


def to_blend(
    mode: str,
    k: int,
    fusion: Fusion | Method | None,
    feedback: Feedback | bool,
    depth: int | None,
) -> Blend | None:
    """Return how legs are searched together, None where one leg is searched and nothing else.

    Raises ConfigError for options that the mode does not have.
    """
    wanted = (Feedback() if feedback else None) if isinstance(feedback, bool) else feedback
    if mode == HYBRID:
        how = Fusion(fusion) if isinstance(fusion, str) else fusion or Fusion()
        return Blend(how, wanted, DEPTH if depth is None else depth)
    for name, value in (("fusion", fusion), ("depth", depth)):
        if value is not None:
            raise ConfigError(
                f"{name} is an option of hybrid search; the mode is {mode}",
                hint=f"--mode {HYBRID}",
            )
    if wanted is None:
        return None
    return Blend(feedback=wanted, depth=max(k, wanted.docs))


_BM25 = "bm25"


class BlendedAnswer:
    """What a search over several legs found, read from the segments when it is asked for."""

    __slots__ = ("_blended", "_documents", "_legs", "_owners", "_segments")

    def __init__(
        self,
        segments: Sequence[LiveSegment],
        legs: Mapping[str, LegSearcher],
        blended: Blended,
    ) -> None:
        self._segments = segments
        self._legs = legs
        self._blended = blended
        self._owners, self._documents = to_places(blended.fused.keys)

    def ids(self) -> list[str]:
        """Return the ids of the documents, best first."""
        return ids_of(self._segments, self._owners, self._documents)

    def scores(self) -> list[float]:
        """Return the fused scores, best first."""
        scores: list[float] = self._blended.fused.scores.tolist()
        return scores

    def hits(self, start: int = 0, stop: int | None = None) -> tuple[Hit, ...]:
        """Return the hits with their documents, best first, or some of them."""
        return tuple(self._hit(at) for at in range(len(self._owners))[start:stop])

    def why(self, at: int) -> tuple[TermProduct, ...]:
        """Return the terms of a hit in the first leg that has any, largest first."""
        for name in self._blended.fused.legs:
            terms = self._terms(name, at)
            if terms:
                return terms
        return ()

    def explain(self, at: int) -> dict[str, LegExplanation]:
        """Return what each leg made of a hit, by its name."""
        fused, added = self._blended.fused, self._blended.added
        found = {}
        for name, column in fused.legs.items():
            score = _leg_score(column, at)
            share = float(fused.shares[name][at]) if name in fused.shares else None
            found[name] = LegExplanation(
                None if score is None else score.score,
                None if score is None else score.rank,
                share,
                self._terms(name, at),
                added.get(name, ()),
            )
        return found

    def result(self, mode: str) -> SearchResult:
        """Return the result of a search in this mode."""
        blended = self._blended
        timings = {name: micros / 1e3 for name, micros in blended.micros.items()}
        took = sum(timings.values())
        return SearchResult(self, mode, took, timings=timings, feedback=blended.added)

    def explanation(self, document_id: str) -> Explanation | None:
        """Return why a document scored what it did; None where it is not among the hits."""
        ids = self.ids()
        if document_id not in ids:
            return None
        at = ids.index(document_id)
        legs = self.explain(at)
        terms = next(iter(legs.values())).terms if len(legs) == 1 else ()
        document = self._segment(at).segment.document(int(self._documents[at]))
        passage = self._passage(at, document)
        return Explanation(document_id, self.scores()[at], terms, passage, legs)

    def _terms(self, name: str, at: int) -> tuple[TermProduct, ...]:
        query = self._blended.queries[name]
        return self._legs[name].explain(query, int(self._owners[at]), int(self._documents[at]))

    def _hit(self, at: int) -> Hit:
        fused = self._blended.fused
        document = self._segment(at).segment.document(int(self._documents[at]))
        scores = {name: _leg_score(column, at) for name, column in fused.legs.items()}
        return Hit(
            id=document.id,
            rank=at + 1,
            score=float(fused.scores[at]),
            title=document.title,
            text=document.text,
            fields=document.fields,
            passage=self._passage(at, document),
            legs={name: score for name, score in scores.items() if score is not None},
        )

    def _segment(self, at: int) -> LiveSegment:
        return self._segments[int(self._owners[at])]

    def _passage(self, at: int, document: Document) -> Passage | None:
        ordinal = int(self._documents[at])
        segment = self._segment(at).segment
        return passage_of(segment, ordinal, document.text, lambda: self._best_passage(at))

    def _best_passage(self, at: int) -> int | None:
        """Return the passage of the leg that adds most to a hit's score; of equal ones the first.

        BM25 scores documents whole and has to analyse the text to tell, so it is asked only where
        no other leg found the document.
        """
        shares = self._blended.fused.shares
        best: tuple[bool, float] | None = None
        chosen = None
        for name, found in self._blended.found.items():
            same = found.segments == self._owners[at]
            places = np.flatnonzero(same & (found.documents == self._documents[at]))
            if found.passage is None or not len(places):
                continue
            share = float(shares[name][at]) if name in shares else 0.0
            if best is None or (name != _BM25, share) > best:
                best, chosen = (name != _BM25, share), (found.passage, int(places[0]))
        return None if chosen is None else chosen[0](chosen[1])


def ask_legs(
    segments: Sequence[LiveSegment],
    legs: Mapping[str, LegSearcher],
    queries: Sequence[object],
    given: Sequence[Mapping[str, object] | None],
    k: int,
    blend: Blend,
    allowed: Allowed = None,
    threads: int | None = None,
) -> list[BlendedAnswer]:
    """Return what the legs find together for each query; `given` has those of single legs."""
    for own in given:
        for name in own or {}:
            if name not in legs:
                raise ConfigError(
                    f"a query came for the leg {name!r}; the search has {', '.join(legs)}"
                )
    asked = [
        {name: (own or {}).get(name, query) for name in legs}
        for query, own in zip(queries, given, strict=True)
    ]
    found = Legs(legs, names_in(segments)).search(asked, k, blend, allowed, threads)
    return [BlendedAnswer(segments, legs, one) for one in found]


def _leg_score(column: Column, at: int) -> LegScore | None:
    score, rank = float(column.scores[at]), int(column.ranks[at])
    return None if isnan(score) else LegScore(score, rank or None)
