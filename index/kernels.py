"""The compiled kernels: arrays and scalars in, arrays filled; no object, no file, no string."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from lsr import numba_cache

from .windows import BLOCK
from .windows import MAX_WINDOW_ROWS as MAX_WINDOW_ROWS
from .windows import invert_window as invert_window

numba_cache.prepare([Path(__file__).resolve().parent])

from numba import njit  # noqa: E402  (numba reads NUMBA_CACHE_DIR when it is imported)

numba_cache.postpone_blas()

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def kernel(function: Kernel) -> Kernel:
    """Compile a function on first call, cached on disk, without the interpreter lock.

    No fastmath: sums must come out bit for bit as numpy's float32 sums in the same order.
    """
    compiler = njit(cache=True, nogil=True, boundscheck=False, error_model="numpy")
    return cast(Kernel, compiler(function))


@kernel
def invert(
    indptr: npt.NDArray[np.int64],
    terms: npt.NDArray[Any],
    weights: npt.NDArray[np.float32],
    starts: npt.NDArray[np.int64],
    rows: npt.NDArray[np.uint16],
    values: npt.NDArray[np.float32],
) -> None:
    """Counting sort of a CSR window by term.

    indptr int64 (n+1,) from 0, terms uint16|uint32, weights float32: read-only. starts int64
    (V+1,) all zero, rows uint16 (nnz,), values float32 (nnz,): filled; starts[t]..starts[t+1]
    are the postings of term t, rows ascending.
    """
    nnz = indptr[indptr.shape[0] - 1]
    for at in range(nnz):
        starts[np.uint64(terms[np.uint64(at)])] += 1
    total = 0
    for term in range(starts.shape[0]):
        count = starts[term]
        starts[term] = total
        total += count
    for row in range(indptr.shape[0] - 1):
        for at in range(indptr[row], indptr[row + 1]):
            term_id = np.uint64(terms[np.uint64(at)])
            to = np.uint64(starts[term_id])
            starts[term_id] += 1
            rows[to] = np.uint16(row)
            values[to] = weights[np.uint64(at)]
    for term in range(starts.shape[0] - 1, 0, -1):
        starts[term] = starts[term - 1]
    starts[0] = 0


@kernel
def _add(
    scores: npt.NDArray[np.float32],
    rows: npt.NDArray[np.uint16],
    weights: npt.NDArray[np.float32],
    weight: np.float32,
) -> None:
    """Add `weight` times a posting list to the scores of its rows."""
    for at in range(rows.shape[0]):
        scores[rows[at]] += weights[at] * weight


@kernel
def _any_reaches(block: npt.NDArray[np.float32], threshold: np.float32) -> Any:
    """Tell whether one of the 64 scores is at least `threshold`; vectorised, no early exit."""
    found = np.int32(0)
    for at in range(BLOCK):
        found |= np.int32(block[np.uint64(at)] >= threshold)
    return found != 0


@kernel
def _worse(score: np.float32, rank: np.uint32, than_score: np.float32, than_rank: np.uint32) -> Any:
    """Order of hits: the lower score is worse; at equal scores the larger rank of the id."""
    return score < than_score or (score == than_score and rank > than_rank)


@kernel
def _sink(
    scores: npt.NDArray[np.float32],
    ranks: npt.NDArray[np.uint32],
    rows: npt.NDArray[np.int64],
    size: int,
    score: np.float32,
    rank: np.uint32,
    row: int | np.int64,
) -> None:
    """Put a hit at the root of a heap of `size`, worst on top, and let it sink to its place."""
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and _worse(
            scores[child + 1], ranks[child + 1], scores[child], ranks[child]
        ):
            child += 1
        if not _worse(scores[child], ranks[child], score, rank):
            break
        scores[at], ranks[at], rows[at] = scores[child], ranks[child], rows[child]
        at = child
    scores[at], ranks[at], rows[at] = score, rank, row


@kernel
def _offer(
    scores: npt.NDArray[np.float32],
    ranks: npt.NDArray[np.uint32],
    rows: npt.NDArray[np.int64],
    size: int,
    k: int,
    score: np.float32,
    rank: np.uint32,
    row: int | np.int64,
) -> int:
    """Offer a hit to the heap of the k best; return the heap's new size."""
    if size == k:
        if _worse(scores[0], ranks[0], score, rank):
            _sink(scores, ranks, rows, size, score, rank, row)
        return size
    at = size
    while at > 0:
        parent = (at - 1) // 2
        if not _worse(score, rank, scores[parent], ranks[parent]):
            break
        scores[at], ranks[at], rows[at] = scores[parent], ranks[parent], rows[parent]
        at = parent
    scores[at], ranks[at], rows[at] = score, rank, row
    return size + 1


