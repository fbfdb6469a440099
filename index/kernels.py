"""The compiled kernels: arrays and scalars in, arrays filled; no object, no file, no string."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from lsr import numba_cache

from .windows import BLOCK

numba_cache.prepare([Path(__file__).resolve().parent])

from numba import njit  # noqa: E402  (numba reads NUMBA_CACHE_DIR when it is imported)

numba_cache.postpone_blas()

#: Rows that are looked at one by one where a block has something to find.
PART = 16

#: From this k on, it pays to look for a threshold before the first hits are collected.
MANY = 50

#: One block in so many is looked at to guess a threshold.
SAMPLE = 8

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
def _block_reaches(acc: npt.NDArray[np.float32], start: int, threshold: np.float32) -> Any:
    """Tell whether one of 64 scores is at least `threshold`; vectorised, no early exit."""
    found = np.int32(0)
    for at in range(BLOCK):
        found |= np.int32(acc[np.uint64(start + at)] >= threshold)
    return found != 0


@kernel
def _part_reaches(acc: npt.NDArray[np.float32], start: int, threshold: np.float32) -> Any:
    """Tell the same of 16 scores."""
    found = np.int32(0)
    for at in range(PART):
        found |= np.int32(acc[np.uint64(start + at)] >= threshold)
    return found != 0


@kernel
def _count(acc: npt.NDArray[np.float32], n_rows: int, step: int, threshold: np.float32) -> Any:
    """Count the scores of at least `threshold` in the blocks that start at each `step`."""
    total = np.int64(0)
    for start in range(0, n_rows, step):
        found = np.int32(0)
        for at in range(start, start + BLOCK):
            found += np.int32(acc[np.uint64(at)] >= threshold)
        total += found
    return total


@kernel
def _reached_by(acc: npt.NDArray[np.float32], n_rows: int, k: int) -> Any:
    """Return a score that at least k rows reach, close to the k-th best; 0 if none was found.

    Searched for on a sample of the blocks, by counting, which is vectorised; then checked on all.
    """
    step = SAMPLE * BLOCK
    aim = k // SAMPLE + k // (8 * SAMPLE) + 8
    low, high = np.float32(0), np.float32(1)
    while high < 1e30 and _count(acc, n_rows, step, high) >= aim:
        low, high = high, high * np.float32(2)
    for _ in range(12):
        middle = (low + high) / np.float32(2)
        if _count(acc, n_rows, step, middle) >= aim:
            low = middle
        else:
            high = middle
    return low if _count(acc, n_rows, BLOCK, low) >= k else np.float32(0)


@kernel
def _better(
    score: np.float32, rank: np.uint32, than_score: np.float32, than_rank: np.uint32
) -> Any:
    """Order of hits: the higher score is better; at equal scores the smaller rank of the id."""
    return score > than_score or (score == than_score and rank < than_rank)


@kernel
def _keep_best(
    scores: npt.NDArray[np.float32],
    ranks: npt.NDArray[np.uint32],
    rows: npt.NDArray[np.int64],
    size: int,
    k: int,
) -> None:
    """Bring the k best of `size` > k hits to the front, the worst of them last (quickselect)."""
    low, high = 0, size - 1
    while low < high:
        middle = (low + high) // 2
        score, rank = scores[middle], ranks[middle]
        left, right = low, high
        while left <= right:
            while _better(scores[left], ranks[left], score, rank):
                left += 1
            while _better(score, rank, scores[right], ranks[right]):
                right -= 1
            if left <= right:
                scores[left], scores[right] = scores[right], scores[left]
                ranks[left], ranks[right] = ranks[right], ranks[left]
                rows[left], rows[right] = rows[right], rows[left]
                left += 1
                right -= 1
        if k - 1 <= right:
            high = right
        elif k - 1 >= left:
            low = left
        else:
            break


@kernel
def _finish(
    scores: npt.NDArray[np.float32],
    ranks: npt.NDArray[np.uint32],
    rows: npt.NDArray[np.int64],
    size: int,
    k: int,
) -> int:
    """Keep the k best of the hits and sort them, best first (shell sort); return how many."""
    if size > k:
        _keep_best(scores, ranks, rows, size, k)
        size = k
    gap = 1
    while gap < size // 3:
        gap = 3 * gap + 1
    while gap > 0:
        for start in range(gap, size):
            score, rank, row = scores[start], ranks[start], rows[start]
            at = start
            while at >= gap and _better(score, rank, scores[at - gap], ranks[at - gap]):
                scores[at], ranks[at], rows[at] = scores[at - gap], ranks[at - gap], rows[at - gap]
                at -= gap
            scores[at], ranks[at], rows[at] = score, rank, row
        gap //= 3
    return size


@kernel
def _mask(
    acc: npt.NDArray[np.float32],
    n_rows: int,
    first_row: int,
    documents: npt.NDArray[np.uint32],
    allowed: npt.NDArray[np.bool_],
) -> None:
    """Zero the scores of a window's rows whose documents are not allowed."""
    zero = np.float32(0)
    if documents.shape[0]:
        for at in range(n_rows):
            if not allowed[documents[np.uint64(first_row + at)]]:
                acc[np.uint64(at)] = zero
    else:
        for at in range(n_rows):
            keep = allowed[np.uint64(first_row + at)]
            acc[np.uint64(at)] = acc[np.uint64(at)] if keep else zero


