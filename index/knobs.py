"""SearchKnobs: how much work an approximate search may leave undone, for experts."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lsr.errors import ConfigError

#: Rows from which an approximate search is worth its while.
SMALL = 20_000


@dataclass(frozen=True, slots=True)
class SearchKnobs:
    """How the accumulating search saves work.

    `cutoff`: postings are read that add at least this share of what the query can add at most
    (the most that each term can add, as the length of a vector), times the root of the share of
    documents their term is in. More: faster, lower recall.
    `oversample`: documents scored in full for each hit that is asked for. More: slower, higher
    recall. `small`: segments with fewer rows are searched exactly, which takes as long there.

    >>> SearchKnobs(oversample=4).candidates(k=10)
    48
    """

    cutoff: float = 0.3
    oversample: float = 5.0
    small: int = SMALL

    def __post_init__(self) -> None:
        if not 0 <= self.cutoff < math.inf:
            raise ConfigError(f"cutoff is {self.cutoff}; it must be 0 or more, and finite")
        if not 1 <= self.oversample < math.inf:
            raise ConfigError(f"oversample is {self.oversample}; it must be 1 or more, and finite")

    def candidates(self, k: int) -> int:
        """Return how many rows of a segment are scored in full for k hits."""
        return math.ceil(self.oversample * k) + 8


@dataclass(frozen=True, slots=True)
class BlockKnobs:
    """How the search of blocks saves work, in an index that has them.

    `lists`: of how many of the query's lists, those that can add most to a score, blocks are
    opened. More: slower, higher recall. `skip_ratio`: blocks stay closed when they promise less
    than this part of the k-th best score so far. More: faster, lower recall; at 0 all are opened.
    `small`: segments with fewer rows are searched exactly, which takes as long there.

    >>> BlockKnobs(lists=5, skip_ratio=0.8)
    BlockKnobs(lists=5, skip_ratio=0.8, small=20000)
    """

    lists: int = 12
    skip_ratio: float = 0.6
    small: int = SMALL

    def __post_init__(self) -> None:
        if self.lists < 1:
            raise ConfigError(f"lists is {self.lists}; it must be at least 1")
        if not 0 <= self.skip_ratio < math.inf:
            raise ConfigError(f"skip_ratio is {self.skip_ratio}; it must be 0 or more, and finite")


#: The knobs of either way of searching approximately.
Knobs = SearchKnobs | BlockKnobs