@kernel
def _sort(
    scores: npt.NDArray[np.float32],
    ranks: npt.NDArray[np.uint32],
    rows: npt.NDArray[np.int64],
    size: int,
) -> None:
    """Turn the heap into a list, best first."""
    for last in range(size - 1, 0, -1):
        score, rank, row = scores[last], ranks[last], rows[last]
        scores[last], ranks[last], rows[last] = scores[0], ranks[0], rows[0]
        _sink(scores, ranks, rows, last, score, rank, row)


@kernel
def _select(
    acc: npt.NDArray[np.float32],
    n_rows: int,
    first_row: int,
    documents: npt.NDArray[np.uint32],
    id_rank: npt.NDArray[np.uint32],
    deleted: npt.NDArray[np.bool_],
    allowed: npt.NDArray[np.bool_],
    k: int,
    threshold: np.float32,
    size: int,
    scores: npt.NDArray[np.float32],
    ranks: npt.NDArray[np.uint32],
    rows: npt.NDArray[np.int64],
) -> Any:
    """Offer a window's documents to the heap and zero `acc`; return (size, threshold).

    `acc` holds the window's scores, zeros up to the next multiple of 64. Of the rows of one
    document, which follow one another, the first with the best score is offered.
    """
    pending, best, best_row = np.int64(-1), np.float32(0), np.int64(0)
    for start in range(0, n_rows, BLOCK):
        block = acc[start : start + BLOCK]
        if _any_reaches(block, threshold):
            for at in range(BLOCK):
                score = block[at]
                # The second test is for processes that flush denormal numbers to zero.
                if not (score >= threshold and score > 0):
                    continue
                row = np.int64(first_row + start + at)
                document = np.int64(documents[row]) if documents.shape[0] else row
                if deleted.shape[0] and deleted[document]:
                    continue
                if allowed.shape[0] and not allowed[document]:
                    continue
                if document == pending:
                    if score > best:
                        best, best_row = score, row
                    continue
                if documents.shape[0]:
                    score, best = best, score
                    row, best_row = best_row, row
                    document, pending = pending, document
                    if document < 0:
                        continue
                size = _offer(scores, ranks, rows, size, k, score, id_rank[document], row)
                if size == k and scores[0] > threshold:
                    threshold = scores[0]
        block[:] = 0
    if pending >= 0:
        size = _offer(scores, ranks, rows, size, k, best, id_rank[pending], best_row)
        if size == k and scores[0] > threshold:
            threshold = scores[0]
    return size, threshold


