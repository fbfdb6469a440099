"""Kernels that add postings up, and score the rows whose sums promise enough."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .arguments import Hits, Lists, Query, Rows, Work
from .jit import inner, prefetch
from .scoring import AHEAD as ROWS_AHEAD
from .scoring import fetch_row, score_row
from .sums import AHEAD, POSTINGS, SCORED, UNITS, fetch_list
from .topk import keep_best
from .windows import RECORD

#: Rows of counts are fetched so many ahead: rows of text are shorter than those of encoders.
COUNTS_AHEAD = 8


class Window(NamedTuple):
    """A window while it is searched: its rows, its first entry, and the score of a unit."""

    first_row: Any
    n_rows: Any
    first: Any
    unit: Any


@inner
def reached_by(values: npt.NDArray[np.uint16], size: int, count: int) -> Any:
    """Return a sum, at least 1, that `count` of the values reach, if that many are above 0."""
    low, high = np.int64(1), np.int64(UNITS + 1)
    while high - low > 48:
        middle = (low + high) >> 1
        reached = np.int64(0)
        least = np.uint16(middle)
        for at in range(size):
            reached += np.int64(values[np.uint64(at)] >= least)
        if reached >= count:
            low = middle
        else:
            high = middle
    return low


@inner
def least_sum(threshold: np.float32, slop: np.float32, rest: np.float32, unit: np.float32) -> Any:
    """Return the least sum that a row must have to be worth scoring."""
    least = (threshold * (np.float32(1) - slop) - rest) / unit - np.float32(1)
    return np.int64(least) if least > 1 else np.int64(1)


@inner
def score_candidates(
    rows: Rows,
    window: Window,
    query: Query,
    n_terms: int,
    count: int,
    k: int,
    room: int,
    lowest: Any,
    rest_units: np.float32,
    last: Any,
    size: int,
    threshold: np.float32,
    work: Work,
    hits: Hits,
) -> Any:
    """Score candidates, in row order, and put their documents among the hits.

    Return (hits, the score that later ones must reach, the document of the newest hit if its
    other rows may follow; `last` is that of the call before, -1 for none). When `room` hits are
    there, all but the k best go. Of the rows of one document, which follow one another, the
    best counts, the first of them when several are. `lowest` rises with the threshold: a sum
    and `rest_units` are the most that a row can have.
    """
    candidates, indptr, documents = work.candidates, rows.indptr, rows.documents
    counted = rows.lengths.shape[0] > 0
    ahead = COUNTS_AHEAD if counted else ROWS_AHEAD
    for number in range(count):
        prefetch(indptr, window.first_row + candidates[number])
        if counted:
            prefetch(rows.lengths, window.first_row + candidates[number])
    for number in range(min(count, ahead)):
        fetch_row(rows, window.first_row + candidates[number])
    for number in range(count):
        if number + ahead < count:
            fetch_row(rows, window.first_row + candidates[number + ahead])
        if np.int64(work.candidate_sums[number]) < lowest:
            continue
        row = window.first_row + candidates[number]
        document = np.int64(documents[row]) if documents.shape[0] else row
        score = score_row(rows, row, query, n_terms)
        work.counts[SCORED] += 1
        # The second test is for processes that flush denormal numbers to zero.
        if not (score >= threshold and score > 0):
            continue
        if document == last:
            if score > hits.scores[size - 1]:
                hits.scores[size - 1], hits.rows[size - 1] = score, row
            continue
        if size == room:
            keep_best(hits.scores, hits.ranks, hits.rows, size, k)
            size = k
            if hits.scores[k - 1] > threshold:
                threshold = hits.scores[k - 1]
                least = threshold / window.unit - rest_units
                lowest = max(lowest, np.int64(least)) if least > 1 else lowest
                if score < threshold:
                    continue
        hits.scores[size], hits.ranks[size] = score, rows.id_rank[document]
        hits.rows[size] = row
        size += 1
        last = document if documents.shape[0] else np.int64(-1)
    return size, threshold, last


@inner
def _add(sums: npt.NDArray[np.uint16], entries: npt.NDArray[np.uint32], weight: np.uint32) -> None:
    """Add entries to the sums of their rows, rounded up; `weight` is in 1/256 of a unit."""
    for at in range(entries.shape[0]):
        entry = entries[np.uint64(at)]
        part = ((entry & np.uint32(255)) * weight + np.uint32(255)) >> np.uint32(8)
        sums[np.uint64(entry >> np.uint32(8))] += np.uint16(part)


@inner
def add_lists(lists: Lists, window: Window, n_terms: int, found: Any, work: Work) -> None:
    """Add each list of a window from entry `done` to the end of its cut."""
    for at in range(-AHEAD, n_terms):
        # Lists are mostly short: what is read of the next ones is fetched meanwhile.
        later = at + AHEAD
        if later < n_terms:
            fetch_list(lists, window.first, found[later], work.done[later], work.cuts[later])
        if at < 0 or work.cuts[at] == 0:
            continue
        ends = found[at] * RECORD + 1
        start = np.int64(lists.records[ends]) + work.done[at]
        stop = np.int64(lists.records[ends + work.cuts[at]])
        if stop <= start:
            continue
        # A code stands for 1/255 of the bound; the product is shifted by 8 bits.
        weight = np.ceil(work.bounds[at] / window.unit * np.float32(256 / 255))
        entries = lists.entries[window.first + start : window.first + stop]
        _add(work.sums, entries, np.uint32(weight))
        work.counts[POSTINGS] += stop - start
        work.done[at] += stop - start
