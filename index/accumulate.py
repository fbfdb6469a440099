"""The rank-safe kernel: heavy postings added up, and every row scored that can still win.

Of each list the heaviest tiers are read, and what the rest could add to a row is known. A row
whose sum so far, and that rest, cannot reach the k-th score is passed over; the others are scored
through the forward index. The bounds are those of MaxScore (Turtle and Flood, 1995) with lists
cut by tier, not by term; the layout in windows is that of SINDI (arXiv 2509.08395).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .arguments import COMPARED, Hits, Lists, Masks, Query, Rows, Work
from .candidates import Window, add_lists, least_sum, reached_by, score_candidates
from .jit import at_least, first_bit, inner, kernel
from .sums import (
    UNITS,
    find_lists,
    find_peaks,
    fits,
    length_of,
    mask,
    tell,
)
from .tables import Table, hits_of, lists_of, masks_of, query_at, query_of, rows_of, work_of
from .topk import finish, keep_best
from .touched import has_few, search_touched
from .windows import BLOCK, RECORD, TIER_CODES, TIERS

#: What the k-th score is taken for where it is unknown, as a share of the largest possible.
GUESS = np.float32(0.25)

#: Lists are cut again when the rest is this much larger than was wanted.
TOO_MUCH = np.float32(1.25)

#: The smallest float32 above 0: "at least this" means "above 0".
TINY = np.float32(1.4e-45)


@inner
def _bounds(
    lists: Lists, query: Query, n_terms: int, slack: np.float32, found: Any, work: Work
) -> Any:
    """Find the most that each list of a window can add; return the sum of that."""
    total = np.float32(0)
    for at in range(n_terms):
        work.bounds[at], work.done[at] = np.float32(0), 0
        if found[at] >= 0:
            work.bounds[at] = query.weights[at] * lists.heads[found[at] * RECORD] * slack
        total += work.bounds[at]
    return total


@inner
def _unit_of(top: np.float32, n_terms: int) -> Any:
    """Return the score that one unit of a window's sums stands for.

    Each posting may be rounded up by two units, and float32 sums by a little.
    """
    return top / np.float32(UNITS - 3 * n_terms - 8)


@inner
def _cut(lists: Lists, n_terms: int, price: np.float32, found: Any, work: Work) -> Any:
    """Leave out tiers with more than `price` postings per unit of score; return what they bound."""
    rest = np.float32(0)
    for at in range(n_terms):
        left = 0
        if found[at] >= 0:
            left = TIERS
            ends = found[at] * RECORD + 1
            total = length_of(lists.records, found[at])
            start = np.int64(lists.records[ends])
            least = price * work.bounds[at] / np.float32(255)
            most = np.float32(0)
            for tier in range(TIERS):
                kept = np.int64(lists.records[ends + tier]) - start
                gain = np.float32(total - kept) - least * np.float32(255 - TIER_CODES * tier)
                if gain > most:
                    most, left = gain, tier
            if left < TIERS:
                rest += work.bounds[at] * np.float32(255 - TIER_CODES * left)
        work.cuts[at] = left
    return rest / np.float32(255)


@inner
def _plan(
    lists: Lists, n_terms: int, most: np.float32, price: np.float32, found: Any, work: Work
) -> Any:
    """Choose the fewest postings such that what is left out adds at most `most`.

    Return (what is left out, the price of it); `price` is where to begin.
    """
    low, high = np.float32(0), np.float32(0)
    for _ in range(8):
        rest = _cut(lists, n_terms, price, found, work)
        if rest > most:
            low = price
            price = (low + high) / np.float32(2) if high > 0 else price * np.float32(2)
        else:
            high = price
            if rest > np.float32(0.85) * most:
                return rest, price
            price = (low + high) / np.float32(2)
    price = high if high > 0 else low * np.float32(2)
    rest = _cut(lists, n_terms, price, found, work)
    while rest > most and price < np.float32(1e30):
        price *= np.float32(4)
        rest = _cut(lists, n_terms, price, found, work)
    if rest > most:
        rest = np.float32(0)
        for at in range(n_terms):
            work.cuts[at] = TIERS if found[at] >= 0 else 0
    return rest, price


@inner
def _read(
    lists: Lists, rows: Rows, masks: Masks, window: Window, n_terms: int, found: Any, work: Work
) -> None:
    """Add up the chosen tiers of a window, without the rows that are out; find the peaks."""
    add_lists(lists, window, n_terms, found, work)
    if masks.deleted.shape[0] or masks.allowed.shape[0]:
        mask(work.sums, window.n_rows, window.first_row, rows.documents, masks)
    find_peaks(work.sums, (window.n_rows + BLOCK - 1) // BLOCK, work.peaks)


@inner
def _collect(n_blocks: int, lowest: Any, block: int, work: Work) -> Any:
    """List the rows with a sum of at least `lowest`, from a block on: (how many, next block).

    Ends when the candidates' room is nearly full.
    """
    size: Any = 0
    while block < n_blocks and size + BLOCK <= work.candidates.shape[0]:
        if np.int64(work.peaks[np.uint64(block)]) >= lowest:
            for start in range(block * BLOCK, (block + 1) * BLOCK, COMPARED // 2):
                bits = at_least(work.sums, start, lowest)
                while bits:
                    at = np.uint64(start) + first_bit(bits)
                    bits &= bits - np.uint64(1)
                    work.candidates[np.uint64(size)] = at
                    work.candidate_sums[np.uint64(size)] = work.sums[at]
                    size += 1
        block += 1
    return size, block


@inner
def _look(
    rows: Rows,
    window: Window,
    query: Query,
    n_terms: int,
    k: int,
    room: int,
    work: Work,
    hits: Hits,
) -> Any:
    """Score the rows with the largest sums; return (hits, a score that k of them reach, or 0)."""
    n_blocks = (window.n_rows + BLOCK - 1) // BLOCK
    # Sums of counts leave little out: nearly in the order of the scores, they need fewer rows.
    spare = k // 8 if rows.lengths.shape[0] else k // 2
    wanted, tried, size = k + spare + 4, np.int64(UNITS + 1), 0
    while size < k and tried > 1:
        if wanted <= n_blocks // 2:
            lowest = reached_by(work.peaks, n_blocks, wanted)
        else:
            lowest = reached_by(work.sums, window.n_rows, wanted)
        lowest = min(lowest, tried - 1)
        size, least, block, last = 0, np.float32(0), 0, np.int64(-1)
        while block < n_blocks:
            count, block = _collect(n_blocks, lowest, block, work)
            size, least, last = score_candidates(
                rows, window, query, n_terms, count, k, room, lowest, np.float32(0),
                last, size, least, work, hits,
            )  # fmt: skip
        tried, wanted = lowest, 4 * wanted
    if size < k:
        return size, np.float32(0)
    if size > k:
        keep_best(hits.scores, hits.ranks, hits.rows, size, k)
    worst = hits.scores[0]
    for at in range(1, k):
        worst = min(worst, hits.scores[at])
    return k, worst


@inner
def _search(
    lists: Lists,
    rows: Rows,
    masks: Masks,
    vocab_size: int,
    query: Query,
    n_terms: int,
    k: int,
    threshold: np.float32,
    work: Work,
    hits: Hits,
) -> int:
    """Find the k best documents of a segment among those that reach the threshold."""
    find_lists(lists, vocab_size, query, n_terms, work.found)
    room = min(hits.scores.shape[0], k + max(8, k // 4))
    slop = np.float32(n_terms + 16) * np.float32(1.5e-7) + np.float32(1e-6)
    size, price, skip = 0, np.float32(0), rows.constants[3]
    for number in range(lists.windows.shape[0] - 1):
        first_row, n_rows = lists.windows[number], lists.windows[number + 1] - lists.windows[number]
        found = work.found[number * n_terms : (number + 1) * n_terms]
        top = _bounds(lists, query, n_terms, rows.constants[2], found, work)
        if not top > 0 or top * (np.float32(1) + slop) < threshold:
            continue
        window = Window(first_row, n_rows, rows.indptr[first_row], _unit_of(top, n_terms))
        if has_few(lists, rows, n_rows, n_terms, found):
            size, threshold = search_touched(
                lists, rows, masks, window, query, n_terms, k, room, slop,
                found, size, threshold, TINY, work, hits,
            )  # fmt: skip
            continue
        if price == 0:
            price = np.float32(n_rows) / top
        # Where the k-th score is unknown, it is taken to be a quarter of the largest possible; with
        # fewer than k hits in the windows before, nothing may be left out.
        aim = threshold if threshold > TINY or size > 0 else GUESS * top
        rest, price = _plan(lists, n_terms, skip * aim, price, found, work)
        _read(lists, rows, masks, window, n_terms, found, work)
        if not threshold > TINY and size == 0:
            size, reached = _look(rows, window, query, n_terms, k, room, work, hits)
            threshold = max(threshold, reached)
            if rest > TOO_MUCH * skip * threshold:
                rest, price = _plan(lists, n_terms, skip * threshold, price, found, work)
                _read(lists, rows, masks, window, n_terms, found, work)
            if rows.documents.shape[0]:
                size = 0  # a document's other rows may be better
            for at in range(size):
                work.sums[hits.rows[at] - first_row] = 0
        n_blocks = (n_rows + BLOCK - 1) // BLOCK
        rest_units = rest / window.unit + slop * np.float32(UNITS) + np.float32(2)
        block, last = 0, np.int64(-1)
        while block < n_blocks:
            lowest = least_sum(threshold, slop, rest, window.unit)
            count, block = _collect(n_blocks, lowest, block, work)
            size, threshold, last = score_candidates(
                rows, window, query, n_terms, count, k, room, lowest, rest_units,
                last, size, threshold, work, hits,
            )  # fmt: skip
        work.sums[: n_blocks * BLOCK] = 0
    return finish(hits.scores, hits.ranks, hits.rows, size, k)


@kernel
def accumulate(
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
) -> Any:
    """Find the k best documents of a segment for each query; rank-safe.

    segment, masks, thread: see `tables`; kind: an array of the type of the segment's terms.
    lightest, heaviest: of the lists' heaviest weights. The thread's `spans` tell where its first
    n_queries begin and end; all their terms are below vocab_size. The hits go to places `at` to
    `at + room`, those of the next query to the next `room` places, best first; room is more than
    k. threshold > 0: scores below it are not wanted. `told` gets how many hits there are, at most
    k, or -1 when the query is one that `sums.fits` rules out; the answer is that of the last
    query. Documents that score 0 are never among them.
    """
    queries, work, out = query_of(thread), work_of(thread), masks_of(masks)
    lists, rows, least = lists_of(segment), rows_of(segment, kind), np.float32(threshold)
    size: Any = np.int64(-1)
    for number in range(n_queries):
        query, before = query_at(queries, work, number), (work.counts[0], work.counts[1])
        n_terms = query.terms.shape[0]
        size = np.int64(-1)
        if fits(query.weights, n_terms, lightest, heaviest):
            hits = hits_of(thread, at + number * room, room)
            size = np.int64(
                _search(lists, rows, out, vocab_size, query, n_terms, k, least, work, hits)
            )
        tell(work, number, size, before)
    return size
