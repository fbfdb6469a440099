"""Kernels that add postings up in a window's accumulators, and find the rows with large sums.

Sums are uint16, in units of a share of the window's largest possible score; postings are rounded
up, so that a sum is never below what its postings add to the score.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .jit import kernel, prefetch
from .windows import BLOCK, TIERS

#: The largest sum of an accumulator.
UNITS = 65_535

#: Products of a query's and a list's heaviest weights that the units can express, and terms of a
#: query; beyond these, every row has to be scored.
SMALLEST, LARGEST, MOST_TERMS = 1e-25, 1e32, 8192

#: Lists are fetched so many ahead, and so many of their postings.
AHEAD, FETCHED = 2, 256


@kernel
def find_lists(
    lists: npt.NDArray[np.uint32],
    tiers: npt.NDArray[np.uint16],
    starts: npt.NDArray[np.int64],
    maxima: npt.NDArray[np.float32],
    base: int,
    query_terms: npt.NDArray[np.int64],
    query_weights: npt.NDArray[np.float32],
    n_terms: int,
    found: npt.NDArray[np.int64],
    bounds: npt.NDArray[np.float32],
) -> Any:
    """Look up the query's lists in a window and the most each can add; return the sum of that."""
    for at in range(n_terms):
        number = np.int64(lists[base + query_terms[at]]) - 1
        found[at] = number
        if number >= 0:
            prefetch(maxima, number)
            prefetch(tiers, number * TIERS)
            prefetch(starts, number)
    total = np.float32(0)
    for at in range(n_terms):
        number = found[at]
        bounds[at] = query_weights[at] * maxima[number] if number >= 0 else np.float32(0)
        total += bounds[at]
    return total


@kernel
def fits(
    query_weights: npt.NDArray[np.float32], n_terms: int, lightest: float, heaviest: float
) -> Any:
    """Return whether the units can express what lists add, whose heaviest weights are given."""
    if n_terms > MOST_TERMS:
        return False
    low, high = query_weights[0], query_weights[0]
    for at in range(1, n_terms):
        low, high = min(low, query_weights[at]), max(high, query_weights[at])
    return low * lightest >= SMALLEST and high * heaviest * n_terms <= LARGEST


@kernel
def unit_of(top: np.float32, n_terms: int) -> Any:
    """Return the score that one unit of a window's sums stands for.

    Each posting may be rounded up by two units, and float32 sums by a little.
    """
    return top / np.float32(UNITS - 3 * n_terms - 8)


@kernel
def add(
    sums: npt.NDArray[np.uint16],
    rows: npt.NDArray[np.uint16],
    codes: npt.NDArray[np.uint8],
    weight: np.uint32,
) -> None:
    """Add postings to the sums of their rows, rounded up; `weight` is in 1/256 of a unit."""
    for at in range(rows.shape[0]):
        sums[rows[at]] += np.uint16(
            (np.uint32(codes[at]) * weight + np.uint32(255)) >> np.uint32(8)
        )


@kernel
def add_lists(
    starts: npt.NDArray[np.int64],
    tiers: npt.NDArray[np.uint16],
    rows: npt.NDArray[np.uint16],
    codes: npt.NDArray[np.uint8],
    found: npt.NDArray[np.int64],
    bounds: npt.NDArray[np.float32],
    n_terms: int,
    unit: np.float32,
    cuts: npt.NDArray[np.int64],
    done: npt.NDArray[np.int64],
    sums: npt.NDArray[np.uint16],
) -> int:
    """Add each list from posting `done` to the end of its cut; return how many were added."""
    total = 0
    for at in range(-AHEAD, n_terms):
        # Lists are mostly short: what is read of the next ones is fetched meanwhile.
        later = at + AHEAD
        if later < n_terms and cuts[later] > 0:
            begin = starts[found[later]] + done[later]
            end = starts[found[later]] + np.int64(tiers[found[later] * TIERS + cuts[later] - 1])
            end = min(end, begin + FETCHED)
            for ahead in range(begin, end, 32):
                prefetch(rows, ahead)
            for ahead in range(begin, end, 64):
                prefetch(codes, ahead)
        if at < 0:
            continue
        if cuts[at] == 0:
            continue
        stop = np.int64(tiers[found[at] * TIERS + cuts[at] - 1])
        if stop <= done[at]:
            continue
        first = starts[found[at]]
        # A code stands for 1/255 of the bound; the product is shifted by 8 bits.
        weight = np.uint32(np.ceil(bounds[at] / unit * np.float32(256 / 255)))
        add(
            sums,
            rows[first + done[at] : first + stop],
            codes[first + done[at] : first + stop],
            weight,
        )
        total += stop - done[at]
        done[at] = stop
    return total


@kernel
def find_peaks(sums: npt.NDArray[np.uint16], n_blocks: int, peaks: npt.NDArray[np.uint16]) -> None:
    """Find the largest sum of each block of rows."""
    for block in range(n_blocks):
        peak = np.uint16(0)
        start = block * BLOCK
        for at in range(BLOCK):
            value = sums[np.uint64(start + at)]
            peak = value if value > peak else peak
        peaks[block] = peak


@kernel
def mask(
    sums: npt.NDArray[np.uint16],
    n_rows: int,
    first_row: int,
    documents: npt.NDArray[np.uint32],
    allowed: npt.NDArray[np.bool_],
) -> None:
    """Zero the sums of a window's rows whose documents are not allowed."""
    zero = np.uint16(0)
    if documents.shape[0]:
        for at in range(n_rows):
            if not allowed[documents[np.uint64(first_row + at)]]:
                sums[np.uint64(at)] = zero
    else:
        for at in range(n_rows):
            keep = allowed[np.uint64(first_row + at)]
            sums[np.uint64(at)] = sums[np.uint64(at)] if keep else zero


@kernel
def reached_by(values: npt.NDArray[np.uint16], size: int, count: int) -> Any:
    """Return a sum, at least 1, that `count` of the values reach, if that many are above 0."""
    low, high = np.int64(1), np.int64(UNITS + 1)
    while high - low > 48:
        middle = (low + high) >> 1
        reached = np.int64(0)
        least = np.uint16(middle)
        for at in range(size):
            reached += np.int64(values[np.uint64(at)] >= least)
        if reached >= count:
            low = middle
        else:
            high = middle
    return low


@kernel
def collect(
    sums: npt.NDArray[np.uint16],
    peaks: npt.NDArray[np.uint16],
    n_blocks: int,
    lowest: Any,
    block: int,
    candidates: npt.NDArray[np.int64],
    candidate_sums: npt.NDArray[np.uint16],
) -> Any:
    """List the rows with a sum of at least `lowest`, from a block on: (how many, next block).

    Ends when the candidates' room is nearly full.
    """
    size: Any = 0
    while block < n_blocks and size + BLOCK <= candidates.shape[0]:
        if np.int64(peaks[np.uint64(block)]) >= lowest:
            for at in range(block * BLOCK, block * BLOCK + BLOCK):
                value = sums[np.uint64(at)]
                candidates[np.uint64(size)] = at
                candidate_sums[np.uint64(size)] = value
                size += np.int64(np.int64(value) >= lowest)
        block += 1
    return size, block
