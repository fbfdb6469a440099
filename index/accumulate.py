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

from .jit import kernel, prefetch
from .scoring import AHEAD, fetch_row, product, spread, wipe
from .sums import UNITS, add_lists, collect, find_lists, find_peaks, fits, mask, reached_by, unit_of
from .topk import finish, keep_best
from .windows import BLOCK, TIERS

#: Where in `counts` the kernels add up what they did.
POSTINGS, SCORED = 0, 1

#: How much the postings left out may add, as a share of the k-th score; measured.
SKIP = np.float32(0.3)

#: What the k-th score is taken for where it is unknown, as a share of the largest possible.
GUESS = np.float32(0.25)

#: Lists are cut again when the rest is this much larger than was wanted.
TOO_MUCH = np.float32(1.25)

#: The smallest float32 above 0: "at least this" means "above 0".
TINY = np.float32(1.4e-45)


@kernel
def _cut(
    tiers: npt.NDArray[np.uint16],
    found: npt.NDArray[np.int64],
    bounds: npt.NDArray[np.float32],
    n_terms: int,
    price: np.float32,
    cuts: npt.NDArray[np.int64],
) -> Any:
    """Leave out tiers with more than `price` postings per unit of score; return what they bound.

    cuts: the number of tiers of each list that are left in.
    """
    rest = np.float32(0)
    for at in range(n_terms):
        left = 0
        if found[at] >= 0:
            left = TIERS
            first = found[at] * TIERS
            total = np.int64(tiers[first + TIERS - 1])
            least = price * bounds[at] / np.float32(TIERS)
            most = np.float32(0)
            for tier in range(TIERS):
                kept = np.int64(tiers[first + tier - 1]) if tier else np.int64(0)
                gain = np.float32(total - kept) - least * np.float32(TIERS - tier)
                if gain > most:
                    most, left = gain, tier
            if left < TIERS:
                rest += bounds[at] * np.float32(16 * (TIERS - left) - 1)
        cuts[at] = left
    return rest / np.float32(255)


@kernel
def _plan(
    tiers: npt.NDArray[np.uint16],
    found: npt.NDArray[np.int64],
    bounds: npt.NDArray[np.float32],
    n_terms: int,
    most: np.float32,
    price: np.float32,
    cuts: npt.NDArray[np.int64],
) -> Any:
    """Choose the fewest postings such that what is left out adds at most `most`.

    Return (what is left out, the price of it); `price` is where to begin.
    """
    low, high = np.float32(0), np.float32(0)
    for _ in range(8):
        rest = _cut(tiers, found, bounds, n_terms, price, cuts)
        if rest > most:
            low = price
            price = (low + high) / np.float32(2) if high > 0 else price * np.float32(2)
        else:
            high = price
            if rest > np.float32(0.85) * most:
                return rest, price
            price = (low + high) / np.float32(2)
    price = high if high > 0 else low * np.float32(2)
    rest = _cut(tiers, found, bounds, n_terms, price, cuts)
    while rest > most and price < np.float32(1e30):
        price *= np.float32(4)
        rest = _cut(tiers, found, bounds, n_terms, price, cuts)
    if rest > most:
        rest = np.float32(0)
        for at in range(n_terms):
            cuts[at] = TIERS if found[at] >= 0 else 0
    return rest, price


@kernel
def _lowest(threshold: np.float32, slop: np.float32, rest: np.float32, unit: np.float32) -> Any:
    """Return the least sum that a row must have to be worth scoring."""
    least = (threshold * (np.float32(1) - slop) - rest) / unit - np.float32(1)
    return np.int64(least) if least > 1 else np.int64(1)


