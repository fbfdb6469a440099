"""Kernels that choose which postings of a list are kept when its rows are cut into blocks.

Weights are compared as their bits: of positive floats the larger has the larger bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .jit import kernel

#: Buckets of a term's histogram: 16 for each halving of the weight, for 16 halvings.
BUCKETS, BUCKET_SHIFT = 256, 19

#: Set in the bits of a posting that stays whatever the cap: its term is its row's heaviest.
HOME = 1 << 31


@kernel
def measure_rows(
    indptr: npt.NDArray[np.int64],
    terms: npt.NDArray[Any],
    bits: npt.NDArray[np.uint32],
    start: int,
    stop: int,
    lengths: npt.NDArray[np.int64],
    largest: npt.NDArray[np.uint32],
    floors: npt.NDArray[np.uint32],
    heavy: npt.NDArray[np.uint32],
) -> None:
    """Count rows and find the heaviest weight of each term, and each row's n-th heaviest weight.

    lengths, largest (vocab,) are added to; floors (n_rows,) is filled from `start` to `stop`, 0
    where a row has fewer than n terms. heavy (n,): for work.
    """
    n = heavy.shape[0]
    for row in range(start, stop):
        size = 0
        for at in range(indptr[row], indptr[row + 1]):
            term, weight = terms[at], bits[at]
            lengths[term] += 1
            largest[term] = max(largest[term], weight)
            if size < n:
                place = size
                size += 1
            elif weight > heavy[n - 1]:
                place = n - 1
            else:
                continue
            while place > 0 and heavy[place - 1] < weight:
                heavy[place] = heavy[place - 1]
                place -= 1
            heavy[place] = weight
        floors[row] = heavy[n - 1] if size == n else np.uint32(0)


@kernel
def count_weights(
    terms: npt.NDArray[Any],
    bits: npt.NDArray[np.uint32],
    slots: npt.NDArray[np.int32],
    largest: npt.NDArray[np.uint32],
    histograms: npt.NDArray[np.int64],
) -> None:
    """Count the weights of long lists by how far they are below the heaviest of their term.

    slots (vocab,): which of the histograms (n, BUCKETS) is a term's, -1 for none.
    """
    for at in range(terms.shape[0]):
        term = terms[at]
        if slots[term] >= 0:
            below: Any = np.int64(largest[term] >> BUCKET_SHIFT)
            below -= np.int64(bits[at] >> BUCKET_SHIFT)
            histograms[slots[term], min(below, BUCKETS - 1)] += 1


@kernel
def count_kept(
    indptr: npt.NDArray[np.int64],
    terms: npt.NDArray[Any],
    bits: npt.NDArray[np.uint32],
    start: int,
    stop: int,
    least: npt.NDArray[np.uint32],
    counts: npt.NDArray[np.int64],
) -> None:
    """Count for each term the postings that weigh at least `least`, or most in their row."""
    for row in range(start, stop):
        home = heaviest(bits, indptr[row], indptr[row + 1])
        for at in range(indptr[row], indptr[row + 1]):
            if bits[at] >= least[terms[at]] or at == home:
                counts[terms[at]] += 1


@kernel
def collect_kept(
    indptr: npt.NDArray[np.int64],
    terms: npt.NDArray[Any],
    bits: npt.NDArray[np.uint32],
    start: int,
    stop: int,
    least: npt.NDArray[np.uint32],
    first_term: int,
    last_term: int,
    ends: npt.NDArray[np.int64],
    kept_rows: npt.NDArray[np.uint32],
    kept_bits: npt.NDArray[np.uint32],
) -> None:
    """Write the postings that `count_kept` counts to their lists, of terms in the range only.

    ends (vocab,): where the next posting of a term goes; moved on.
    """
    for row in range(start, stop):
        home = heaviest(bits, indptr[row], indptr[row + 1])
        for at in range(indptr[row], indptr[row + 1]):
            term = np.int64(terms[at])
            if term < first_term or term >= last_term:
                continue
            if bits[at] >= least[term] or at == home:
                place = ends[term]
                kept_rows[place] = row
                kept_bits[place] = bits[at] | (np.uint32(HOME) if at == home else np.uint32(0))
                ends[term] = place + 1


@kernel
def heaviest(bits: npt.NDArray[np.uint32], start: int, stop: int) -> Any:
    """Return the place of a row's heaviest weight, the first of equals; -1 if it has none."""
    best = np.int64(-1)
    for at in range(start, stop):
        if best < 0 or bits[at] > bits[best]:
            best = np.int64(at)
    return best


@kernel
def trim(rows: npt.NDArray[np.uint32], bits: npt.NDArray[np.uint32], cap: int) -> Any:
    """Keep the `cap` heaviest of a list, ties by row, and those at home; return how many."""
    size = rows.shape[0]
    if size <= cap:
        return size
    plain = bits & np.uint32(HOME - 1)
    least = np.sort(plain)[size - cap]
    room = cap
    for at in range(size):
        room -= plain[at] > least
    kept = 0
    for at in range(size):
        fits = plain[at] > least
        if plain[at] == least and room > 0:
            room -= 1
            fits = True
        if fits or bits[at] >= HOME:
            rows[kept] = rows[at]
            kept += 1
    return kept
