"""A window: up to 262,144 consecutive rows of a segment, and how its postings are laid out."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

#: A window's accumulators, a byte for each row, stay in the processor's second cache.
MAX_WINDOW_ROWS = 1 << 18

#: Rows whose sums are looked at together; accumulators are a multiple of it.
BLOCK = 128

#: The tiers of a list, heaviest first, and how many values of the code each takes; the last
#: takes what is left. So many that a list's record is one cache line.
TIERS, TIER_CODES = 14, 18

#: Numbers in the record of a list: its heaviest weight (the bits of a float32), its first entry,
#: and where each of its tiers ends.
RECORD = 16

#: Postings of a query up to which rows are found by them; see `touched`.
MOST_POSTINGS = 1 << 16

#: Postings that numpy inverts sooner than the compiled kernel can be loaded from its cache.
_FEW = 1_000_000


class Postings(NamedTuple):
    """The rows by term, a window of rows at a time, with weights rounded up to 8 bits.

    `windows` int64 (n_windows+1,) bounds the windows. `lists` uint32 (n_windows*V,): the number,
    from 1, of the list of term t in window w is `lists[w*V+t]`, 0 when there is none. `entries`
    uint32 (nnz,): a row, counted from the window's first, times 256, plus a code: 1 to 255 parts
    of the list's heaviest weight. A window's entries lie where its rows lie in the forward index;
    in a window they go by term, then by tier (see `tier_of`), heaviest first, then by row.
    `records` uint32 (n_lists*16,): of each list the heaviest weight as the bits of a float32,
    where it begins and where its 14 tiers end, counted from the window's first entry.
    """

    windows: npt.NDArray[np.int64]
    lists: npt.NDArray[np.uint32]
    records: npt.NDArray[np.uint32]
    entries: npt.NDArray[np.uint32]


class Inverted(NamedTuple):
    """The postings of a window: the terms that have a list, int64, and as in `Postings`."""

    terms: npt.NDArray[np.int64]
    records: npt.NDArray[np.uint32]
    entries: npt.NDArray[np.uint32]


def frozen(array: npt.ArrayLike, dtype: npt.DTypeLike | None = None) -> npt.NDArray[Any]:
    """Return a read-only plain view, so that one compiled variant serves mapped and own arrays.

    It is a copy where the array is not contiguous, or not of the type that is asked for.
    """
    view = np.ascontiguousarray(array, dtype).view(np.ndarray)
    view.flags.writeable = False
    return view


def tier_of(codes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the tier of each code, 0 to 13.

    >>> tier_of(np.array([255, 238, 237, 22, 21, 1])).tolist()
    [0, 0, 1, 12, 13, 13]
    """
    tiers: npt.NDArray[Any] = np.minimum((255 - codes) // TIER_CODES, TIERS - 1)
    return tiers


def invert_window(
    indptr: npt.NDArray[np.int64],
    terms: npt.NDArray[Any],
    weights: npt.NDArray[np.float32],
    vocab_size: int,
) -> Inverted:
    """Return the postings of a window of at most 262,144 rows.

    `indptr` int64 (n+1,) starts at 0; `terms` uint16 or uint32; `weights` float32.

    >>> parts = np.array([0, 2, 3]), np.array([1, 2, 1], np.uint16), np.array([1, 1, 2], "f4")
    >>> inverted = invert_window(*parts, vocab_size=3)
    >>> inverted.terms.tolist(), [divmod(entry, 256) for entry in inverted.entries.tolist()]
    ([1, 2], [(1, 255), (0, 128), (0, 255)])
    """
    n_rows = len(indptr) - 1
    if n_rows > MAX_WINDOW_ROWS:
        raise ValueError(f"a window has {n_rows} rows; it can hold {MAX_WINDOW_ROWS}")
    nnz = int(indptr[-1])
    if nnz >= 1 << 32:
        raise ValueError(f"a window has {nnz} postings; it can hold {(1 << 32) - 1}")
    if nnz < _FEW and f"{__package__}.kernels" not in sys.modules:
        return _invert_by_sorting(indptr, terms[:nnz], weights[:nnz])
    from . import kernels

    heaviest = np.zeros(vocab_size, np.float32)
    ends, entries = np.zeros(vocab_size * TIERS, np.uint32), np.empty(nnz, np.uint32)
    kernels.invert(
        frozen(indptr), frozen(terms[:nnz]), frozen(weights[:nnz]), heaviest, ends, entries
    )
    used = np.flatnonzero(heaviest)
    return Inverted(used, _records(heaviest[used], ends.reshape(-1, TIERS)[used]), entries)


def _invert_by_sorting(
    indptr: npt.NDArray[np.int64], terms: npt.NDArray[Any], weights: npt.NDArray[np.float32]
) -> Inverted:
    used, lists = np.unique(terms, return_inverse=True)
    n_lists = len(used)
    heaviest = np.zeros(n_lists, np.float32)
    np.maximum.at(heaviest, lists, weights)
    codes = np.clip(np.ceil(weights / heaviest[lists] * np.float32(255)), 1, 255).astype(np.int64)
    tier = lists * TIERS + tier_of(codes)
    order = np.argsort(tier, kind="stable")
    rows = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    ends = np.cumsum(np.bincount(tier, minlength=n_lists * TIERS)).astype(np.uint32)
    entries = (rows << 8 | codes).astype(np.uint32)[order]
    return Inverted(used.astype(np.int64), _records(heaviest, ends.reshape(-1, TIERS)), entries)


def _records(
    heaviest: npt.NDArray[np.float32], ends: npt.NDArray[np.uint32]
) -> npt.NDArray[np.uint32]:
    """Return the records of lists that follow one another, without gaps between them."""
    records = np.empty((len(heaviest), RECORD), np.uint32)
    records[:, 0] = heaviest.view(np.uint32)
    records[:1, 1], records[1:, 1] = 0, ends[:-1, -1]
    records[:, 2:] = ends
    return records.reshape(-1)
