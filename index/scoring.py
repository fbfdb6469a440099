"""Kernels that score rows one by one through the forward index."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .arguments import COMPARED, Query, Rows
from .jit import equal_to, first_bit, float_of, inlined, kernel, prefetch

#: Rows are fetched so many rows before they are scored.
AHEAD = 2

#: The `rest` of `product` for weights that count as they are.
AS_THEY_ARE = np.float32(-1)


@inlined
def product(rows: Any, row: Any, rest: np.float32, query: Query, n_terms: int) -> Any:
    """Return the inner product of a row and a query, summed in ascending term order.

    rows: has `indptr`, `terms` (`COMPARED` bytes at least), `weights` and `halves`, as in
    `arguments.Rows`. rest: counts c count as c / (c + rest); below 0, weights count as they are.
    """
    start, stop = rows.indptr[row], rows.indptr[row + 1]
    if stop - start >= 4 * (COMPARED // rows.terms.itemsize):
        return _product(rows, start, stop, 4, rest, query, n_terms)
    return _product(rows, start, stop, 1, rest, query, n_terms)


@inlined
def _product(
    rows: Any, start: Any, stop: Any, n_parts: int, rest: np.float32, query: Query, n_terms: int
) -> Any:
    """Return the inner product: `n_parts` times `COMPARED` bytes of terms are looked at together.

    Each is compared with the terms of the query that can be among them. What both have is
    multiplied afterwards: no branch for each term, which the processor would guess.
    """
    terms = rows.terms
    part = COMPARED // terms.itemsize
    width = n_parts * part
    total, asked, at = np.float32(0), 0, start
    while at < stop and asked < n_terms:
        # The last terms are looked at with some before them, so that none lies beyond the end.
        first = max(min(at, stop - width), 0)
        last = np.int64(terms[np.uint64(min(at + width, stop) - 1)])
        mine = ~np.uint64(0) >> np.uint64(64 - min(stop - at, width))
        begin, end = asked, min(n_terms, asked + 64)
        in_row, in_query = np.uint64(0), np.uint64(0)
        while asked < end and query.terms[np.uint64(asked)] <= last:
            term = query.terms[np.uint64(asked)]
            same = equal_to(terms, first, term)
            for number in range(1, n_parts):
                same |= equal_to(terms, first + number * part, term) << np.uint64(number * part)
            same = (same >> np.uint64(at - first)) & mine
            in_row |= same
            in_query |= np.uint64(same != 0) << np.uint64(asked - begin)
            asked += 1
        if in_row:
            total = _add_up(rows, np.uint64(at), in_row, rest, query, begin, in_query, total)
        if asked == n_terms or query.terms[np.uint64(asked)] > last:
            at += width
    return total


@inlined
def _add_up(
    rows: Any,
    at: Any,
    in_row: Any,
    rest: np.float32,
    query: Query,
    begin: Any,
    in_query: Any,
    total: np.float32,
) -> Any:
    """Add the products of what a row and a query share: bits from `at` and from `begin` on."""
    first, one = np.uint64(begin), np.uint64(1)
    # A loop for each kind of weight: what is decided for each product takes a fifth of the time.
    if rest >= 0:
        while in_row:
            place = at + first_bit(in_row)
            weight = half_of(rows.halves[place]) if rows.halves.shape[0] else rows.weights[place]
            total += query.weights[first + first_bit(in_query)] * (weight / (weight + rest))
            in_row &= in_row - one
            in_query &= in_query - one
    elif rows.halves.shape[0]:
        while in_row:
            weight = half_of(rows.halves[at + first_bit(in_row)])
            total += query.weights[first + first_bit(in_query)] * weight
            in_row &= in_row - one
            in_query &= in_query - one
    else:
        while in_row:
            weight = rows.weights[at + first_bit(in_row)]
            total += query.weights[first + first_bit(in_query)] * weight
            in_row &= in_row - one
            in_query &= in_query - one
    return total


@inlined
def half_of(bits: Any) -> Any:
    """Return the float32 of a positive float16, given as its bits; the same where denormal."""
    number = np.uint32(bits)
    if number < np.uint32(1 << 10):
        return np.float32(number) * np.float32(2.0**-24)
    # The exponents of the two are 112 apart.
    return float_of((number << np.uint32(13)) + np.uint32(112 << 23))


@inlined
def score_row(rows: Rows, row: Any, query: Query, n_terms: int) -> Any:
    """Return the score of a row: of its weights, or of its counts where they saturate."""
    rest = AS_THEY_ARE
    if rows.lengths.shape[0]:
        rest = rows.constants[0] + rows.constants[1] * rows.lengths[row]
    return product(rows, row, rest, query, n_terms)


@inlined
def fetch_row(rows: Any, row: Any) -> None:
    """Fetch a row that is scored soon, the first 512 terms of it."""
    terms, weights, halves = rows.terms, rows.weights, rows.halves
    start, stop = rows.indptr[row], min(rows.indptr[row + 1], rows.indptr[row] + 512)
    line = 64 // terms.itemsize
    if halves.shape[0]:
        for at in range(start, stop, 32):
            prefetch(halves, at)
            prefetch(terms, at)
            if line < 32:
                prefetch(terms, at + line)
        prefetch(halves, stop - 1)
    else:
        for at in range(start, stop, 32):
            prefetch(weights, at)
            prefetch(weights, at + 16)
            prefetch(terms, at)
            if line < 32:
                prefetch(terms, at + line)
        prefetch(weights, stop - 1)
    # Where rows do not begin with a line, they end in one more.
    prefetch(terms, stop - 1)


@kernel
def score_rows(
    rows: Rows,
    query: Query,
    n_terms: int,
    listed: npt.NDArray[np.int64],
    out: npt.NDArray[np.float32],
) -> None:
    """Fill `out` with the scores of the listed rows, the same to the bit as `accumulate`'s.

    listed (n,) int64, out (n,) float32.
    """
    count = listed.shape[0]
    for at in range(count):
        if at + AHEAD < count:
            fetch_row(rows, listed[at + AHEAD])
        out[at] = score_row(rows, listed[at], query, n_terms)


@kernel
def is_sound(terms: npt.NDArray[np.uint32], weights: npt.NDArray[np.float32]) -> Any:
    """Return whether terms ascend, and weights, of which there are as many, are above 0, finite."""
    last = np.int64(-1)
    for at in range(terms.shape[0]):
        if not (terms[at] > last and weights[at] > 0 and weights[at] < np.inf):
            return False
        last = np.int64(terms[at])
    return True
