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

from .arguments import COMPARED, Hits, Lists, Masks, Query, Rows, Work
from .jit import at_least, first_bit, inner, kernel, prefetch, reaching
from .scoring import AHEAD as ROWS_AHEAD
from .scoring import AS_THEY_ARE, fetch_row, product
from .sums import (
    AHEAD,
    POSTINGS,
    SCORED,
    fetch_list,
    find_lists,
    fits,
    length_of,
    mask,
    tell,
)
from .tables import Table, hits_of, lists_of, masks_of, query_at, query_of, rows_of, work_of
from .topk import finish, keep_best
from .windows import BLOCK, RECORD, TIER_CODES, TIERS

#: Accumulators are uint8 and stop at 255. The length of the vector of bounds is so many units;
#: fewer, if else all that is read of the terms would add up to more than MOST: the best rows have
#: some two thirds of that.
LEVELS, MOST = np.float32(120), np.float32(370)


@inner
def _bounds(lists: Lists, query: Query, n_terms: int, work: Work) -> Any:
    """Find the most that each term can add, in any window; return the length of that vector."""
    squares = np.float64(0)
    for at in range(n_terms):
        heaviest = np.float32(0)
        for place in range(at, n_terms * (lists.windows.shape[0] - 1), n_terms):
            if work.found[place] >= 0:
                heaviest = max(heaviest, lists.heads[work.found[place] * RECORD])
        work.bounds[at] = query.weights[at] * heaviest
        squares += np.float64(work.bounds[at]) * np.float64(work.bounds[at])
    return np.float32(np.sqrt(squares))


@inner
def _leasts(lists: Lists, n_terms: int, n_rows: int, least: np.float32, work: Work) -> Any:
    """Put into `bounds` what a posting of each term has to add to be read.

    That is `least` times the root of the share of rows that have the term. Return the sum of the
    bounds of the terms that are read.
    """
    total = np.float32(0)
    for at in range(n_terms):
        length = np.int64(0)
        for place in range(at, n_terms * (lists.windows.shape[0] - 1), n_terms):
            if work.found[place] >= 0:
                length += length_of(lists.records, work.found[place])
        enough = least * np.sqrt(np.float32(length) / np.float32(n_rows))
        if work.bounds[at] >= enough:
            total += work.bounds[at]
        work.bounds[at] = enough
    return total


@inner
def _cut(
    lists: Lists, query: Query, n_terms: int, found: npt.NDArray[np.int64], work: Work
) -> None:
    """Choose how many tiers of each list of a window are read: those whose middle adds enough."""
    middle = np.float32(255 - (TIER_CODES - 1) / 2)
    for at in range(n_terms):
        work.cuts[at] = 0
        if found[at] >= 0:
            bound = query.weights[at] * lists.heads[found[at] * RECORD]
            tier = (middle - np.float32(255) * work.bounds[at] / bound) / np.float32(TIER_CODES)
            if tier >= 0:
                work.cuts[at] = min(np.int64(TIERS), np.int64(tier) + 1)


@inner
def _add(sums: npt.NDArray[np.uint8], entries: npt.NDArray[np.uint32], factor: np.uint32) -> None:
    """Add entries to the sums of their rows, which stop at 255; `factor` is in 1/65,536."""
    for at in range(entries.shape[0]):
        entry = entries[np.uint64(at)]
        row = np.uint64(entry >> np.uint32(8))
        part = ((entry & np.uint32(255)) * factor + np.uint32(32768)) >> np.uint32(16)
        sums[row] = np.uint8(min(np.uint32(sums[row]) + part, np.uint32(255)))


@inner
def _add_lists(
    lists: Lists,
    first: int,
    query: Query,
    n_terms: int,
    unit: np.float32,
    found: npt.NDArray[np.int64],
    work: Work,
) -> None:
    """Add the chosen tiers of a window's lists; its entries begin at `first`."""
    for at in range(-AHEAD, n_terms):
        # Lists are mostly short: what is read of the next ones is fetched meanwhile.
        if at + AHEAD < n_terms:
            fetch_list(lists, first, found[at + AHEAD], 0, work.cuts[at + AHEAD])
        if at < 0 or work.cuts[at] == 0:
            continue
        record = found[at] * RECORD
        start = np.int64(lists.records[record + 1])
        stop = np.int64(lists.records[record + 1 + work.cuts[at]])
        # A code stands for 1/255 of the bound.
        factor = query.weights[at] * lists.heads[record] / unit * np.float32(65536 / 255)
        _add(
            work.small_sums,
            lists.entries[first + start : first + stop],
            np.uint32(factor + np.float32(0.5)),
        )
        work.counts[POSTINGS] += stop - start