@kernel
def _select(
    acc: npt.NDArray[np.float32],
    n_rows: int,
    first_row: int,
    documents: npt.NDArray[np.uint32],
    id_rank: npt.NDArray[np.uint32],
    deleted: npt.NDArray[np.bool_],
    k: int,
    threshold: np.float32,
    size: int,
    scores: npt.NDArray[np.float32],
    ranks: npt.NDArray[np.uint32],
    rows: npt.NDArray[np.int64],
) -> Any:
    """Add a window's documents to the hits and zero `acc`; return (size, threshold).

    `acc` holds the window's scores, zeros up to the next multiple of 64. Of the rows of one
    document, which follow one another, the first with the best score is added. When the hits
    are full, all but the k best go, and the k-th is what later ones must reach.
    """
    pending, best, best_row = np.int64(-1), np.float32(0), np.int64(0)
    for start in range(0, n_rows, BLOCK):
        if _block_reaches(acc, start, threshold):
            for part in range(start, start + BLOCK, PART):
                if not _part_reaches(acc, part, threshold):
                    continue
                for at in range(part, part + PART):
                    score = acc[np.uint64(at)]
                    # The second test is for processes that flush denormal numbers to zero.
                    if not (score >= threshold and score > 0):
                        continue
                    row = np.int64(first_row + at)
                    document = np.int64(documents[row]) if documents.shape[0] else row
                    if deleted.shape[0] and deleted[document]:
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
                    scores[size], ranks[size], rows[size] = score, id_rank[document], row
                    size += 1
                    if size == scores.shape[0]:
                        _keep_best(scores, ranks, rows, size, k)
                        size, threshold = k, scores[k - 1]
        for at in range(start, start + BLOCK):
            acc[np.uint64(at)] = 0
    if pending >= 0:
        scores[size], ranks[size], rows[size] = best, id_rank[pending], best_row
        size += 1
        if size == scores.shape[0]:
            _keep_best(scores, ranks, rows, size, k)
            size, threshold = k, scores[k - 1]
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
    zero, and again at the end. scores, ranks, rows: filled best first; the answer is how many,
    at most k. They need room for more than k: the more, the fewer times the best are picked.
    Documents that score 0 are never among them.
    """
    size = 0
    for window in range(windows.shape[0] - 1):
        base = window * vocab_size
        for at in range(n_terms):
            start = indptr[base + query_terms[at]]
            stop = indptr[base + query_terms[at] + 1]
            _add(acc, posting_rows[start:stop], posting_weights[start:stop], query_weights[at])
        n_rows = windows[window + 1] - windows[window]
        if allowed.shape[0]:
            _mask(acc, n_rows, windows[window], documents, allowed)
        if size == 0 and k >= MANY and not (documents.shape[0] or deleted.shape[0]):
            threshold = max(threshold, _reached_by(acc, n_rows, k))
        size, threshold = _select(
            acc,
            n_rows,
            windows[window],
            documents,
            id_rank,
            deleted,
            k,
            threshold,
            size,
            scores,
            ranks,
            rows,
        )
    return _finish(scores, ranks, rows, size, k)


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
            scores[size], ranks[size], rows[size] = score, id_rank[document], row
            size += 1
            if size == scores.shape[0]:
                _keep_best(scores, ranks, rows, size, k)
                size, threshold = k, scores[k - 1]
    return _finish(scores, ranks, rows, size, k)
