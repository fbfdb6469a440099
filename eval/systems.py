"""Systems: whatever ranks documents for a query, and our sparse index as one."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from lsr.index.knobs import SMALL
from lsr.index.planner import careful_knobs

if TYPE_CHECKING:
    from lsr.index.index import Index
    from lsr.index.knobs import SearchKnobs
    from lsr.sparse import SparseVector, SparseVectors

Counts = npt.NDArray[np.int64]


class Ranking(NamedTuple):
    """The hits of one query, best first, and the seconds spent in the search itself.

    `seconds` leaves out what is done to the query before (tokens, encoding).
    """

    ids: Sequence[str]
    scores: Sequence[float]
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Lists:
    """The inverted lists of a system and the queries that meet them.

    `document_frequency` and `query_frequency` count, for each term, the rows and the queries that
    have it.
    """

    document_frequency: Counts
    query_frequency: Counts
    n_rows: int
    n_queries: int


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a system takes: bytes on disk, seconds and peak bytes to build; None where unknown."""

    bytes: int | None
    n_documents: int
    build_seconds: float | None = None
    build_peak: int | None = None


class System(Protocol):
    """Something that answers queries; a report has one row for each.

    `family` groups systems that rank by the same scores, so that a report can tell the loss of
    an approximate search from the quality of the vectors: in each family one system has
    `is_exact`. `title` is a phrase on how it works, `settings` what it was run with.
    """

    @property
    def name(self) -> str: ...
    @property
    def family(self) -> str: ...
    @property
    def is_exact(self) -> bool: ...
    @property
    def title(self) -> str: ...
    @property
    def settings(self) -> Mapping[str, object]: ...

    def search(self, query: str, k: int) -> Ranking:
        """Return the k best documents for one text, in one thread."""

    def search_many(self, queries: Sequence[str], k: int, threads: int) -> list[Ranking]:
        """Return the k best documents for each text, in order."""

    def footprint(self) -> Footprint:
        """Return what the system takes."""

    def lists(self, queries: Sequence[str]) -> Lists | None:
        """Return the inverted lists, None for a system that has none."""


class SparseSystem:
    """Our index: exact, or approximate at a recall that is aimed at.

    An index below 20,000 rows always searches exactly when it is asked for a recall; here its
    approximate search is insisted on, so that a report on a small collection has a loss to show.
    """

    def __init__(
        self,
        index: Index,
        *,
        recall: float | None = None,
        build_seconds: float | None = None,
        build_peak: int | None = None,
    ) -> None:
        self.index = index
        self.family = "sparse"
        self.is_exact = recall is None
        self.name = "sparse exact" if recall is None else f"sparse ~{recall:g}"
        self.title = "rank-safe search" if recall is None else f"approximate, recall {recall:g}"
        self._recall = recall
        self._build = (build_seconds, build_peak)
        self._info = index.info()
        self._knobs: SearchKnobs | None = None
        self.settings: dict[str, object] = {"exact": self.is_exact}
        if recall is not None:
            self.settings = {"recall": recall}
            if self._info.n_rows < SMALL:
                self._knobs = replace(careful_knobs(recall), small=0)
                self.settings |= {
                    "cutoff": self._knobs.cutoff,
                    "oversample": self._knobs.oversample,
                    "forced": f"below {SMALL:,} rows lsr would search exactly",
                }

    def search(self, query: str, k: int) -> Ranking:
        """Return the k best documents for one text, in one thread."""
        vector = self.index.vector(query)
        started = time.perf_counter()
        result = self.index.search(
            vector, k=k, exact=self.is_exact, recall=self._aim(), knobs=self._knobs
        )
        return Ranking(result.ids, result.scores, time.perf_counter() - started)

    def search_many(self, queries: Sequence[str], k: int, threads: int) -> list[Ranking]:
        """Return the k best documents for each text, in order."""
        found = self.index.search_batch(
            list(queries),
            k=k,
            exact=self.is_exact,
            recall=self._aim(),
            knobs=self._knobs,
            threads=threads,
        )
        return [Ranking(one.ids, one.scores) for one in found]

    def footprint(self) -> Footprint:
        """Return what the index takes, without its other legs."""
        seconds, peak = self._build
        others = sum(of["bytes"] for leg, of in self._info.legs.items() if leg != self.family)
        return Footprint(self._info.bytes - others, self._info.n_documents, seconds, peak)

    def lists(self, queries: Sequence[str]) -> Lists:
        """Return the inverted lists; rows are passages where documents are split."""
        size = self.index.encoder.vocab_size
        frequency = np.zeros(size, np.int64)
        n_rows = 0
        for _, rows in self.index.vectors():
            frequency += _frequencies(rows, size)
            n_rows += len(rows)
        asked = self.index.encoder.encode_queries(list(queries))
        return Lists(frequency, _frequencies(asked, size), n_rows, len(queries))

    def _aim(self) -> float | None:
        return None if self._knobs is not None else self._recall


class Sweep(NamedTuple):
    """One setting of the knobs: recall@k against exact search, and the median milliseconds."""

    recall: float
    milliseconds: float
    label: str


def sweep(index: Index, queries: Sequence[str], *, k: int = 10, limit: int = 500) -> list[Sweep]:
    """Return recall and median search time of our index over settings of its knobs.

    The first `limit` queries are encoded once and searched one by one; each time is the least of
    three, and only that of the search. The last point is the exact search.
    """
    from lsr.index.knobs import SearchKnobs

    vectors = index.encoder.encode_queries(list(queries[:limit]))
    asked = [vectors[at] for at in range(len(vectors)) if len(vectors[at].terms)]
    if not asked:
        return []
    truth, exact_ms = _timed(index, asked, k, None)
    points = []
    for cutoff in (1.2, 0.8, 0.55, 0.38, 0.27, 0.19, 0.13):
        knobs = SearchKnobs(cutoff, 4.0, small=0)
        found, took = _timed(index, asked, k, knobs)
        shares = [recall_against(true, one, k) for true, one in zip(truth, found, strict=True)]
        points.append(Sweep(sum(shares) / len(shares), took, f"cutoff {cutoff:g}"))
    return [*points, Sweep(1.0, exact_ms, "exact")]


def recall_against(truth: Ranking, found: Ranking, k: int) -> float:
    """Return the share of the true k best that were found; ties with the k-th count.

    >>> recall_against(Ranking(["a", "b"], [2.0, 1.0]), Ranking(["a", "c"], [2.0, 0.5]), 2)
    0.5
    """
    wanted = min(k, len(truth.ids))
    if not wanted:
        return 1.0
    least = truth.scores[wanted - 1]
    return min(wanted, sum(score >= least for score in found.scores[:k])) / wanted


def _timed(
    index: Index, queries: Sequence[SparseVector], k: int, knobs: SearchKnobs | None
) -> tuple[list[Ranking], float]:
    least = [float("inf")] * len(queries)
    found: list[Ranking] = []
    for _ in range(3):
        found = []
        for at, query in enumerate(queries):
            started = time.perf_counter()
            result = index.search(query, k=k, exact=knobs is None, knobs=knobs)
            least[at] = min(least[at], time.perf_counter() - started)
            found.append(Ranking(result.ids, result.scores))
    return found, float(np.median(least)) * 1e3


def _frequencies(rows: SparseVectors, size: int) -> Counts:
    return np.bincount(rows.terms, minlength=size).astype(np.int64)
