"""Hybrid search: several legs asked together, their rankings fused, with feedback if wanted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lsr.errors import ConfigError
from lsr.types import AddedTerm

from .expansion import Expanded, expand
from .feedback import Feedback
from .fusion import Fused, Fusion, Ranking, columns_of, fuse
from .legs import Allowed, LegFound, LegSearcher
from .places import Names, to_keys, to_places

#: The mode that searches all legs of an index.
HYBRID = "hybrid"
#: How many documents each leg finds before the rankings are fused.
DEPTH = 1000


@dataclass(frozen=True, slots=True)
class Blend:
    """How legs are searched together: fusion, feedback, and how deep each leg goes.

    Rankings and normalised scores depend on `depth` and not on how many hits are wanted, so that
    pages of one depth fit together.
    """

    fusion: Fusion = field(default_factory=Fusion)
    feedback: Feedback | None = None
    depth: int = DEPTH

    def check(self, k: int) -> None:
        """Raise ConfigError unless k hits can be had at this depth."""
        if k < 1:
            raise ConfigError(f"k is {k}; it must be at least 1")
        if k > self.depth:
            raise ConfigError(
                f"{k} hits are wanted of a depth of {self.depth}",
                hint="ask for fewer, or for a larger depth",
            )


class Blended(NamedTuple):
    """What one query found, best first; `fused` is cut to the hits that were wanted.

    `queries` has what each leg was asked in the end, `found` its answer to that, and `added` the
    terms of feedback. `micros` is the time of each step; of a batch, its share.
    """

    fused: Fused
    queries: Mapping[str, object]
    found: Mapping[str, LegFound]
    added: Mapping[str, tuple[AddedTerm, ...]]
    micros: Mapping[str, float]


class _Asked(NamedTuple):
    """One query on its way: what each leg is asked, what it found, what feedback added."""

    queries: dict[str, object]
    found: dict[str, LegFound]
    rankings: dict[str, Ranking]
    added: dict[str, tuple[AddedTerm, ...]]


class Legs:
    """The legs of one search, by name, and the order of documents with equal scores."""

    def __init__(self, searchers: Mapping[str, LegSearcher], names: Names) -> None:
        self._searchers = searchers
        self._names = names

    def search(
        self,
        queries: Sequence[Mapping[str, object]],
        k: int,
        blend: Blend,
        allowed: Allowed = None,
        threads: int | None = None,
    ) -> list[Blended]:
        """Return what each query finds; a query is what each leg is asked, by its name."""
        blend.check(k)
        clock = _Clock(len(queries))
        legs = blend.fusion.chosen(list(self._searchers))
        fusion = replace(blend.fusion, weights={leg: blend.fusion.weight(leg) for leg in legs})
        asked = [_Asked(dict(query), {}, {}, {}) for query in queries]
        for name in legs:
            # Read once: feedback and scores of documents that a leg missed look at them again.
            read = self._searchers[name].read([one.queries[name] for one in asked], threads)
            for one, own in zip(asked, read, strict=True):
                one.queries[name] = own
            self._ask(name, asked, blend.depth, allowed, threads)
            clock.lap(name)
        feedback = blend.feedback
        chosen = [] if feedback is None else feedback.chosen(legs)
        if feedback is not None:
            for one in asked:
                self._expand(one, chosen, fusion, feedback)
            clock.lap("feedback")
            for name in chosen:
                self._ask(name, asked, blend.depth, allowed, threads)
                clock.lap(name)
        alone = chosen[0] if feedback is not None and feedback.when == "pre" else None
        if alone is None and len(legs) == 1:
            alone = legs[0]
        fused = [self._finish(one, fusion, k, alone) for one in asked]
        clock.lap("fuse")
        return [
            Blended(result, one.queries, one.found, one.added, clock.micros)
            for result, one in zip(fused, asked, strict=True)
        ]

    def _ask(
        self,
        name: str,
        asked: Sequence[_Asked],
        depth: int,
        allowed: Allowed,
        threads: int | None,
    ) -> None:
        searcher = self._searchers[name]
        queries = [one.queries[name] for one in asked]
        if len(queries) == 1:
            found = [searcher.search(queries[0], depth, allowed)]
        else:
            found = searcher.search_many(queries, depth, allowed, threads)
        for one, answer in zip(asked, found, strict=True):
            one.found[name] = answer
            one.rankings[name] = _ranking(answer)

    def _expand(self, one: _Asked, legs: Sequence[str], fusion: Fusion, feedback: Feedback) -> None:
        """Put richer queries in the place of those of some legs."""
        common = None
        if feedback.when != "post" and len(one.rankings) > 1:
            fused = self._fuse(one, fusion, feedback.docs)
            common = Ranking(fused.keys, fused.scores)
        found: dict[str, Expanded] = {}
        for name in legs:
            own = one.rankings[name]
            best = common or Ranking(own.keys[: feedback.docs], own.scores[: feedback.docs])
            found[name] = expand(name, self._searchers[name], one.queries[name], best, feedback)
        for name, expanded in found.items():
            one.queries[name] = expanded.query
            one.added[name] = expanded.added

    def _finish(self, one: _Asked, fusion: Fusion, k: int, alone: str | None) -> Fused:
        if alone is None:
            return self._fuse(one, fusion, k)
        ranking = one.rankings[alone]
        keys, scores = ranking.keys[:k], ranking.scores[:k]
        columns = {name: columns_of(ranking, keys) for name, ranking in one.rankings.items()}
        return Fused(keys, scores, columns, {alone: scores})

    def _fuse(self, one: _Asked, fusion: Fusion, k: int) -> Fused:
        return fuse(one.rankings, fusion, k=k, names=self._names, rescore=self._rescore(one))

    def _rescore(self, one: _Asked) -> Callable[[str, npt.NDArray[np.int64]], _Scores]:
        def rescore(name: str, keys: npt.NDArray[np.int64]) -> _Scores:
            searcher = self._searchers[name]
            scores = searcher.score(one.queries[name], *to_places(keys)).astype(np.float64)
            # Every document has a dense score; a leg of terms gives 0 where none is shared.
            return scores if name == "dense" else np.where(scores == 0, np.nan, scores)

        return rescore


_Scores = npt.NDArray[np.float64]


class _Clock:
    """Adds up the time of steps, in microseconds for each of `n` queries."""

    def __init__(self, n: int) -> None:
        self.micros: dict[str, float] = {}
        self._share = 1e6 / max(n, 1)
        self._before = time.perf_counter()

    def lap(self, step: str) -> None:
        now = time.perf_counter()
        self.micros[step] = self.micros.get(step, 0.0) + (now - self._before) * self._share
        self._before = now


def _ranking(found: LegFound) -> Ranking:
    return Ranking(to_keys(found.segments, found.documents), found.scores.astype(np.float64))
