"""The planner: what a caller wants of a search, as the knobs that do it."""

from __future__ import annotations

from typing import Literal

from lsr.errors import ConfigError

from .calibration import DEFAULT_RECALL, TARGETS, Calibration
from .knobs import SearchKnobs

#: A way through the index that a caller can insist on.
Path = Literal["exact", "accumulate"]

PATHS = ("exact", "accumulate")


def choose(
    calibration: Calibration | None,
    k: int,
    *,
    filtered: bool = False,
    exact: bool = False,
    recall: float | None = None,
    path: Path | None = None,
    knobs: SearchKnobs | None = None,
) -> SearchKnobs | None:
    """Return the knobs of a search, None for a rank-safe one. Raises ConfigError if at odds.

    Exact is what is asked for with `exact`, `recall=1` or `path="exact"`, and what is done where
    the calibration found it as cheap, where there is none, and behind a filter, which makes the
    k best worse than those that were calibrated.

    >>> choose(None, 10, exact=True) is None
    True
    """
    if recall is not None and not 0 < recall <= 1:
        raise ConfigError(f"recall is {recall}; it must be above 0 and at most 1")
    if path is not None and path not in PATHS:
        raise ConfigError(f"path is {path!r}; the paths are {', '.join(PATHS)}")
    wants_exact = exact or path == "exact" or recall == 1
    if wants_exact and (knobs is not None or path == "accumulate" or recall not in (None, 1)):
        raise ConfigError("an exact search takes no knobs, no other path and no lower recall")
    if wants_exact:
        return None
    if knobs is not None:
        return knobs
    if filtered and path is None:
        return None
    found = None if calibration is None else calibration.knobs(k, recall or DEFAULT_RECALL)
    if found is None and path == "accumulate":
        return careful_knobs(recall or DEFAULT_RECALL)
    return found


def careful_knobs(recall: float) -> SearchKnobs:
    """Return knobs for an index that was not calibrated; they reach more than what is asked.

    >>> careful_knobs(0.9)
    SearchKnobs(cutoff=0.2, oversample=6.0, small=20000)
    """
    return SearchKnobs(0.2, 6.0) if recall <= TARGETS[1] else SearchKnobs(0.1, 10.0)