@kernel
def _score(
    candidates: npt.NDArray[np.int64],
    candidate_sums: npt.NDArray[np.uint16],
    count: int,
    first_row: int,
    indptr: npt.NDArray[np.int64],
    terms: npt.NDArray[Any],
    weights: npt.NDArray[np.float32],
    documents: npt.NDArray[np.uint32],
    id_rank: npt.NDArray[np.uint32],
    deleted: npt.NDArray[np.bool_],
    flags: npt.NDArray[np.uint8],
    query: npt.NDArray[np.float32],
    k: int,
    room: int,
    lowest: Any,
    rest_units: np.float32,
    unit: np.float32,
    last: Any,
    size: int,
    threshold: np.float32,
    scores: npt.NDArray[np.float32],
    ranks: npt.NDArray[np.uint32],
    rows: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
) -> Any:
    """Score candidates, in row order, and put their documents among the hits.

    Return (hits, the score that later ones must reach, the document of the newest hit if its
    other rows may follow; `last` is that of the call before, -1 for none). When `room` hits are
    there, all but the k best go. Of the rows of one document, which follow one another, the
    best counts, the first of them when several are. `lowest` rises with the threshold: a sum
    and `rest_units` are the most that a row can have.
    """
    for number in range(count):
        prefetch(indptr, first_row + candidates[number])
    for number in range(min(count, AHEAD)):
        fetch_row(indptr, terms, weights, first_row + candidates[number])
    for number in range(count):
        if number + AHEAD < count:
            fetch_row(indptr, terms, weights, first_row + candidates[number + AHEAD])
        if np.int64(candidate_sums[number]) < lowest:
            continue
        row = first_row + candidates[number]
        document = np.int64(documents[row]) if documents.shape[0] else row
        if deleted.shape[0] and deleted[document]:
            continue
        start, stop = indptr[row], indptr[row + 1]
        score = product(terms[start:stop], weights[start:stop], flags, query)
        counts[SCORED] += 1
        # The second test is for processes that flush denormal numbers to zero.
        if not (score >= threshold and score > 0):
            continue
        if document == last:
            if score > scores[size - 1]:
                scores[size - 1], rows[size - 1] = score, row
            continue
        if size == room:
            keep_best(scores, ranks, rows, size, k)
            size = k
            if scores[k - 1] > threshold:
                threshold = scores[k - 1]
                least = threshold / unit - rest_units
                lowest = max(lowest, np.int64(least)) if least > 1 else lowest
                if score < threshold:
                    continue
        scores[size], ranks[size], rows[size] = score, id_rank[document], row
        size += 1
        last = document if documents.shape[0] else np.int64(-1)
    return size, threshold, last