@kernel
def accumulate(
    windows: npt.NDArray[np.int64],
    indptr: npt.NDArray[np.int64],
    posting_rows: npt.NDArray[np.uint16],
    posting_weights: npt.NDArray[np.float32],
    vocab_size: int,
    documents: npt.NDArray[np.uint32],
    id_rank: npt.NDArray[np.uint32],
    deleted: npt.NDArray[np.bool_],
    allowed: npt.NDArray[np.bool_],
    query_terms: npt.NDArray[np.int64],
    query_weights: npt.NDArray[np.float32],
    n_terms: int,
    k: int,
    threshold: np.float32,
    acc: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
    ranks: npt.NDArray[np.uint32],
    rows: npt.NDArray[np.int64],
) -> int:
    """Find the k best documents of a segment by all postings of the query's terms.

    windows (n_windows+1,), indptr (n_windows*vocab_size+1,), posting_rows, posting_weights: the
    segment's postings. documents (n_rows,) maps rows to documents, or (0,) when each row is one.
    id_rank (n_docs,); deleted and allowed (n_docs,), or (0,) for none deleted, all allowed.
    query_terms, query_weights: the first n_terms count, terms ascending and below vocab_size.
    threshold > 0: scores below it are not wanted. acc (a multiple of 64 above any window,): all
    zero, and again at the end. scores, ranks, rows (>= k,): filled best first; the answer is
    how many. Documents that score 0 are never among them.
    """
    size = 0
    for window in range(windows.shape[0] - 1):
        base = window * vocab_size
        for at in range(n_terms):
            start = indptr[base + query_terms[at]]
            stop = indptr[base + query_terms[at] + 1]
            _add(acc, posting_rows[start:stop], posting_weights[start:stop], query_weights[at])
        size, threshold = _select(
            acc,
            windows[window + 1] - windows[window],
            windows[window],
            documents,
            id_rank,
            deleted,
            allowed,
            k,
            threshold,
            size,
            scores,
            ranks,
            rows,
        )
    _sort(scores, ranks, rows, size)
    return size


@kernel
def _product(
    terms: npt.NDArray[Any], weights: npt.NDArray[np.float32], query: npt.NDArray[np.float32]
) -> Any:
    """Return the inner product of a row with a dense query, summed in ascending term order."""
    total = np.float32(0)
    for at in range(terms.shape[0]):
        total += weights[at] * query[terms[at]]
    return total


@kernel
def score_rows(
    indptr: npt.NDArray[np.int64],
    terms: npt.NDArray[Any],
    weights: npt.NDArray[np.float32],
    query_terms: npt.NDArray[np.int64],
    query_weights: npt.NDArray[np.float32],
    n_terms: int,
    listed: npt.NDArray[np.int64],
    query: npt.NDArray[np.float32],
    out: npt.NDArray[np.float32],
) -> None:
    """Fill `out` with the scores of the listed rows, the same to the bit as `accumulate`'s.

    indptr (n_rows+1,), terms uint16|uint32, weights: the forward index. query (vocab,): all zero,
    and again at the end. listed (n,) int64, out (n,) float32.
    """
    for at in range(n_terms):
        query[query_terms[at]] = query_weights[at]
    for at in range(listed.shape[0]):
        start, stop = indptr[listed[at]], indptr[listed[at] + 1]
        out[at] = _product(terms[start:stop], weights[start:stop], query)
    for at in range(n_terms):
        query[query_terms[at]] = 0


@kernel
def best_rows(
    listed: npt.NDArray[np.int64],
    listed_scores: npt.NDArray[np.float32],
    documents: npt.NDArray[np.uint32],
    id_rank: npt.NDArray[np.uint32],
    k: int,
    threshold: np.float32,
    scores: npt.NDArray[np.float32],
    ranks: npt.NDArray[np.uint32],
    rows: npt.NDArray[np.int64],
) -> int:
    """Find the k best documents among the listed rows (ascending) and their scores.

    The other arrays and the answer are those of `accumulate`.
    """
    size = 0
    at = 0
    while at < listed.shape[0]:
        row, score = listed[at], listed_scores[at]
        document = np.int64(documents[row]) if documents.shape[0] else row
        at += 1
        while documents.shape[0] and at < listed.shape[0] and documents[listed[at]] == document:
            if listed_scores[at] > score:
                row, score = listed[at], listed_scores[at]
            at += 1
        if score >= threshold and score > 0:
            size = _offer(scores, ranks, rows, size, k, score, id_rank[document], row)
    _sort(scores, ranks, rows, size)
    return size
