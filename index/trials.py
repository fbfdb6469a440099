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

from .found import Found
from .knobs import BlockKnobs, SearchKnobs
from .listing import list_rows
from .samples import Source
from .search import search
from .searchable import Live

#: What a row scored in full costs, in postings added, and what a window costs.
ROW_COST, WINDOW_COST = 300, 12_000

#: Cutoffs that are tried, from high to low in steps of 1.18, and oversamples.
CUTOFFS = tuple(round(1.1 * 0.85**step, 4) for step in range(18))
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


class _Sweep(NamedTuple):
    """What the listings of all trials with one cutoff tell, for each trial and segment.

    `postings` were added, `listed` rows came of it; `filled` has for each number of hits how many
    of those rows have that many documents. `places` has for each trial and rank where that
    document stands in its segment.
    """

    postings: Numbers
    listed: Numbers
    filled: Mapping[int, Shares]
    places: Numbers


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
    return found._replace(
        segments=found.segments[kept],
        documents=found.documents[kept],
        rows=found.rows[kept],
        scores=found.scores[kept],
    )


def sweep_cost(segments: Sequence[Live]) -> float:
    """Return the cost of looking through the sums of all rows."""
    return WINDOW_COST * sum(len(live.segment.postings[0]) - 1 for live in segments)


def exact_cost(trials: Sequence[Trial], k: int) -> float:
    """Return what exact search for k hits costs on average."""
    return float(np.mean([trial.costs[k] for trial in trials if k in trial.costs]))


def try_shortlists(
    segments: Sequence[Live],
    trials: Sequence[Trial],
    settled: Callable[[int, Sequence[Point[SearchKnobs]], float], bool],
    progress: Callable[[float], None],
) -> dict[int, list[Point[SearchKnobs]]]:
    """Return for each number of hits the points of the grid, cutoffs from high to low.

    `settled(k, points, least)` tells whether what costs `least` and more is of no use for k hits;
    lower cutoffs read more, so they are left out then. So are oversamples whose rows cost more
    than exact search. A true document counts as found when its best row is scored: a search can
    find a little more, by other rows of it and with ties at the k-th score.
    """
    oversamples = {size: _affordable(trials, size) for size in trials[0].costs}
    points: dict[int, list[Point[SearchKnobs]]] = {size: [] for size in oversamples}
    for step, cutoff in enumerate(CUTOFFS):
        wanted = {size: int(_candidates(some, size)[-1]) for size, some in oversamples.items()}
        if not wanted:
            break
        sweep = _sweep(segments, trials, cutoff, wanted)
        progress((step + 1) / len(CUTOFFS))
        for size in wanted:
            recalls, costs, least = _outcome(segments, trials, sweep, size, oversamples[size])
            for recall, cost, oversample in zip(recalls, costs, oversamples[size], strict=True):
                points[size].append(Point(recall, cost, SearchKnobs(cutoff, oversample)))
            if settled(size, points[size], least):
                del oversamples[size]
    progress(1.0)
    return points


def _affordable(trials: Sequence[Trial], k: int) -> tuple[float, ...]:
    """Return the oversamples whose rows cost less than exact search, and the first one."""
    exact = exact_cost(trials, k)
    some = [each for each in OVERSAMPLES if ROW_COST * SearchKnobs(0, each).candidates(k) < exact]
    return tuple(some) or OVERSAMPLES[:1]


def _candidates(oversamples: Sequence[float], k: int) -> Numbers:
    return np.array([SearchKnobs(0, each).candidates(k) for each in oversamples])


def _sweep(
    segments: Sequence[Live], trials: Sequence[Trial], cutoff: float, wanted: Mapping[int, int]
) -> _Sweep:
    """List the rows of all trials; `wanted` has how many each number of hits wants at most."""
    shape = len(trials), len(segments)
    filled = {size: np.full(shape, np.inf) for size in wanted}
    most = max(len(trial.best.rows) for trial in trials)
    postings, listed = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    places = np.full((len(trials), most), np.iinfo(np.int64).max)
    for number, trial in enumerate(trials):
        sizes = wanted.keys() & trial.costs.keys()
        if not sizes:
            continue
        longest = max(wanted[size] for size in sizes)
        for at, live in enumerate(segments):
            source = trial.source
            document = source.document if source is not None and source.segment == at else None
            listing = list_rows(live, trial.query, cutoff, longest, document)
            postings[number, at], listed[number, at] = listing.postings, listing.size
            for size in sizes:
                filled[size][number, at] = listing.rows_with(min(size, live.segment.n_documents))
            here = np.flatnonzero(trial.best.segments == at)
            places[number, here] = listing.places_of(trial.best.rows[here])
    return _Sweep(postings, listed, filled, places)


def _outcome(
    segments: Sequence[Live],
    trials: Sequence[Trial],
    sweep: _Sweep,
    k: int,
    oversamples: Sequence[float],
) -> tuple[list[float], list[float], float]:
    """Return for each oversample the mean recall and cost of searches for k hits.

    And what the first costs where no segment has to be searched exactly.
    """
    mine = [number for number, trial in enumerate(trials) if k in trial.costs]
    exact = np.array([trials[number].costs[k] for number in mine])[:, None]
    n_best = np.array([min(k, len(trials[number].best.rows)) for number in mine])[:, None]
    places = sweep.places[mine, :k, None]
    owners = np.full(places.shape[:2], -1)
    for row, number in enumerate(mine):
        owners[row, : n_best[row, 0]] = trials[number].best.segments[:k]
    found = np.zeros((len(mine), len(oversamples)))
    cost, extra, full = np.zeros(found.shape) + sweep_cost(segments), np.zeros(found.shape), False
    for at, live in enumerate(segments):
        n_hits = min(k, live.segment.n_documents)
        wanted = _candidates(oversamples, n_hits)
        scored = np.minimum(wanted, sweep.listed[mine, at, None])
        cost += sweep.postings[mine, at, None] + ROW_COST * scored
        here = (owners == at)[:, :, None]
        count = np.count_nonzero(here & (places < scored[:, None, :]), axis=1)
        if not full:
            # As in `search`: what has too few documents for k hits is searched exactly, until
            # some segment had enough.
            short = wanted < sweep.filled[k][mine, at, None]
            count = np.where(short, np.count_nonzero(here, axis=1), count)
            extra += np.where(short, exact, 0)
            full = n_hits == k
        found += count
    recalls = np.mean(found / np.maximum(n_best, 1), axis=0).tolist()
    return recalls, np.mean(cost + extra, axis=0).tolist(), float(np.mean(cost[:, 0]))
