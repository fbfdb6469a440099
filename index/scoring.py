"""Kernels that score rows one by one through the forward index."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .arguments import Query, Rows, Work
from .jit import kernel, prefetch

#: Rows are fetched so many rows before they are scored.
AHEAD = 2


@kernel
def product(
    terms: npt.NDArray[Any],
    weights: npt.NDArray[np.float32],
    flags: npt.NDArray[np.uint8],
    query: npt.NDArray[np.float32],
) -> Any:
    """Return the inner product of a row with a dense query, summed in ascending term order.

    Most terms of a row are not the query's: the small table of flags, which stays in the first
    cache, tells of four at a time whether one is. Adding the zeros of the others changes nothing.
    """
    total = np.float32(0)
    whole = terms.shape[0] // 4 * 4
    for at in range(0, whole, 4):
        first, second = terms[np.uint64(at)], terms[np.uint64(at + 1)]
        third, fourth = terms[np.uint64(at + 2)], terms[np.uint64(at + 3)]
        if flags[first] | flags[second] | flags[third] | flags[fourth]:
            total += weights[np.uint64(at)] * query[first]
            total += weights[np.uint64(at + 1)] * query[second]
            total += weights[np.uint64(at + 2)] * query[third]
            total += weights[np.uint64(at + 3)] * query[fourth]
    for at in range(whole, terms.shape[0]):
        total += weights[np.uint64(at)] * query[terms[np.uint64(at)]]
    return total


@kernel
def saturated(
    terms: npt.NDArray[Any],
    counts: npt.NDArray[np.float32],
    rest: np.float32,
    flags: npt.NDArray[np.uint8],
    query: npt.NDArray[np.float32],
) -> Any:
    """Return the inner product of a dense query with counts that saturate: c / (c + rest)."""
    total = np.float32(0)
    for at in range(terms.shape[0]):
        term = terms[np.uint64(at)]
        if flags[term]:
            count = counts[np.uint64(at)]
            total += query[term] * (count / (count + rest))
    return total


@kernel
def score_row(
    rows: Rows, row: Any, flags: npt.NDArray[np.uint8], query: npt.NDArray[np.float32]
) -> Any:
    """Return the score of a row: of its weights, or of its counts where they saturate."""
    start, stop = rows.indptr[row], rows.indptr[row + 1]
    terms, weights = rows.terms[start:stop], rows.weights[start:stop]
    if rows.lengths.shape[0]:
        rest = rows.constants[0] + rows.constants[1] * rows.lengths[row]
        return saturated(terms, weights, rest, flags, query)
    return product(terms, weights, flags, query)


@kernel
def fetch_row(
    indptr: npt.NDArray[np.int64],
    terms: npt.NDArray[Any],
    weights: npt.NDArray[np.float32],
    row: int,
) -> None:
    """Fetch a row that is scored soon, the first 512 terms of it."""
    start, stop = indptr[row], min(indptr[row + 1], indptr[row] + 512)
    for at in range(start, stop, 32):
        prefetch(terms, at)
    for at in range(start, stop, 16):
        prefetch(weights, at)


@kernel
def spread(
    query_terms: npt.NDArray[np.int64],
    query_weights: npt.NDArray[np.float32],
    n_terms: int,
    flags: npt.NDArray[np.uint8],
    query: npt.NDArray[np.float32],
) -> None:
    """Write the query into the dense tables."""
    for at in range(n_terms):
        query[query_terms[at]] = query_weights[at]
        flags[query_terms[at]] = 1


@kernel
def wipe(
    query_terms: npt.NDArray[np.int64],
    n_terms: int,
    flags: npt.NDArray[np.uint8],
    query: npt.NDArray[np.float32],
) -> None:
    """Make the dense tables zero again."""
    for at in range(n_terms):
        query[query_terms[at]] = 0
        flags[query_terms[at]] = 0


@kernel
def score_rows(
    rows: Rows,
    query: Query,
    n_terms: int,
    listed: npt.NDArray[np.int64],
    work: Work,
    out: npt.NDArray[np.float32],
) -> None:
    """Fill `out` with the scores of the listed rows, the same to the bit as `accumulate`'s.

    listed (n,) int64, out (n,) float32.
    """
    indptr = rows.indptr
    spread(query.terms, query.weights, n_terms, work.flags, work.query)
    count = listed.shape[0]
    for at in range(count):
        if at + AHEAD < count:
            fetch_row(indptr, rows.terms, rows.weights, listed[at + AHEAD])
        out[at] = score_row(rows, listed[at], work.flags, work.query)
    wipe(query.terms, n_terms, work.flags, work.query)
