"""The kernel of blocked search: blocks of the query's heaviest lists, the most promising first.

The summaries of all chosen lists are scored before any block is opened, so that the blocks of
all lists compete, as SeismicWave has it (arXiv 2408.04443), and the first that is too light is
the last.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .arguments import Query
from .blocks import Blocks
from .jit import inner, kernel, prefetch
from .scoring import AHEAD, AS_THEY_ARE, fetch_row, product
from .topk import better, finish

#: Where the numbers of entries added, documents scored and blocks opened are counted.
ADDED, SCORED, OPENED = 0, 1, 2

#: Documents that are found in blocks before they are scored, so that memory has time.
BATCH = 32

#: Blocks are ordered by so many levels of their estimates.
LEVELS = 1024

_LARGEST = np.float32(3.4e38)


class Rows(NamedTuple):
    """The rows of a segment: its forward index, and whose rows they are.

    `documents` (n_rows,) and `document_rows` (n_documents+1,) are empty where every document has
    one row; `id_rank` (n_documents,) orders the ids.
    """

    indptr: npt.NDArray[np.int64]
    terms: npt.NDArray[Any]
    weights: npt.NDArray[np.float32]
    halves: npt.NDArray[np.uint16]
    documents: npt.NDArray[np.uint32]
    document_rows: npt.NDArray[np.int64]
    id_rank: npt.NDArray[np.uint32]


class Room(NamedTuple):
    """Arrays to work in. `seen` is zero between searches.

    `seen`, a bit for each document; `bounds`, `chosen` (n_terms,);
    `estimates`, `blocks`, `order`: an entry for each block of the chosen lists; `levels`
    (LEVELS,); `batch`: BATCH documents and those of a block.
    """

    seen: npt.NDArray[np.uint64]
    bounds: npt.NDArray[np.float32]
    chosen: npt.NDArray[np.int64]
    estimates: npt.NDArray[np.float32]
    blocks: npt.NDArray[np.int64]
    order: npt.NDArray[np.int64]
    levels: npt.NDArray[np.int64]
    batch: npt.NDArray[np.int64]


@inner
def _choose(
    lists: Blocks,
    query_terms: npt.NDArray[np.int64],
    query_weights: npt.NDArray[np.float32],
    n_terms: int,
    most: int,
    room: Room,
) -> int:
    """Choose the lists that can add most to a score, the first of equals; return how many."""
    bounds, left = room.bounds, 0
    for at in range(n_terms):
        term = query_terms[at]
        bounds[at] = -1
        if lists.lists[term] < lists.lists[term + 1]:
            bounds[at] = query_weights[at] * lists.largest[term]
            left += 1
    if left <= most:
        left = 0
        for at in range(n_terms):
            if bounds[at] >= 0:
                room.chosen[left] = query_terms[at]
                left += 1
        return left
    for number in range(most):
        best = 0
        for at in range(1, n_terms):
            if bounds[at] > bounds[best]:
                best = at
        bounds[best] = -1
        room.chosen[number] = query_terms[best]
    return most


@inner
def _estimate(
    lists: Blocks,
    query_terms: npt.NDArray[np.int64],
    query_weights: npt.NDArray[np.float32],
    n_terms: int,
    unit: np.float32,
    n_chosen: int,
    room: Room,
    counts: npt.NDArray[np.int64],
) -> int:
    """Estimate the score of each block of the chosen lists, in units; return their number."""
    size, parts = 0, lists.parts
    for number in range(n_chosen):
        term = room.chosen[number]
        for part in range(lists.lists[term], lists.lists[term + 1]):
            n_blocks = parts[part + 1] - parts[part]
            mine = room.estimates[size : size + n_blocks]
            mine[:] = 0
            counts[ADDED] += _add_summaries(
                lists, part, query_terms, query_weights, n_terms, unit, mine
            )
            for block in range(n_blocks):
                value = mine[block] * lists.scales[parts[part] + block]
                mine[block] = min(value, _LARGEST)
                room.blocks[size + block] = parts[part] + block
            size += n_blocks
    return size


@inner
def _add_summaries(
    lists: Blocks,
    part: int,
    query_terms: npt.NDArray[np.int64],
    query_weights: npt.NDArray[np.float32],
    n_terms: int,
    unit: np.float32,
    sums: npt.NDArray[np.float32],
) -> Any:
    """Add the query's entries in the summaries of a part; return how many. Both ascend."""
    terms, ends, entries = lists.terms, lists.ends, lists.entries
    first, last = lists.terms_of[part], lists.terms_of[part + 1]
    low, added = first, np.int64(0)
    for at in range(n_terms):
        term, high = query_terms[at], last
        while low < high:  # the first that is not below the query's
            middle = (low + high) >> 1
            if terms[middle] < term:
                low = middle + 1
            else:
                high = middle
        if low == last:
            break
        if terms[low] != term:
            continue
        start = lists.entries_of[part] + (np.int64(ends[low - 1]) if low > first else np.int64(0))
        stop = lists.entries_of[part] + np.int64(ends[low])
        weight = query_weights[at] / unit
        for place in range(start, stop):
            entry = entries[place]
            sums[entry >> 8] += weight * np.float32(entry & 255)
        added += stop - start
    return added


@inner
def _order(room: Room, size: int) -> None:
    """Order places of estimates by level, highest first; in a level they stay in order."""
    estimates, levels = room.estimates, room.levels
    top = np.float32(0)
    for at in range(size):
        top = max(top, estimates[at])
    scale = np.float64(LEVELS - 1) / top if top > 0 else np.float64(0)
    levels[:] = 0
    for at in range(size):
        levels[LEVELS - 1 - np.int64(estimates[at] * scale)] += 1
    before = np.int64(0)
    for level in range(LEVELS):
        here = levels[level]
        levels[level] = before
        before += here
    for at in range(size):
        mine = LEVELS - 1 - np.int64(estimates[at] * scale)
        room.order[levels[mine]] = at
        levels[mine] += 1


