"""The kernel for queries with few postings: rows are found by going through the postings twice.

Where postings are few beside the rows of a window, as for queries of some rare words, going through
the postings again costs less than going through the sums of all rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .arguments import COMPARED, Hits, Lists, Masks, Query, Rows, Work
from .candidates import Window, add_lists, least_sum, reached_by, score_candidates
from .jit import at_least, first_bit, inner
from .sums import UNITS, length_of
from .topk import keep_best
from .windows import MOST_POSTINGS, RECORD, TIERS

#: Postings are few when there are so many rows for each, and `MOST_POSTINGS` at most.
ROWS_PER_POSTING = 20


@inner
def has_few(lists: Lists, rows: Rows, n_rows: int, n_terms: int, found: Any) -> Any:
    """Return whether the lists of a window are short, and each row is a document."""
    total = np.int64(0)
    for at in range(n_terms):
        if found[at] >= 0:
            total += length_of(lists.records, found[at])
    few = total <= MOST_POSTINGS and total * ROWS_PER_POSTING <= n_rows
    return few and rows.documents.shape[0] == 0


@inner
def _take(lists: Lists, masks: Masks, window: Window, n_terms: int, found: Any, work: Work) -> Any:
    """Move the sums above 0 of the rows that are not out into a list; return how many."""
    size = np.int64(0)
    for at in range(n_terms):
        if found[at] < 0:
            continue
        ends = found[at] * RECORD + 1
        start = window.first + np.int64(lists.records[ends])
        stop = window.first + np.int64(lists.records[ends + TIERS])
        for place in range(start, stop):
            row = np.int64(lists.entries[np.uint64(place)] >> np.uint32(8))
            value = work.sums[np.uint64(row)]
            work.sums[np.uint64(row)] = 0
            work.touched[np.uint64(size)] = row
            work.touched_sums[np.uint64(size)] = value
            size += np.int64(value > 0)
    # Sums are looked at some at a time.
    work.touched_sums[size : size + COMPARED // 2] = 0
    if masks.deleted.shape[0] or masks.allowed.shape[0]:
        for at in range(size):
            document = window.first_row + work.touched[at]
            gone = masks.deleted.shape[0] and masks.deleted[document]
            if gone or (masks.allowed.shape[0] and not masks.allowed[document]):
                work.touched_sums[at] = 0
    return size


@inner
def _score_from(
    rows: Rows,
    window: Window,
    query: Query,
    n_terms: int,
    count: int,
    k: int,
    room: int,
    lowest: Any,
    slop: np.float32,
    size: int,
    threshold: np.float32,
    work: Work,
    hits: Hits,
) -> Any:
    """Score the listed rows with a sum of at least `lowest`, and take their sums away."""
    rest_units = slop * np.float32(UNITS) + np.float32(2)
    part = COMPARED // 2
    start, most = np.int64(0), work.candidates.shape[0] - part
    while start < count and lowest <= UNITS:
        taken: Any = np.int64(0)
        while start < count and taken <= most:
            bits = at_least(work.touched_sums, start, lowest)
            while bits:
                at = np.uint64(start) + first_bit(bits)
                bits &= bits - np.uint64(1)
                work.candidates[np.uint64(taken)] = work.touched[at]
                work.candidate_sums[np.uint64(taken)] = work.touched_sums[at]
                work.touched_sums[at] = 0
                taken += 1
            start += part
        size, threshold, _ = score_candidates(
            rows, window, query, n_terms, taken, k, room, lowest, rest_units,
            -1, size, threshold, work, hits,
        )  # fmt: skip
        lowest = max(lowest, least_sum(threshold, slop, np.float32(0), window.unit))
    return size, threshold


@inner
def search_touched(
    lists: Lists,
    rows: Rows,
    masks: Masks,
    window: Window,
    query: Query,
    n_terms: int,
    k: int,
    room: int,
    slop: np.float32,
    found: Any,
    size: int,
    threshold: np.float32,
    tiny: np.float32,
    work: Work,
    hits: Hits,
) -> Any:
    """Put the documents of a window that can be among the k best into the hits.

    All postings are read. Return (hits, the score that later ones must reach).
    """
    for at in range(n_terms):
        work.cuts[at] = TIERS if found[at] >= 0 else 0
    add_lists(lists, window, n_terms, found, work)
    count = _take(lists, masks, window, n_terms, found, work)
    wanted = k + k // 12 + 2
    if not threshold > tiny and size == 0 and count > wanted:
        # Those with the largest sums first: what they score, the others have to reach.
        first = reached_by(work.touched_sums, count, wanted)
        size, threshold = _score_from(
            rows, window, query, n_terms, count, k, room, first, slop, size, threshold, work, hits
        )
        if size > k:
            keep_best(hits.scores, hits.ranks, hits.rows, size, k)
            size = k
        if size == k:
            worst = hits.scores[0]
            for at in range(1, k):
                worst = min(worst, hits.scores[at])
            threshold = max(threshold, worst)
    lowest = least_sum(threshold, slop, np.float32(0), window.unit)
    return _score_from(
        rows, window, query, n_terms, count, k, room, lowest, slop, size, threshold, work, hits
    )
