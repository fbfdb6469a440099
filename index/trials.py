"""Trials of shortlists on an index: what recall each cutoff and oversample has, at what cost.

The rows of a shortlist and their order follow from the query and the cutoff alone. So one listing
for each cutoff tells, by the places at which the true best rows stand, the recall of every
oversample and every number of hits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from lsr.sparse import SparseVector

from .knobs import BlockKnobs, SearchKnobs
from .listing import Listing, list_rows
from .search import Found, search
from .searchable import Live

#: What a row scored in full costs, in postings added, and what a window costs.
ROW_COST, WINDOW_COST = 300, 12_000

#: Cutoffs that are tried, each 0.89 of the one before, and oversamples.
CUTOFFS = tuple(round(1.6 * 0.89**step, 4) for step in range(28))
OVERSAMPLES = (1.1, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0, 8.0)

AnyKnobs = TypeVar("AnyKnobs", SearchKnobs, BlockKnobs)
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Point(Generic[AnyKnobs]):
    """Knobs that were tried: the recall that they reached, and what they cost."""

    recall: float
    cost: float
    knobs: AnyKnobs


class Trial(NamedTuple):
    """A query, and what exact search finds for each number of hits that is tried."""

    query: SparseVector
    best: Mapping[int, Found]


class _Outcome(NamedTuple):
    """For each oversample: the share of a query's best that is found, the cost, a lower bound."""

    recall: npt.NDArray[np.float64]
    cost: npt.NDArray[np.float64]
    least: float


def cost_of(segments: Sequence[Live], found: Found) -> float:
    """Return what a search cost, in postings added: counted, so the same each time."""
    return found.postings + ROW_COST * found.scored + sweep_cost(segments)


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
    lower cutoffs read more, so when that holds for every k they are left out.
    A true document counts as found when its best row is scored; with ties at the k-th score, or
    by other rows of it, a search can find a little more.
    """
    sizes = sorted({size for trial in trials for size in trial.best})
    points: dict[int, list[Point[SearchKnobs]]] = {size: [] for size in sizes}
    for step, cutoff in enumerate(CUTOFFS):
        outcomes: dict[int, list[_Outcome]] = {size: [] for size in sizes}
        for number, trial in enumerate(trials):
            wanted = SearchKnobs(cutoff, OVERSAMPLES[-1]).candidates(max(trial.best))
            lists = [list_rows(live, trial.query, cutoff, wanted) for live in segments]
            for size, best in trial.best.items():
                outcomes[size].append(_outcome(segments, lists, best, size))
            progress((step + (number + 1) / len(trials)) / len(CUTOFFS))
        for size, some in outcomes.items():
            recalls = np.mean([outcome.recall for outcome in some], axis=0).tolist()
            costs = np.mean([outcome.cost for outcome in some], axis=0).tolist()
            points[size] += [
                Point(recall, cost, SearchKnobs(cutoff, oversample))
                for recall, cost, oversample in zip(recalls, costs, OVERSAMPLES, strict=True)
            ]
        least = {size: np.mean([one.least for one in some]) for size, some in outcomes.items()}
        if all(settled(size, points[size], float(least[size])) for size in sizes):
            break
    progress(1.0)
    return points


def _outcome(
    segments: Sequence[Live], lists: Sequence[Listing], best: Found, k: int
) -> _Outcome:
    """Return what a search with each oversample finds of the best, going by the lists."""
    cost = np.full(len(OVERSAMPLES), sweep_cost(segments))
    extra = np.zeros(len(OVERSAMPLES))
    count = np.zeros(len(OVERSAMPLES))
    full = np.zeros(len(OVERSAMPLES), np.bool_)
    for number, (live, listing) in enumerate(zip(segments, lists, strict=True)):
        here = min(k, live.segment.n_documents)
        wanted = np.array([SearchKnobs(0, each).candidates(here) for each in OVERSAMPLES])
        places = np.sort(listing.places(best.rows[best.segments == number]))
        scored = np.minimum(wanted, len(listing.rows))
        cost += listing.postings + ROW_COST * scored
        # As in `search`: what has too few documents for k hits is searched exactly, until some
        # segment had enough.
        short = ~full & (wanted < _rows_with(live, listing, here))
        extra += np.where(short, best.postings + ROW_COST * best.scored, 0)
        count += np.where(short, len(places), np.searchsorted(places, scored))
        full |= here == k
    return _Outcome(count / max(1, len(best.rows)), cost + extra, float(cost[0]))


def _rows_with(live: Live, listing: Listing, n_documents: int) -> float:
    """Return how many of the first rows it takes to have so many documents."""
    documents = live.segment.row_document
    if documents is None:
        first: Numbers = np.arange(len(listing.rows))
    else:
        first = np.sort(np.unique(documents[listing.rows], return_index=True)[1])
    return float(first[n_documents - 1] + 1) if len(first) >= n_documents else np.inf