@kernel
def accumulate(
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
    sums: npt.NDArray[np.uint16],
    peaks: npt.NDArray[np.uint16],
    flags: npt.NDArray[np.uint8],
    query: npt.NDArray[np.float32],
    found: npt.NDArray[np.int64],
    bounds: npt.NDArray[np.float32],
    candidates: npt.NDArray[np.int64],
    candidate_sums: npt.NDArray[np.uint16],
    counts: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float32],
    ranks: npt.NDArray[np.uint32],
    rows: npt.NDArray[np.int64],
) -> int:
    """Find the k best documents of a segment; rank-safe.

    The first seven arrays are the segment's postings, the next three its forward index (see
    `index.segment.Postings`). documents (n_rows,) maps rows to documents, or (0,) when each row
    is one. id_rank (n_docs,). lightest, heaviest: of the lists'
    heaviest weights. deleted and allowed (n_docs,), or (0,) for none deleted, all
    allowed. query_terms, query_weights: the first n_terms count, at most 8,192, terms ascending
    and below vocab_size. threshold > 0: scores below it are not wanted.

    For work, all zero and zero again at the end: sums (a multiple of 128 above any window,),
    flags and query (vocab,). For work, anything: peaks (a place for each 128 rows), found (3,
    n_terms) as one array, bounds (n_terms,), candidates, candidate_sums. counts: what was done
    is added. scores, ranks, rows: filled best first, with room for more than k; the answer is
    how many, at most k, or -1 when the query is one that `sums.fits` rules out. Documents that
    score 0 are never among them.
    """
    if not fits(query_weights, n_terms, lightest, heaviest):
        return -1
    spread(query_terms, query_weights, n_terms, flags, query)
    cuts, done = found[n_terms : 2 * n_terms], found[2 * n_terms : 3 * n_terms]
    room = min(scores.shape[0], k + max(8, k // 4))
    slop = np.float32(n_terms + 16) * np.float32(1.5e-7) + np.float32(1e-6)
    size = 0
    price = np.float32(0)
    for window in range(windows.shape[0] - 1):
        first_row, n_rows = windows[window], windows[window + 1] - windows[window]
        base = window * vocab_size
        top = find_lists(
            lists, tiers, starts, maxima, base, query_terms, query_weights, n_terms, found, bounds
        )
        if not top > 0 or top * (np.float32(1) + slop) < threshold:
            continue
        unit = unit_of(top, n_terms)
        if price == 0:
            price = np.float32(n_rows) / top
        # Where the k-th score is unknown, it is taken to be a quarter of the largest possible; with
        # fewer than k hits in the windows before, nothing may be left out.
        aim = threshold if threshold > TINY or size > 0 else GUESS * top
        rest, price = _plan(tiers, found, bounds, n_terms, SKIP * aim, price, cuts)
        done[:] = 0
        counts[POSTINGS] += add_lists(
            starts, tiers, posting_rows, codes, found, bounds, n_terms, unit, cuts, done, sums
        )
        if allowed.shape[0]:
            mask(sums, n_rows, first_row, documents, allowed)
        n_blocks = (n_rows + BLOCK - 1) // BLOCK
        find_peaks(sums, n_blocks, peaks)
        if not threshold > TINY and size == 0:
            # A first look: the true scores of the rows with the largest sums.
            wanted, tried = k + k // 2 + 4, np.int64(UNITS + 1)
            while size < k and tried > 1:
                if wanted <= n_blocks // 2:
                    lowest = reached_by(peaks, n_blocks, wanted)
                else:
                    lowest = reached_by(sums, n_rows, wanted)
                lowest = min(lowest, tried - 1)
                size, look, block, last = 0, np.float32(0), 0, np.int64(-1)
                while block < n_blocks:
                    count, block = collect(
                        sums, peaks, n_blocks, lowest, block, candidates, candidate_sums
                    )
                    size, look, last = _score(
                        candidates,
                        candidate_sums,
                        count,
                        first_row,
                        indptr,
                        terms,
                        weights,
                        documents,
                        id_rank,
                        deleted,
                        flags,
                        query,
                        k,
                        room,
                        lowest,
                        np.float32(0),
                        unit,
                        last,
                        size,
                        look,
                        scores,
                        ranks,
                        rows,
                        counts,
                    )
                tried, wanted = lowest, 4 * wanted
            if size >= k:
                if size > k:
                    keep_best(scores, ranks, rows, size, k)
                worst = scores[0]
                for at in range(1, k):
                    worst = min(worst, scores[at])
                threshold = max(threshold, worst)
            size = 0
            if rest > TOO_MUCH * SKIP * threshold:
                rest, price = _plan(tiers, found, bounds, n_terms, SKIP * threshold, price, cuts)
                counts[POSTINGS] += add_lists(
                    starts,
                    tiers,
                    posting_rows,
                    codes,
                    found,
                    bounds,
                    n_terms,
                    unit,
                    cuts,
                    done,
                    sums,
                )
                if allowed.shape[0]:
                    mask(sums, n_rows, first_row, documents, allowed)
                find_peaks(sums, n_blocks, peaks)
        block, last = 0, np.int64(-1)
        while block < n_blocks:
            lowest = _lowest(threshold, slop, rest, unit)
            count, block = collect(sums, peaks, n_blocks, lowest, block, candidates, candidate_sums)
            size, threshold, last = _score(
                candidates,
                candidate_sums,
                count,
                first_row,
                indptr,
                terms,
                weights,
                documents,
                id_rank,
                deleted,
                flags,
                query,
                k,
                room,
                lowest,
                rest / unit + slop * np.float32(UNITS) + np.float32(2),
                unit,
                last,
                size,
                threshold,
                scores,
                ranks,
                rows,
                counts,
            )
        for at in range(n_rows):
            sums[np.uint64(at)] = 0
    wipe(query_terms, n_terms, flags, query)
    return finish(scores, ranks, rows, size, k)