@inner
def _document_of(index: Rows, row: int) -> Any:
    return np.int64(index.documents[row]) if index.documents.shape[0] else np.int64(row)


@inner
def _rows_of(index: Rows, document: int) -> tuple[int, int]:
    if index.document_rows.shape[0]:
        return index.document_rows[document], index.document_rows[document + 1]
    return document, document + 1


@inner
def _unseen(
    found: npt.NDArray[np.uint32],
    index: Rows,
    deleted: npt.NDArray[np.bool_],
    allowed: npt.NDArray[np.bool_],
    room: Room,
    size: int,
) -> int:
    """Add the live documents of rows to the batch, each the first time it is met."""
    seen = room.seen
    for at in range(found.shape[0]):
        document = _document_of(index, found[at])
        bit = np.uint64(1) << np.uint64(document & 63)
        if seen[document >> 6] & bit:
            continue
        seen[document >> 6] |= bit
        if deleted.shape[0] and deleted[document]:
            continue
        if allowed.shape[0] and not allowed[document]:
            continue
        room.batch[size] = document
        size += 1
    return size


@inner
def _best_row(index: Rows, document: int, query: Query, n_terms: int) -> Any:
    """Return the best of the rows of a document, the first of equals, and its score."""
    first, last = _rows_of(index, document)
    best, most = first, np.float32(-1)
    for row in range(first, last):
        score = product(index, row, AS_THEY_ARE, query, n_terms)
        if score > most:
            best, most = row, score
    return best, most


@inner
def _put(
    scores: npt.NDArray[np.float32],
    ranks: npt.NDArray[np.uint32],
    rows: npt.NDArray[np.int64],
    size: int,
    k: int,
    score: np.float32,
    rank: np.uint32,
    row: int,
) -> int:
    """Put a hit into the heap of the k best, the worst at its root; return its size."""
    if size < k:
        at = size
        size += 1
        while at > 0:
            parent = (at - 1) >> 1
            if not better(scores[parent], ranks[parent], score, rank):
                break
            scores[at], ranks[at], rows[at] = scores[parent], ranks[parent], rows[parent]
            at = parent
    elif better(score, rank, scores[0], ranks[0]):
        at = 0
        while True:
            child = 2 * at + 1
            if child >= size:
                break
            if child + 1 < size and better(
                scores[child], ranks[child], scores[child + 1], ranks[child + 1]
            ):
                child += 1
            if not better(score, rank, scores[child], ranks[child]):
                break
            scores[at], ranks[at], rows[at] = scores[child], ranks[child], rows[child]
            at = child
    else:
        return size
    scores[at], ranks[at], rows[at] = score, rank, row
    return size


@kernel
def best_first(
    lists: Blocks,
    index: Rows,
    deleted: npt.NDArray[np.bool_],
    allowed: npt.NDArray[np.bool_],
    query_terms: npt.NDArray[np.int64],
    query_weights: npt.NDArray[np.float32],
    n_terms: int,
    k: int,
    threshold: np.float32,
    n_lists: int,
    skip_ratio: np.float32,
    room: Room,
    counts: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float32],
    ranks: npt.NDArray[np.uint32],
    rows: npt.NDArray[np.int64],
) -> int:
    """Find k good documents of a segment, with their true scores; return how many.

    deleted, allowed: bool (n_documents,), or empty. n_lists: of how many lists, those that can
    add most, blocks are opened. Blocks whose estimate is below skip_ratio times the k-th best
    score, at least `threshold`, stay closed. counts (3,) is added to. The hits are put into
    scores, ranks (of the ids) and rows (k,), best first, equal scores by rank.
    """
    n_chosen = _choose(lists, query_terms, query_weights, n_terms, n_lists, room)
    unit = np.float32(0)
    for at in range(n_terms):
        unit = max(unit, query_weights[at])
    count = _estimate(lists, query_terms, query_weights, n_terms, unit, n_chosen, room, counts)
    _order(room, count)
    query = Query(query_terms, query_weights)
    document_rows = index.document_rows
    size, opened = 0, 0
    going = True
    while going:
        n_batch = 0
        least = skip_ratio * (threshold / unit)
        while n_batch < BATCH:
            if opened == count or room.estimates[room.order[opened]] < least:
                going = False
                break
            block = room.blocks[room.order[opened]]
            if opened + 1 < count:
                prefetch(lists.rows, lists.starts[room.blocks[room.order[opened + 1]]])
            found = lists.rows[lists.starts[block] : lists.starts[block + 1]]
            n_batch = _unseen(found, index, deleted, allowed, room, n_batch)
            opened += 1
        counts[SCORED] += n_batch
        for at in range(n_batch):
            prefetch(document_rows if document_rows.shape[0] else index.indptr, room.batch[at])
        for at in range(n_batch + AHEAD):
            if at < n_batch:
                first, _ = _rows_of(index, room.batch[at])
                fetch_row(index, first)
            if at < AHEAD:
                continue
            document = room.batch[at - AHEAD]
            row, score = _best_row(index, document, query, n_terms)
            # The second test is for processes that flush denormal numbers to zero.
            if score >= threshold and score > 0:
                size = _put(scores, ranks, rows, size, k, score, index.id_rank[document], row)
                if size == k:
                    threshold = max(threshold, scores[0])
    counts[OPENED] += opened
    for at in range(opened):
        block = room.blocks[room.order[at]]
        for place in range(lists.starts[block], lists.starts[block + 1]):
            room.seen[_document_of(index, lists.rows[place]) >> 6] = 0
    return finish(scores, ranks, rows, size, k)
