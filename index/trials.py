"""Trials of shortlists on an index: what recall each cutoff and oversample has, at what cost.

The rows of a shortlist and their order follow from the query and the cutoff alone. So one listing
for each cutoff tells, by the places at which the true best rows stand, the recall of every
oversample and every number of hits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from lsr.sparse import SparseVector

from .knobs import BlockKnobs, SearchKnobs
from .listing import Listing, list_rows
from .samples import Source
from .search import Found, search
from .searchable import Live

#: What a row scored in full costs, in postings added, and what a window costs.
ROW_COST, WINDOW_COST = 300, 12_000

#: Cutoffs that are tried, from high to low in steps of 1.16, and oversamples.
CUTOFFS = tuple(round(1.2 * 0.86**step, 4) for step in range(20))
OVERSAMPLES = (1.1, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0, 8.0)

AnyKnobs = TypeVar("AnyKnobs", SearchKnobs, BlockKnobs)
Numbers = npt.NDArray[np.int64]
Shares = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Point(Generic[AnyKnobs]):
    """Knobs that were tried: the recall that they reached, and what they cost."""

    recall: float
    cost: float
    knobs: AnyKnobs


class Trial(NamedTuple):
    """A query, its best documents, and what exact search costs for each number of hits tried.

    `best` has as many as the largest of them. The `source` of the query is not among them: a real
    query is no part of any document.
    """

    query: SparseVector
    source: Source | None
    best: Found
    costs: Mapping[int, float]

    @classmethod
    def of(
        cls,
        segments: Sequence[Live],
        query: SparseVector,
        source: Source | None,
        sizes: Sequence[int],
    ) -> Trial:
        """Search for a query exactly; sizes ascend."""
        found = [find_others(segments, query, source, size) for size in sizes]
        costs = [one.postings + ROW_COST * one.scored + sweep_cost(segments) for one in found]
        return cls(query, source, found[-1], dict(zip(sizes, costs, strict=True)))


class _Outcome(NamedTuple):
    """Of a query, for each oversample: the share of the best found, and the cost.

    `least` is the cost of the smallest oversample where no segment has to be searched exactly.
    """

    recall: Shares
    cost: Shares
    least: float


def find_others(
    segments: Sequence[Live],
    query: SparseVector,
    source: Source | None,
    k: int,
    knobs: BlockKnobs | None = None,
) -> Found:
    """Return the k best documents but the source of a query, should it have one."""
    if source is None:
        return search(segments, query, k, knobs=knobs)
    found = search(segments, query, k + 1, knobs=knobs)
    other = (found.segments != source.segment) | (found.documents != source.document)
    kept = np.flatnonzero(other)[:k]
    return Found(*(array[kept] for array in found[:4]), *found[4:])


def sweep_cost(segments: Sequence[Live]) -> float:
    """Return the cost of looking through the sums of all rows."""
    return WINDOW_COST * sum(len(live.segment.postings[0]) - 1 for live in segments)


def try_shortlists(
    segments: Sequence[Live],
    trials: Sequence[Trial],
    settled: Callable[[int, Sequence[Point[SearchKnobs]], float], bool],
    progress: Callable[[float], None],
) -> dict[int, list[Point[SearchKnobs]]]:
    """Return for each number of hits the points of the grid, cutoffs from high to low.

    `settled(k, points, least)` tells whether what costs `least` and more is of no use for k hits;
    lower cutoffs read more, so they are left out then. A true document counts as found when its
    best row is scored: a search can find a little more, by other rows of it and with ties at the
    k-th score.
    """
    points: dict[int, list[Point[SearchKnobs]]] = {size: [] for size in trials[0].costs}
    open_sizes = set(points)
    for step, cutoff in enumerate(CUTOFFS):
        outcomes: dict[int, list[_Outcome]] = {size: [] for size in open_sizes}
        for number, trial in enumerate(trials):
            for size, outcome in _outcomes(segments, trial, cutoff, open_sizes).items():
                outcomes[size].append(outcome)
            progress((step + (number + 1) / len(trials)) / len(CUTOFFS))
        for size, some in outcomes.items():
            recalls = np.mean([one.recall for one in some], axis=0).tolist()
            costs = np.mean([one.cost for one in some], axis=0).tolist()
            for recall, cost, oversample in zip(recalls, costs, OVERSAMPLES, strict=True):
                points[size].append(Point(recall, cost, SearchKnobs(cutoff, oversample)))
            if settled(size, points[size], float(np.mean([one.least for one in some]))):
                open_sizes.remove(size)
    progress(1.0)
    return points


def _outcomes(
    segments: Sequence[Live], trial: Trial, cutoff: float, sizes: set[int]
) -> dict[int, _Outcome]:
    """Return what searches with a cutoff would find, for each of the sizes that the trial has."""
    sizes = sizes & trial.costs.keys()
    if not sizes:
        return {}
    wanted = SearchKnobs(cutoff, OVERSAMPLES[-1]).candidates(max(sizes))
    parts = []
    for number, live in enumerate(segments):
        listing = _others(live, trial, cutoff, wanted, number)
        ranks = np.flatnonzero(trial.best.segments == number)
        parts.append((live, listing, ranks, listing.places_of(trial.best.rows[ranks])))
    return {size: _outcome(parts, trial, size, sweep_cost(segments)) for size in sizes}


def _others(live: Live, trial: Trial, cutoff: float, wanted: int, number: int) -> Listing:
    """Return the listing of a segment without the source of the query."""
    if trial.source is None or trial.source.segment != number:
        return list_rows(live, trial.query, cutoff, wanted)
    document, bounds = trial.source.document, live.segment.document_rows
    n_rows = 1 if bounds is None else int(bounds[document + 1] - bounds[document])
    return list_rows(live, trial.query, cutoff, wanted + n_rows).without(document)


def _outcome(
    parts: Sequence[tuple[Live, Listing, Numbers, Numbers]], trial: Trial, k: int, sweep: float
) -> _Outcome:
    """Return what a search for k hits with each oversample finds and costs.

    Of each segment there is its listing, and the ranks of its best documents with their places.
    """
    cost, extra = np.full(len(OVERSAMPLES), sweep), np.zeros(len(OVERSAMPLES))
    count, full = np.zeros(len(OVERSAMPLES)), False
    for live, listing, ranks, places in parts:
        here = min(k, live.segment.n_documents)
        wanted = _candidates(here)
        scored = np.minimum(wanted, listing.size)
        cost += listing.postings + ROW_COST * scored
        mine = np.sort(places[: np.searchsorted(ranks, k)])
        found = np.searchsorted(mine, scored)
        if not full:
            # As in `search`: what has too few documents for k hits is searched exactly, until
            # some segment had enough.
            short = wanted < listing.rows_with(here)
            found[short] = len(mine)
            extra[short] += trial.costs[k]
            full = here == k
        count += found
    return _Outcome(count / max(1, min(k, len(trial.best.rows))), cost + extra, float(cost[0]))


@lru_cache(maxsize=64)
def _candidates(k: int) -> Numbers:
    return np.array([SearchKnobs(0, each).candidates(k) for each in OVERSAMPLES])
