"""Kernels that score rows one by one through the forward index."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .jit import kernel, prefetch

#: Cache lines of a row that are fetched ahead: enough for 120 terms and their weights.
TERM_LINES, WEIGHT_LINES = 4, 7

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
    cache, tells which are.
    """
    total = np.float32(0)
    for at in range(terms.shape[0]):
        term = terms[np.uint64(at)]
        if flags[term]:
            total += weights[np.uint64(at)] * query[term]
    return total


@kernel
def fetch_row(
    indptr: npt.NDArray[np.int64],
    terms: npt.NDArray[Any],
    weights: npt.NDArray[np.float32],
    row: int,
) -> None:
    """Fetch a row that is scored soon."""
    start = indptr[row]
    for line in range(TERM_LINES):
        prefetch(terms, start + 32 * line)
    for line in range(WEIGHT_LINES):
        prefetch(weights, start + 16 * line)


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
    indptr: npt.NDArray[np.int64],
    terms: npt.NDArray[Any],
    weights: npt.NDArray[np.float32],
    query_terms: npt.NDArray[np.int64],
    query_weights: npt.NDArray[np.float32],
    n_terms: int,
    listed: npt.NDArray[np.int64],
    flags: npt.NDArray[np.uint8],
    query: npt.NDArray[np.float32],
    out: npt.NDArray[np.float32],
) -> None:
    """Fill `out` with the scores of the listed rows, the same to the bit as `accumulate`'s.

    indptr (n_rows+1,), terms uint16|uint32, weights: the forward index. flags, query (vocab,):
    all zero, and again at the end. listed (n,) int64, out (n,) float32.
    """
    spread(query_terms, query_weights, n_terms, flags, query)
    count = listed.shape[0]
    for at in range(count):
        if at + AHEAD < count:
            fetch_row(indptr, terms, weights, listed[at + AHEAD])
        start, stop = indptr[listed[at]], indptr[listed[at] + 1]
        out[at] = product(terms[start:stop], weights[start:stop], flags, query)
    wipe(query_terms, n_terms, flags, query)
