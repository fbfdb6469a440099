"""The approximate kernel: a shortlist by the sums of heavy postings, then true scores.

Of each list the tiers are read whose postings add more than a cutoff, the higher the more rows
the list has: a posting of a frequent term tells little and costs as much. The rows with the
largest sums are scored through the forward index. Reading by impact is JASS (Lin and Trotman,
2015), the second pass that of two-step SPLADE (arXiv 2404.13357) and SINDI (arXiv 2509.08395).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .accumulate import POSTINGS, SCORED
from .jit import kernel, prefetch
from .scoring import AHEAD, fetch_row, product, spread, wipe
from .sums import add_lists, collect, find_lists, find_peaks, fits, mask, reached_by, unit_of
from .topk import finish, keep_best
from .windows import BLOCK, TIERS


@kernel
def _cut(
    tiers: npt.NDArray[np.uint16],
    found: npt.NDArray[np.int64],
    bounds: npt.NDArray[np.float32],
    n_terms: int,
    n_rows: int,
    cutoff: np.float32,
    cuts: npt.NDArray[np.int64],
) -> None:
    """Leave in the tiers whose typical posting adds enough for the number of rows of its list.

    Enough is `cutoff` times the length of the vector of bounds, times the root of the share of
    rows that have the term.
    """
    squares = np.float32(0)
    for at in range(n_terms):
        squares += bounds[at] * bounds[at]
    cutoff *= np.sqrt(squares)
    for at in range(n_terms):
        cuts[at] = 0
        if found[at] >= 0:
            length = np.float32(tiers[found[at] * TIERS + TIERS - 1])
            least = cutoff * np.sqrt(length / np.float32(n_rows))
            # The middle of tier i is code 247 - 16 i of 255.
            tier = (np.float32(247) - np.float32(255) * least / bounds[at]) / np.float32(16)
            if tier >= 0:
                cuts[at] = min(np.int64(TIERS), np.int64(tier) + 1)


@kernel
def _sort(rows: npt.NDArray[np.int64], size: int) -> None:
    """Sort the first rows, ascending (shell sort)."""
    gap = 1
    while gap < size // 3:
        gap = 3 * gap + 1
    while gap > 0:
        for start in range(gap, size):
            row = rows[start]
            at = start
            while at >= gap and rows[at - gap] > row:
                rows[at] = rows[at - gap]
                at -= gap
            rows[at] = row
        gap //= 3


@kernel
def _list(
    windows: npt.NDArray[np.int64],
    lists: npt.NDArray[np.uint32],
    starts: npt.NDArray[np.int64],
    tiers: npt.NDArray[np.uint16],
    maxima: npt.NDArray[np.float32],
    posting_rows: npt.NDArray[np.uint16],
    codes: npt.NDArray[np.uint8],
    vocab_size: int,
    documents: npt.NDArray[np.uint32],
    deleted: npt.NDArray[np.bool_],
    allowed: npt.NDArray[np.bool_],
    query_terms: npt.NDArray[np.int64],
    query_weights: npt.NDArray[np.float32],
    n_terms: int,
    cutoff: np.float32,
    wanted: int,
    sums: npt.NDArray[np.uint16],
    peaks: npt.NDArray[np.uint16],
    found: npt.NDArray[np.int64],
    bounds: npt.NDArray[np.float32],
    candidates: npt.NDArray[np.int64],
    candidate_sums: npt.NDArray[np.uint16],
    counts: npt.NDArray[np.int64],
    partial: npt.NDArray[np.float32],
    order: npt.NDArray[np.uint32],
    listed: npt.NDArray[np.int64],
) -> int:
    """List the `wanted` live rows with the largest sums, in any order; return how many."""
    cuts, done = found[n_terms : 2 * n_terms], found[2 * n_terms : 3 * n_terms]
    size, worst = 0, np.float32(0)
    for window in range(windows.shape[0] - 1):
        first_row, n_rows = windows[window], windows[window + 1] - windows[window]
        base = window * vocab_size
        top = find_lists(
            lists, tiers, starts, maxima, base, query_terms, query_weights, n_terms, found, bounds
        )
        if not top > worst:
            continue
        unit = unit_of(top, n_terms)
        _cut(tiers, found, bounds, n_terms, n_rows, cutoff, cuts)
        done[:] = 0
        counts[POSTINGS] += add_lists(
            starts, tiers, posting_rows, codes, found, bounds, n_terms, unit, cuts, done, sums
        )
        if allowed.shape[0]:
            mask(sums, n_rows, first_row, documents, allowed)
        n_blocks = (n_rows + BLOCK - 1) // BLOCK
        find_peaks(sums, n_blocks, peaks)
        lowest = np.int64(worst / unit) + 1
        if size < wanted and not deleted.shape[0]:
            missing = wanted - size
            if missing <= n_blocks // 2:
                lowest = max(lowest, reached_by(peaks, n_blocks, missing))
            else:
                lowest = max(lowest, reached_by(sums, n_rows, missing))
        block = 0
        while block < n_blocks:
            count, block = collect(sums, peaks, n_blocks, lowest, block, candidates, candidate_sums)
            for number in range(count):
                row = first_row + candidates[number]
                value = np.float32(candidate_sums[number]) * unit
                if value < worst:
                    continue
                if deleted.shape[0]:
                    document = np.int64(documents[row]) if documents.shape[0] else row
                    if deleted[document]:
                        continue
                partial[size], order[size], listed[size] = value, np.uint32(row), row
                size += 1
                if size == partial.shape[0]:
                    keep_best(partial, order, listed, size, wanted)
                    size, worst = wanted, partial[wanted - 1]
            lowest = max(lowest, np.int64(worst / unit))
        for at in range(n_rows):
            sums[np.uint64(at)] = 0
        if size > wanted:
            keep_best(partial, order, listed, size, wanted)
            size, worst = wanted, partial[wanted - 1]
    return size


@kernel
def shortlist(
    windows: npt.NDArray[np.int64],
    lists: npt.NDArray[np.uint32],
    starts: npt.NDArray[np.int64],
    tiers: npt.NDArray[np.uint16],
    maxima: npt.NDArray[np.float32],
    posting_rows: npt.NDArray[np.uint16],
    codes: npt.NDArray[np.uint8],
    indptr: npt.NDArray[np.int64],
    terms: npt.NDArray[Any],
    weights: npt.NDArray[np.float32],
    vocab_size: int,
    documents: npt.NDArray[np.uint32],
    id_rank: npt.NDArray[np.uint32],
    lightest: float,
    heaviest: float,
    deleted: npt.NDArray[np.bool_],
    allowed: npt.NDArray[np.bool_],
    query_terms: npt.NDArray[np.int64],
    query_weights: npt.NDArray[np.float32],
    n_terms: int,
    k: int,
    threshold: np.float32,
    cutoff: np.float32,
    wanted: int,
    sums: npt.NDArray[np.uint16],
    peaks: npt.NDArray[np.uint16],
    flags: npt.NDArray[np.uint8],
    query: npt.NDArray[np.float32],
    found: npt.NDArray[np.int64],
    bounds: npt.NDArray[np.float32],
    candidates: npt.NDArray[np.int64],
    candidate_sums: npt.NDArray[np.uint16],
    counts: npt.NDArray[np.int64],
    partial: npt.NDArray[np.float32],
    order: npt.NDArray[np.uint32],
    listed: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float32],
    ranks: npt.NDArray[np.uint32],
    rows: npt.NDArray[np.int64],
) -> int:
    """Find k good documents of a segment, with their true scores.

    cutoff: postings of a term that all rows have are left out below this share of the length of
    the vector of what each term can add at most; for rarer terms less, by the root of their
    share of the rows.
    wanted, at least k: how many rows are scored in full. partial, order, listed: for work, room
    for more than `wanted`; the more, the fewer times the best are picked. The other arguments
    and the answer are those of `accumulate`.
    """
    if not fits(query_weights, n_terms, lightest, heaviest):
        return -1
    count = _list(
        windows,
        lists,
        starts,
        tiers,
        maxima,
        posting_rows,
        codes,
        vocab_size,
        documents,
        deleted,
        allowed,
        query_terms,
        query_weights,
        n_terms,
        cutoff,
        wanted,
        sums,
        peaks,
        found,
        bounds,
        candidates,
        candidate_sums,
        counts,
        partial,
        order,
        listed,
    )
    counts[SCORED] += count
    if documents.shape[0]:
        _sort(listed, count)  # the rows of a document follow one another
    spread(query_terms, query_weights, n_terms, flags, query)
    size, last = 0, np.int64(-1)
    for number in range(count):
        prefetch(indptr, listed[number])
    for number in range(min(count, AHEAD)):
        fetch_row(indptr, terms, weights, listed[number])
    for number in range(count):
        if number + AHEAD < count:
            fetch_row(indptr, terms, weights, listed[number + AHEAD])
        row = listed[number]
        start, stop = indptr[row], indptr[row + 1]
        score = product(terms[start:stop], weights[start:stop], flags, query)
        # The second test is for processes that flush denormal numbers to zero.
        if not (score >= threshold and score > 0):
            continue
        document = np.int64(documents[row]) if documents.shape[0] else row
        if document == last:
            if score > scores[size - 1]:
                scores[size - 1], rows[size - 1] = score, row
            continue
        if size == scores.shape[0]:
            keep_best(scores, ranks, rows, size, k)
            size, threshold = k, scores[k - 1]
            if score < threshold:
                continue
        scores[size], ranks[size], rows[size] = score, id_rank[document], row
        size += 1
        last = document if documents.shape[0] else np.int64(-1)
    wipe(query_terms, n_terms, flags, query)
    return finish(scores, ranks, rows, size, k)
