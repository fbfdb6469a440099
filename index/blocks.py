"""Blocks: inverted lists pruned and cut into blocks of similar rows, with a summary of each.

The design is that of Seismic (arXiv 2404.18812), with means in place of maxima as summaries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lsr.errors import ConfigError, IndexFormatError

from .knobs import SMALL

#: Under what name a manifest's settings keep how blocks are made; null for not at all.
SETTING = "blocks"

#: The arrays of a segment that has blocks, and their types; `None` is that of its terms.
BLOCK_ARRAYS: dict[str, str | None] = {
    "blocks.lists": "<i8",
    "blocks.largest": "<f4",
    "blocks.parts": "<i8",
    "blocks.starts": "<i8",
    "blocks.scales": "<f4",
    "blocks.rows": "<u4",
    "summaries.terms_of": "<i8",
    "summaries.entries_of": "<i8",
    "summaries.terms": None,
    "summaries.ends": "<u2",
    "summaries.entries": "<u2",
}


class Blocks(NamedTuple):
    """The blocks of a segment, in order of the term of their list.

    The list of term t has the parts `lists[t]` to `lists[t+1]`, its heaviest weight is
    `largest[t]` (0 without a list); `lists` int64 and `largest` float32 are (V+1,) and (V,).
    Part p has the blocks `parts[p]` to `parts[p+1]`, at most 256; block b has the rows
    `starts[b]` to `starts[b+1]` of `rows` uint32. The summaries of part p are inverted: it has
    the terms `terms_of[p]` to `terms_of[p+1]` of `terms`, ascending, and from `entries_of[p]`
    on `ends` (uint16, for each term) tells where its `entries` end: uint16, number of the block
    in the part in the upper byte, code in the lower, which counts in units of the block's
    `scales` float32.
    """

    lists: npt.NDArray[np.int64]
    largest: npt.NDArray[np.float32]
    parts: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    scales: npt.NDArray[np.float32]
    rows: npt.NDArray[np.uint32]
    terms_of: npt.NDArray[np.int64]
    entries_of: npt.NDArray[np.int64]
    terms: npt.NDArray[Any]
    ends: npt.NDArray[np.uint16]
    entries: npt.NDArray[np.uint16]

    @classmethod
    def none(cls, vocab_size: int, terms: np.dtype[Any]) -> Blocks:
        """Return the blocks of a segment in which no list has any; for warming up."""
        arrays = {
            name.partition(".")[2]: np.zeros(0, kind or terms)
            for name, kind in BLOCK_ARRAYS.items()
        }
        for name in ("parts", "starts", "terms_of", "entries_of"):
            arrays[name] = np.zeros(1, np.int64)
        arrays["lists"] = np.zeros(vocab_size + 1, np.int64)
        arrays["largest"] = np.zeros(vocab_size, np.float32)
        return cls(**arrays)


@dataclass(frozen=True, slots=True)
class BlockSettings:
    """How an index makes blocks: what to keep of its lists, and how to cut and summarise it.

    A list keeps its `postings` heaviest postings, or `share` of the segment's rows if that is
    more; each row stays in the list of its heaviest term whatever its length. More of both:
    higher recall, larger, slower to build. Blocks have `rows` rows on average; a summary keeps
    its heaviest terms up to `energy` of their sum, of 0 to 1: more is larger and more precise.
    `seed` draws the centroids. Segments below `small` rows get no blocks.

    >>> BlockSettings().cap(10_000_000)
    5000
    """

    postings: int = 1000
    share: float = 5e-4
    rows: int = 10
    energy: float = 0.4
    seed: int = 0
    small: int = SMALL

    def __post_init__(self) -> None:
        sound = (
            self.postings >= 1
            and 0 <= self.share <= 1
            and 1 <= self.rows <= 1000
            and 0 < self.energy <= 1
            and 0 <= self.seed < 2**31
            and self.small >= 1
        )
        if not sound:
            raise ConfigError(
                f"{self} cannot be followed: expected are postings and small of at least 1, a "
                "share and an energy of 0 to 1, 1 to 1,000 rows and a seed below 2^31"
            )

    def cap(self, n_rows: int) -> int:
        """Return how many postings a list of a segment keeps."""
        return max(self.postings, int(self.share * n_rows))

    def to_json(self) -> dict[str, Any]:
        """Return the settings as the manifest keeps them."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> BlockSettings:
        """Return the settings that a manifest holds."""
        try:
            return cls(**found)
        except (TypeError, ConfigError) as error:
            raise IndexFormatError(
                f"the manifest's settings of blocks cannot be read: {error}",
                hint="lsr merge DIR --blocks",
            ) from error


def block_settings(settings: Mapping[str, Any]) -> BlockSettings | None:
    """Return how the index with these settings makes blocks, None if it makes none.

    >>> block_settings({"vocab_size": 100}) is None
    True
    """
    found = settings.get(SETTING)
    return None if found is None else BlockSettings.from_json(found)
