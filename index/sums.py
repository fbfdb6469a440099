"""Kernels that add postings up in a window's accumulators, and find the rows with large sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .arguments import Lists, Masks, Query, Work
from .jit import inner, prefetch
from .windows import BLOCK, RECORD, TIERS

#: Where in `counts` the kernels add up what they did.
POSTINGS, SCORED = 0, 1

#: The largest sum of a 16-bit accumulator.
UNITS = 65_535

#: Products of a query's and a list's heaviest weights that the units can express, and terms of a
#: query; beyond these, every row has to be scored.
SMALLEST, LARGEST, MOST_TERMS = 1e-25, 1e32, 8192

#: Lists are fetched so many ahead, and so many of their entries.
AHEAD, FETCHED = 2, 128


@inner
def fits(weights: npt.NDArray[np.float32], n_terms: int, lightest: float, heaviest: float) -> Any:
    """Return whether the units can express what lists add, whose heaviest weights are given."""
    if n_terms > MOST_TERMS:
        return False
    if n_terms == 0:
        return True
    low, high = weights[0], weights[0]
    for at in range(1, n_terms):
        low, high = min(low, weights[at]), max(high, weights[at])
    return low * lightest >= SMALLEST and high * heaviest * n_terms <= LARGEST


@inner
def find_lists(
    lists: Lists, vocab_size: int, query: Query, n_terms: int, found: npt.NDArray[np.int64]
) -> None:
    """Look up the query's lists in all windows: their numbers, from 0, -1 where there is none.

    What is read of them next is fetched.
    """
    place = 0
    for window in range(lists.windows.shape[0] - 1):
        base = window * vocab_size
        for at in range(n_terms):
            number = np.int64(lists.lists[base + query.terms[at]]) - 1
            found[place] = number
            place += 1
            if number >= 0:
                prefetch(lists.records, number * RECORD)


@inner
def length_of(records: npt.NDArray[np.uint32], number: int) -> Any:
    """Return how many entries a list has."""
    at = number * RECORD
    return np.int64(records[at + 1 + TIERS]) - np.int64(records[at + 1])


@inner
def fetch_list(lists: Lists, first: int, number: int, done: Any, cut: Any) -> None:
    """Fetch the beginning of what is read next of a list, from entry `done` to its cut."""
    if cut > 0:
        at = number * RECORD
        start = np.int64(lists.records[at + 1])
        stop = min(np.int64(lists.records[at + 1 + cut]), start + done + FETCHED)
        for ahead in range(first + start + done, first + stop, 16):
            prefetch(lists.entries, ahead)


@inner
def tell(work: Work, number: int, size: Any, before: Any) -> None:
    """Put down what a query found; `before` is what the counts were."""
    work.told[3 * number] = size
    work.told[3 * number + 1] = work.counts[POSTINGS] - before[POSTINGS]
    work.told[3 * number + 2] = work.counts[SCORED] - before[SCORED]


@inner
def find_peaks(sums: Any, n_blocks: int, peaks: npt.NDArray[np.uint16]) -> None:
    """Find the largest sum of each block of rows."""
    for block in range(n_blocks):
        start = block * BLOCK
        peak = sums[np.uint64(start)]
        for at in range(1, BLOCK):
            value = sums[np.uint64(start + at)]
            peak = value if value > peak else peak
        peaks[np.uint64(block)] = peak


@inner
def mask(
    sums: Any, n_rows: int, first_row: int, documents: npt.NDArray[np.uint32], masks: Masks
) -> None:
    """Zero the sums of a window's rows whose documents are deleted or not allowed."""
    if masks.deleted.shape[0]:
        _zero_where(sums, n_rows, first_row, documents, masks.deleted, True)
    if masks.allowed.shape[0]:
        _zero_where(sums, n_rows, first_row, documents, masks.allowed, False)


@inner
def _zero_where(
    sums: Any,
    n_rows: int,
    first_row: int,
    documents: npt.NDArray[np.uint32],
    flags: npt.NDArray[np.bool_],
    out: bool,
) -> None:
    if documents.shape[0]:
        for at in range(n_rows):
            if flags[documents[np.uint64(first_row + at)]] == out:
                sums[np.uint64(at)] = 0
    else:
        for at in range(n_rows):
            value = sums[np.uint64(at)]
            sums[np.uint64(at)] = 0 if flags[np.uint64(first_row + at)] == out else value