@inner
def _reached_by(sums: npt.NDArray[np.uint8], n_blocks: int, wanted: int, work: Work) -> Any:
    """Return a sum that at least `wanted` rows reach, 0 if fewer have any.

    Of each 128 blocks the largest first, second, ... sum is taken: they are of different rows, and
    looking for them needs no look across a vector.
    """
    peaks = work.peaks.view(np.uint8)
    for group in range(0, n_blocks, BLOCK):
        for at in range(BLOCK):
            peaks[np.uint64(group + at)] = sums[np.uint64(group * BLOCK + at)]
        for block in range(group + 1, min(group + BLOCK, n_blocks)):
            for at in range(BLOCK):
                value, peak = sums[np.uint64(block * BLOCK + at)], peaks[np.uint64(group + at)]
                peaks[np.uint64(group + at)] = value if value > peak else peak
    counts = work.peak_counts
    counts[:] = 0
    for at in range((n_blocks + BLOCK - 1) // BLOCK * BLOCK):
        counts[peaks[np.uint64(at)]] += 1
    least, count = np.int64(255), counts[255]
    while least > 0 and count < wanted:
        least -= 1
        count += counts[least]
    return least


@inner
def _collect(
    n_blocks: int, first_row: int, wanted: int, floor: Any, above: Any, size: int, work: Work
) -> Any:
    """List the rows of a window with sums above the floor; return the new (floor, above, size).

    The floor rises so that about `wanted` rows stay above it: `above` says how many. Of rows
    with the lowest sum the first stay. What is listed is at most twice `wanted` and a few. All
    sums are 0 afterwards.
    """
    sums, histogram = work.small_sums, work.histogram
    for block in range(n_blocks):
        first = block * BLOCK
        if floor < 255 and reaching(sums, first, floor + 1):
            for start in range(first, first + BLOCK, COMPARED):
                if floor == 255:
                    break
                bits = at_least(sums, start, floor + 1)
                while bits:
                    at = start + np.int64(first_bit(bits))
                    bits &= bits - np.uint64(1)
                    value = np.int64(sums[np.uint64(at)])
                    if value <= floor or (value == floor + 1 and above >= wanted):
                        continue
                    if size == work.listed.shape[0]:
                        size = _drop(floor, size, work)
                    work.listed[size], work.parts[size] = first_row + at, np.uint8(value)
                    size += 1
                    histogram[value] += 1
                    above += 1
                    while above - histogram[floor + 1] >= wanted:
                        floor += 1
                        above -= histogram[floor]
        # Now, while they are in the first cache.
        for place in range(BLOCK):
            sums[np.uint64(first + place)] = 0
    return floor, above, size


@inner
def _drop(floor: Any, size: int, work: Work) -> Any:
    """Take the rows that are not above the floor off the list; return how many are left."""
    kept = 0
    for at in range(size):
        if work.parts[at] > floor:
            work.listed[kept], work.parts[kept] = work.listed[at], work.parts[at]
            kept += 1
    return kept


@inner
def _list(
    lists: Lists,
    rows: Rows,
    masks: Masks,
    vocab_size: int,
    query: Query,
    n_terms: int,
    cutoff: np.float32,
    wanted: int,
    work: Work,
) -> Any:
    """List the `wanted` live rows with the largest sums, ascending; return how many."""
    find_lists(lists, vocab_size, query, n_terms, work.found)
    length = _bounds(lists, query, n_terms, work)
    if not length > 0:
        return 0
    total = _leasts(lists, n_terms, rows.indptr.shape[0] - 1, cutoff * length, work)
    unit = max(length / LEVELS, total / MOST)
    work.histogram[:] = 0
    floor: Any = np.int64(0)
    above: Any = np.int64(0)
    size: Any = np.int64(0)
    for window in range(lists.windows.shape[0] - 1):
        first_row, n_rows = lists.windows[window], lists.windows[window + 1] - lists.windows[window]
        found = work.found[window * n_terms : (window + 1) * n_terms]
        _cut(lists, query, n_terms, found, work)
        _add_lists(lists, rows.indptr[first_row], query, n_terms, unit, found, work)
        if masks.deleted.shape[0] or masks.allowed.shape[0]:
            mask(work.small_sums, n_rows, first_row, rows.documents, masks)
        n_blocks = (n_rows + BLOCK - 1) // BLOCK
        if window == 0:
            floor = max(floor, _reached_by(work.small_sums, n_blocks, wanted, work) - 1)
        floor, above, size = _collect(n_blocks, first_row, wanted, floor, above, size, work)
    # Of the rows with the lowest sum there may be too many.
    spare = wanted - (above - work.histogram[floor + 1])
    kept = 0
    for at in range(_drop(floor, size, work)):
        if work.parts[at] == floor + 1:
            spare -= 1
            if spare < 0:
                continue
        work.listed[kept], work.parts[kept] = work.listed[at], work.parts[at]
        kept += 1
    return kept


@inner
def _score(
    rows: Rows,
    query: Query,
    n_terms: int,
    count: int,
    k: int,
    threshold: np.float32,
    work: Work,
    hits: Hits,
) -> int:
    """Score the first `count` listed rows, which ascend; return how many hits there are."""
    work.counts[SCORED] += count
    listed, documents = work.listed, rows.documents
    size, last = 0, np.int64(-1)
    for number in range(count):
        prefetch(rows.indptr, listed[number])
    for number in range(min(count, ROWS_AHEAD)):
        fetch_row(rows, listed[number])
    for number in range(count):
        if number + ROWS_AHEAD < count:
            fetch_row(rows, listed[number + ROWS_AHEAD])
        row = listed[number]
        score = product(rows, row, AS_THEY_ARE, query, n_terms)
        # The second test is for processes that flush denormal numbers to zero.
        if not (score >= threshold and score > 0):
            continue
        document = np.int64(documents[row]) if documents.shape[0] else row
        if document == last:
            if score > hits.scores[size - 1]:
                hits.scores[size - 1], hits.rows[size - 1] = score, row
            continue
        if size == hits.scores.shape[0]:
            keep_best(hits.scores, hits.ranks, hits.rows, size, k)
            size, threshold = k, hits.scores[k - 1]
            if score < threshold:
                continue
        hits.scores[size], hits.ranks[size] = score, rows.id_rank[document]
        hits.rows[size] = row
        size += 1
        last = document if documents.shape[0] else np.int64(-1)
    return finish(hits.scores, hits.ranks, hits.rows, size, k)


@kernel
def shortlist(
    segment: Table,
    kind: npt.NDArray[Any],
    masks: Table,
    vocab_size: int,
    lightest: float,
    heaviest: float,
    thread: Table,
    n_queries: int,
    k: int,
    at: int,
    room: int,
    threshold: float,
    cutoff: float,
    wanted: int,
) -> Any:
    """Find k good documents of a segment for each query, with their true scores.

    cutoff: postings of a term that all rows have are left out below this share of the length of
    the vector of what each term can add at most; for rarer terms less, by the root of their
    share of the rows. wanted, at least k: how many rows are scored in full; the thread's `listed`
    and `parts` have room for more than twice as many. The other arguments and the answer are
    those of `accumulate`.
    """
    queries, work, out = query_of(thread), work_of(thread), masks_of(masks)
    lists, rows = lists_of(segment), rows_of(segment, kind)
    share, least = np.float32(cutoff), np.float32(threshold)
    size: Any = np.int64(-1)
    for number in range(n_queries):
        query, before = query_at(queries, work, number), (work.counts[0], work.counts[1])
        n_terms = query.terms.shape[0]
        size = np.int64(-1)
        if fits(query.weights, n_terms, lightest, heaviest):
            count = _list(lists, rows, out, vocab_size, query, n_terms, share, wanted, work)
            hits = hits_of(thread, at + number * room, room)
            size = np.int64(_score(rows, query, n_terms, count, k, least, work, hits))
        tell(work, number, size, before)
    return size


@kernel
def listing(
    segment: Table,
    kind: npt.NDArray[Any],
    masks: Table,
    vocab_size: int,
    lightest: float,
    heaviest: float,
    thread: Table,
    n_terms: int,
    cutoff: float,
    wanted: int,
) -> Any:
    """List the rows that `shortlist` would score, ascending; return how many, -1 if it cannot.

    They are in the thread's `listed`, their sums in `parts`. Of rows with the same sum the first
    are taken, so that fewer wanted rows are the first of more. The arguments are those of
    `shortlist`.
    """
    query, work = query_of(thread), work_of(thread)
    if not fits(query.weights, n_terms, lightest, heaviest):
        return -1
    lists, rows = lists_of(segment), rows_of(segment, kind)
    share = np.float32(cutoff)
    return _list(lists, rows, masks_of(masks), vocab_size, query, n_terms, share, wanted, work)
