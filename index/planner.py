"""The planner: what a caller wants of a search, as the knobs that do it."""

from __future__ import annotations

from typing import Literal, NamedTuple

from lsr.errors import ConfigError

from .calibration import DEFAULT_RECALL, TARGETS, Calibration
from .knobs import BlockKnobs, Knobs, SearchKnobs

#: A way through the index that a caller can insist on.
Path = Literal["exact", "accumulate", "blocks"]

PATHS = ("exact", "accumulate", "blocks")


class Effort(NamedTuple):
    """What a caller wants of the sparse leg of a search: the options of `choose`."""

    exact: bool = False
    recall: float | None = None
    path: Path | None = None
    knobs: Knobs | None = None


def choose(
    calibration: Calibration | None,
    k: int,
    *,
    filtered: bool = False,
    exact: bool = False,
    recall: float | None = None,
    path: Path | None = None,
    knobs: Knobs | None = None,
    blocks: bool = False,
) -> Knobs | None:
    """Return the knobs of a search, None for a rank-safe one. Raises ConfigError if at odds.

    Exact is what is asked for with `exact`, `recall=1` or `path="exact"`, and what is done where
    the calibration found it as cheap, where there is none, and behind a filter, which makes the
    k best worse than those that were calibrated. `blocks` says that all large segments have them.

    >>> choose(None, 10, exact=True) is None
    True
    """
    if recall is not None and not 0 < recall <= 1:
        raise ConfigError(f"recall is {recall}; it must be above 0 and at most 1")
    if path is not None and path not in PATHS:
        raise ConfigError(f"path is {path!r}; the paths are {', '.join(PATHS)}")
    wants_exact = exact or path == "exact" or recall == 1
    other = path not in (None, "exact") or recall not in (None, 1)
    if wants_exact and (knobs is not None or other):
        raise ConfigError("an exact search takes no knobs, no other path and no lower recall")
    if wants_exact:
        return None
    if (path == "blocks" or isinstance(knobs, BlockKnobs)) and not blocks:
        raise ConfigError(
            "this index has no blocks, or not in every large segment",
            hint="make them: lsr merge DIR --blocks",
        )
    if knobs is not None:
        _check_path(path, knobs)
        return knobs
    if filtered and path is None:
        return None
    wanted = recall or DEFAULT_RECALL
    found = None if calibration is None else calibration.knobs(k, wanted, path)
    if path == "blocks":
        return found or careful_blocks(wanted)
    if path == "accumulate":
        return found or careful_knobs(wanted)
    if isinstance(found, BlockKnobs) and not blocks:  # they went after the calibration
        return careful_knobs(wanted)
    return found


def _check_path(path: Path | None, knobs: Knobs) -> None:
    fitting = "blocks" if isinstance(knobs, BlockKnobs) else "accumulate"
    if path not in (None, fitting):
        raise ConfigError(f"path is {path!r}, but the knobs are those of {fitting!r}")


def careful_blocks(recall: float) -> BlockKnobs:
    """Return knobs for blocks that were not calibrated.

    >>> careful_blocks(0.9).lists < careful_blocks(0.99).lists
    True
    """
    return BlockKnobs(16, 0.6) if recall <= TARGETS[1] else BlockKnobs(64, 0.4)


def careful_knobs(recall: float) -> SearchKnobs:
    """Return knobs for an index that was not calibrated; they reach more than what is asked.

    >>> careful_knobs(0.9)
    SearchKnobs(cutoff=0.2, oversample=6.0, small=20000)
    """
    return SearchKnobs(0.2, 6.0) if recall <= TARGETS[1] else SearchKnobs(0.1, 10.0)
