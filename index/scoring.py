"""Kernels that score rows one by one through the forward index."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .arguments import COMPARED, Query, Rows
from .jit import equal_to, first_bit, kernel, prefetch

#: Rows are fetched so many rows before they are scored.
AHEAD = 2

#: The `rest` of `product` for weights that count as they are.
AS_THEY_ARE = np.float32(-1)


@kernel
def product(
    terms: npt.NDArray[Any],
    weights: npt.NDArray[np.float32],
    start: Any,
    stop: Any,
    rest: np.float32,
    query: Query,
    n_terms: int,
) -> Any:
    """Return the inner product of a row and a query, summed in ascending term order.

    start, stop: where the row is in the forward index, which has `COMPARED` bytes of terms at
    least. rest: counts c count as c / (c + rest); below 0, weights count as they are.
    """
    part = COMPARED // terms.itemsize
    if stop - start >= 4 * part:
        return _product(terms, weights, start, stop, 4, rest, query, n_terms)
    return _product(terms, weights, start, stop, 1, rest, query, n_terms)


@kernel
def _product(
    terms: npt.NDArray[Any],
    weights: npt.NDArray[np.float32],
    start: Any,
    stop: Any,
    n_parts: int,
    rest: np.float32,
    query: Query,
    n_terms: int,
) -> Any:
    """Return the inner product: `n_parts` times `COMPARED` bytes of terms are looked at together.

    Each is compared with the terms of the query that can be among them. What both have is
    multiplied afterwards: no branch for each term, which the processor would guess.
    """
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
        while in_row:
            weight = weights[np.uint64(at) + first_bit(in_row)]
            if rest >= 0:
                weight = weight / (weight + rest)
            total += query.weights[np.uint64(begin) + first_bit(in_query)] * weight
            in_row &= in_row - np.uint64(1)
            in_query &= in_query - np.uint64(1)
        if asked == n_terms or query.terms[np.uint64(asked)] > last:
            at += width
    return total


@kernel
def score_row(rows: Rows, row: Any, query: Query, n_terms: int) -> Any:
    """Return the score of a row: of its weights, or of its counts where they saturate."""
    rest = AS_THEY_ARE
    if rows.lengths.shape[0]:
        rest = rows.constants[0] + rows.constants[1] * rows.lengths[row]
    start, stop = rows.indptr[row], rows.indptr[row + 1]
    return product(rows.terms, rows.weights, start, stop, rest, query, n_terms)


@kernel
def fetch_row(
    indptr: npt.NDArray[np.int64],
    terms: npt.NDArray[Any],
    weights: npt.NDArray[np.float32],
    row: int,
) -> None:
    """Fetch a row that is scored soon, the first 512 terms of it."""
    start, stop = indptr[row], min(indptr[row + 1], indptr[row] + 512)
    for at in range(start, stop, 64 // terms.itemsize):
        prefetch(terms, at)
    for at in range(start, stop, 16):
        prefetch(weights, at)
    # Where rows do not begin with a line, they end in one more.
    prefetch(terms, stop - 1)
    prefetch(weights, stop - 1)


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
    indptr = rows.indptr
    count = listed.shape[0]
    for at in range(count):
        if at + AHEAD < count:
            fetch_row(indptr, rows.terms, rows.weights, listed[at + AHEAD])
        out[at] = score_row(rows, listed[at], query, n_terms)
