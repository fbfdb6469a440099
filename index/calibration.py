"""Calibration: which knobs reach which recall on an index, found by searching it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import numpy as np

from lsr.errors import ConfigError, DataError, IndexFormatError
from lsr.sparse import SparseVector

from .knobs import SMALL, BlockKnobs, Knobs, SearchKnobs
from .legs import SPARSE, leg_settings
from .samples import Source, draw_samples
from .searchable import Live
from .trials import AnyKnobs, Point, Trial, exact_cost, find_others, try_shortlists

if TYPE_CHECKING:
    from .transaction import Transaction

#: Under what name the manifest's settings keep it.
SETTING = "calibration"

#: Shares of the true k best that a search can be asked to find, on average.
TARGETS = (0.90, 0.95, 0.97, 0.98, 0.99, 0.995)

#: What is looked for when nothing is asked.
DEFAULT_RECALL = 0.99

#: Numbers of hits that are calibrated; a search goes by the first that is at least its k.
SIZES = (10, 100, 1000)

#: A target counts as reached when the sample is this much above it, as samples vary: this share
#: of what may be missed, but at most so much.
MARGIN, MOST_MARGIN = 0.25, 0.008

#: What a document found in blocks costs in the same units, and to look a term up in a summary.
BLOCK_ROW_COST, LOOKUP_COST = 200, 50

_LISTS = (4, 6, 9, 13, 20, 30, 45)
_SKIP_RATIOS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
#: For so many hits this part of the queries is searched for: many hits tell more.
_PARTS = {10: 1.0, 100: 0.5, 1000: 0.125}

#: Queries made of documents, and those given that are looked at.
_QUERIES, _MOST_QUERIES = 192, 512

Value = TypeVar("Value")


class BlockChoice(NamedTuple):
    """The knobs that open the fewest blocks, and whether that costs less than the other ways."""

    knobs: BlockKnobs
    cheaper: bool


@dataclass(frozen=True, slots=True)
class Calibration:
    """For each number of hits and each recall the knobs that cost least; None for exact search.

    `source` says what was searched for: `documents` (some of their terms) or `queries`;
    `n_documents` is how many the index had. `blocks` has the same for the search of blocks,
    where they reach that recall; None when the index had no blocks.
    """

    table: Mapping[int, Mapping[float, SearchKnobs | None]]
    source: str
    n_queries: int
    n_documents: int
    blocks: Mapping[int, Mapping[float, BlockChoice]] | None = None

    def holds(self, n_documents: int, blocks: bool = False) -> bool:
        """Return whether the table still serves an index of that many documents.

        It does up to a factor of two, while the index has `blocks` if it had some. One that was
        made with real queries always does: only who has the queries can make it anew.
        """
        grown = 2 * self.n_documents < n_documents
        shrunk = 2 * n_documents < self.n_documents
        same = (self.blocks is not None) == blocks
        return self.source == "queries" or (same and not (grown or shrunk))

    def knobs(self, k: int, recall: float, path: str | None = None) -> Knobs | None:
        """Return the knobs for k hits at `recall`, or None when exact search is as good.

        Those of one `path` if it is given. A recall between two targets takes the knobs of the
        higher one.
        """
        blocks = _entry(self.blocks or {}, k, recall)
        if blocks is not None and (path == "blocks" or (path is None and blocks.cheaper)):
            return blocks.knobs
        return None if path == "blocks" else _entry(self.table, k, recall)

    def to_json(self) -> dict[str, Any]:
        """Return the table as the manifest keeps it."""
        rows = [
            {
                "k": size,
                "recall": target,
                "cutoff": None if knobs is None else knobs.cutoff,
                "oversample": None if knobs is None else knobs.oversample,
            }
            for size, row in self.table.items()
            for target, knobs in row.items()
        ]
        about = {
            "source": self.source,
            "n_queries": self.n_queries,
            "n_documents": self.n_documents,
            "rows": rows,
        }
        if self.blocks is None:
            return about
        blocks = [
            {
                "k": size,
                "recall": target,
                "lists": choice.knobs.lists,
                "skip_ratio": choice.knobs.skip_ratio,
                "cheaper": choice.cheaper,
            }
            for size, row in self.blocks.items()
            for target, choice in row.items()
        ]
        return {**about, "blocks": blocks}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Calibration:
        """Return the table that a manifest holds."""
        try:
            table: dict[int, dict[float, SearchKnobs | None]] = {}
            for row in found["rows"]:
                exact = row["cutoff"] is None
                knobs = None if exact else SearchKnobs(row["cutoff"], row["oversample"])
                table.setdefault(int(row["k"]), {})[float(row["recall"])] = knobs
            n_queries, n_documents = int(found["n_queries"]), int(found["n_documents"])
            blocks: dict[int, dict[float, BlockChoice]] | None = None
            if "blocks" in found:
                blocks = {}
            for row in found.get("blocks", ()):
                choice = BlockChoice(
                    BlockKnobs(row["lists"], row["skip_ratio"]), bool(row["cheaper"])
                )
                cast(Any, blocks).setdefault(int(row["k"]), {})[float(row["recall"])] = choice
            return cls(table, str(found["source"]), n_queries, n_documents, blocks)
        except (KeyError, TypeError, ValueError, ConfigError) as error:
            raise IndexFormatError(
                f"the manifest's calibration cannot be read: {error!r}", hint="lsr calibrate DIR"
            ) from error


def _entry(table: Mapping[int, Mapping[float, Value]], k: int, recall: float) -> Value | None:
    """Return the value of the first size and target that are not below k and the recall."""
    for size, row in table.items():
        if k <= size:
            for target, value in row.items():
                if recall <= target:
                    return value
    return None


def have_blocks(segments: Sequence[Live]) -> bool:
    """Return whether all segments have blocks that are not searched exactly anyway."""
    return all(live.segment.blocks is not None for live in _large(segments))


def calibrate(
    segments: Sequence[Live],
    queries: Sequence[SparseVector] | None = None,
    progress: Callable[[float], None] | None = None,
) -> Calibration | None:
    """Return the knobs for each target, or None when all segments are small.

    Without `queries`, terms of documents all over the index are searched for. What is compared
    is counted, not timed, so that the same index gives the same table. Takes the time of some
    thousand searches, and of as many more with blocks. Raises DataError when none of the given
    queries has a term.
    """
    large = _large(segments)
    if not large:
        return None
    asked: list[tuple[SparseVector, Source | None]] = (
        list(draw_samples(large, _QUERIES))
        if queries is None
        else [(query, None) for query in queries]
    )
    asked = [(query, source) for query, source in asked if len(query.terms)][:_MOST_QUERIES]
    if not asked and queries is not None:
        raise DataError(f"none of the {len(queries):,} queries has a term to search for")
    if not asked:
        return None
    with_blocks = have_blocks(large)
    told = progress or (lambda share: None)
    trials = _trials(large, asked, _part(told, 0.0, 0.1))
    costs = {size: exact_cost(trials, size) for size in trials[0].costs}

    def settled(k: int, points: Sequence[Point[SearchKnobs]], least: float) -> bool:
        cheapest = [_cheapest(points, target) for target in TARGETS]
        return all(
            min(costs[k], np.inf if point is None else point.cost) <= least for point in cheapest
        )

    points = try_shortlists(large, trials, settled, _part(told, 0.1, 0.4 if with_blocks else 1.0))
    table: dict[int, dict[float, SearchKnobs | None]] = {}
    blocks: dict[int, dict[float, BlockChoice]] = {}
    for number, size in enumerate(costs):
        chosen = _choices(points[size], costs[size])
        table[size] = {
            target: None if point is None else point.knobs for target, point in chosen.items()
        }
        if with_blocks:
            others = {
                target: costs[size] if point is None else point.cost
                for target, point in chosen.items()
            }
            share = [0.4 + 0.6 * at / len(costs) for at in (number, number + 1)]
            blocks[size] = _block_choices(large, trials, size, others, _part(told, *share))
    source = "documents" if queries is None else "queries"
    return Calibration(table, source, len(asked), _count(large), blocks if with_blocks else None)


def calibrate_in(
    transaction: Transaction,
    queries: Sequence[SparseVector] | None = None,
    progress: Callable[[float], None] | None = None,
) -> Calibration | None:
    """Calibrate what a transaction will commit, as part of it; an earlier table goes."""
    found = calibrate(transaction.segments(), queries, progress)
    settings = {name: kept for name, kept in transaction.settings.items() if name != SETTING}
    transaction.settings = settings if found is None else {**settings, SETTING: found.to_json()}
    return found


def keep_calibrated(
    transaction: Transaction,
    memory: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> bool:
    """Calibrate what a transaction will commit if no table there holds; return if one does.

    `progress` is told the share that is done, should there be something to do. With `memory`, an
    index whose vectors take more bytes is left without: searching it maps all of them. Small
    indexes need no table, and count as having one.
    """
    large = _large(transaction.segments())
    stored = transaction.settings.get(SETTING)
    n_documents, blocks = _count(large), have_blocks(large)
    if not large or SPARSE not in leg_settings(transaction.settings):
        return True
    if stored and Calibration.from_json(stored).holds(n_documents, blocks):
        return True
    arrays = (
        array
        for live in large
        for part in (live.segment.forward, live.segment.postings, live.segment.blocks or ())
        for array in part
    )
    if memory is not None and sum(array.nbytes for array in arrays) > memory:
        return False
    calibrate_in(transaction, progress=progress)
    return True


def _large(segments: Sequence[Live]) -> list[Live]:
    return [live for live in segments if live.segment.n_rows >= SMALL]


def _count(segments: Sequence[Live]) -> int:
    return sum(live.segment.n_documents for live in segments)


def _trials(
    segments: Sequence[Live],
    asked: Sequence[tuple[SparseVector, Source | None]],
    progress: Callable[[float], None],
) -> list[Trial]:
    """Search exactly for all queries; the more hits, the fewer of them."""
    n_documents, trials = _count(segments), []
    sizes = [size for size in SIZES if size == SIZES[0] or size * 200 <= n_documents]
    for number, (query, source) in enumerate(asked):
        here = [size for size in sizes if number < max(20, len(asked) * _PARTS[size])]
        trials.append(Trial.of(segments, query, source, here))
        progress((number + 1) / len(asked))
    return trials


def _part(progress: Callable[[float], None], start: float, stop: float) -> Callable[[float], None]:
    """Return what tells the progress of a part of the work."""
    return lambda share: progress(start + share * (stop - start))


def _choices(
    points: Sequence[Point[SearchKnobs]], most: float
) -> dict[float, Point[SearchKnobs] | None]:
    """Return for each target the cheapest point that reaches it; None if that costs `most`."""
    chosen = {}
    for target in TARGETS:
        cheapest = _cheapest(points, target)
        pays = cheapest is not None and cheapest.cost < most
        chosen[target] = cheapest if pays else None
    return chosen


def _block_choices(
    segments: Sequence[Live],
    trials: Sequence[Trial],
    k: int,
    costs: Mapping[float, float],
    progress: Callable[[float], None],
) -> dict[float, BlockChoice]:
    """Return for each target the blocks that cost least; `costs` are those of the other ways."""
    points: list[Point[BlockKnobs]] = []
    for step, lists in enumerate(_LISTS):
        for skip_ratio in _SKIP_RATIOS:
            points.append(_try_blocks(segments, trials, k, BlockKnobs(lists, skip_ratio)))
            if points[-1].recall >= _with_margin(TARGETS[-1]):
                break
        progress((step + 1) / len(_LISTS))
    fewest = {target: _cheapest(points, target) for target in TARGETS}
    return {
        target: BlockChoice(point.knobs, point.cost < costs[target])
        for target, point in fewest.items()
        if point is not None
    }


def _try_blocks(
    segments: Sequence[Live], trials: Sequence[Trial], k: int, knobs: BlockKnobs
) -> Point[BlockKnobs]:
    """Search for all trials; what scores as much as the k-th best counts as found."""
    reached, costs = [], []
    for query, source, best, sizes in trials:
        if k not in sizes:
            continue
        found, true = find_others(segments, query, source, k, knobs), best.scores[:k]
        least = true[-1] if len(true) else np.float32(0)
        reached.append(np.count_nonzero(found.scores >= least) / max(1, len(true)))
        lookups = len(segments) * min(knobs.lists, len(query.terms)) * len(query.terms)
        costs.append(found.postings + BLOCK_ROW_COST * found.scored + LOOKUP_COST * lookups)
    return Point(float(np.mean(reached)), float(np.mean(costs)), knobs)


def _with_margin(target: float) -> float:
    return target + min(MARGIN * (1 - target), MOST_MARGIN)


def _cheapest(points: Sequence[Point[AnyKnobs]], target: float) -> Point[AnyKnobs] | None:
    enough = [point for point in points if point.recall >= _with_margin(target)]
    return min(enough, key=lambda point: point.cost, default=None)
