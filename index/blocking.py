"""Kernels that prune inverted lists, cluster their rows into blocks, and summarise the blocks.

Weights are compared as their bits: of positive floats the larger has the larger bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .jit import kernel

#: Buckets of a term's histogram: 16 for each halving of the weight, for 16 halvings.
BUCKETS, BUCKET_SHIFT = 256, 19

#: Set in the bits of a posting that stays whatever the cap: its term is its row's heaviest.
HOME = 1 << 31

#: The most blocks of a part, whose numbers are bytes, and the most entries of its summaries.
PART_BLOCKS, PART_ENTRIES = 256, 65_535

#: A block's rows, at most, times the mean; and the most centroids of a list.
LARGEST_BLOCK, MOST_CENTROIDS = 4, 4096

#: Clusters of so few rows are dissolved.
SMALLEST_CLUSTER = 2

#: Where `block_lists` counts what it has written.
PARTS, BLOCKS, ROWS, TERMS, ENTRIES = 0, 1, 2, 3, 4


@kernel
def measure_rows(
    indptr: npt.NDArray[np.int64],
    terms: npt.NDArray[Any],
    bits: npt.NDArray[np.uint32],
    start: int,
    stop: int,
    lengths: npt.NDArray[np.int64],
    largest: npt.NDArray[np.uint32],
    floors: npt.NDArray[np.uint32],
    heavy: npt.NDArray[np.uint32],
) -> None:
    """Count rows and find the heaviest weight of each term, and each row's n-th heaviest weight.

    lengths, largest (vocab,) are added to; floors (n_rows,) is filled from `start` to `stop`, 0
    where a row has fewer than n terms. heavy (n,): for work.
    """
    n = heavy.shape[0]
    for row in range(start, stop):
        size = 0
        for at in range(indptr[row], indptr[row + 1]):
            term, weight = terms[at], bits[at]
            lengths[term] += 1
            largest[term] = max(largest[term], weight)
            if size < n:
                place = size
                size += 1
            elif weight > heavy[n - 1]:
                place = n - 1
            else:
                continue
            while place > 0 and heavy[place - 1] < weight:
                heavy[place] = heavy[place - 1]
                place -= 1
            heavy[place] = weight
        floors[row] = heavy[n - 1] if size == n else np.uint32(0)


@kernel
def count_weights(
    terms: npt.NDArray[Any],
    bits: npt.NDArray[np.uint32],
    slots: npt.NDArray[np.int32],
    largest: npt.NDArray[np.uint32],
    histograms: npt.NDArray[np.int64],
) -> None:
    """Count the weights of long lists by how far they are below the heaviest of their term.

    slots (vocab,): which of the histograms (n, BUCKETS) is a term's, -1 for none.
    """
    for at in range(terms.shape[0]):
        term = terms[at]
        if slots[term] >= 0:
            below: Any = np.int64(largest[term] >> BUCKET_SHIFT)
            below -= np.int64(bits[at] >> BUCKET_SHIFT)
            histograms[slots[term], min(below, BUCKETS - 1)] += 1


@kernel
def count_kept(
    indptr: npt.NDArray[np.int64],
    terms: npt.NDArray[Any],
    bits: npt.NDArray[np.uint32],
    start: int,
    stop: int,
    least: npt.NDArray[np.uint32],
    counts: npt.NDArray[np.int64],
) -> None:
    """Count for each term the postings that weigh at least `least`, or most in their row."""
    for row in range(start, stop):
        home = heaviest(bits, indptr[row], indptr[row + 1])
        for at in range(indptr[row], indptr[row + 1]):
            if bits[at] >= least[terms[at]] or at == home:
                counts[terms[at]] += 1


@kernel
def collect_kept(
    indptr: npt.NDArray[np.int64],
    terms: npt.NDArray[Any],
    bits: npt.NDArray[np.uint32],
    start: int,
    stop: int,
    least: npt.NDArray[np.uint32],
    first_term: int,
    last_term: int,
    ends: npt.NDArray[np.int64],
    kept_rows: npt.NDArray[np.uint32],
    kept_bits: npt.NDArray[np.uint32],
) -> None:
    """Write the postings that `count_kept` counts to their lists, of terms in the range only.

    ends (vocab,): where the next posting of a term goes; moved on.
    """
    for row in range(start, stop):
        home = heaviest(bits, indptr[row], indptr[row + 1])
        for at in range(indptr[row], indptr[row + 1]):
            term = np.int64(terms[at])
            if term < first_term or term >= last_term:
                continue
            if bits[at] >= least[term] or at == home:
                place = ends[term]
                kept_rows[place] = row
                kept_bits[place] = bits[at] | (np.uint32(HOME) if at == home else np.uint32(0))
                ends[term] = place + 1


@kernel
def heaviest(bits: npt.NDArray[np.uint32], start: int, stop: int) -> Any:
    """Return the place of a row's heaviest weight, the first of equals; -1 if it has none."""
    best = np.int64(-1)
    for at in range(start, stop):
        if best < 0 or bits[at] > bits[best]:
            best = np.int64(at)
    return best


@kernel
def _trim(rows: npt.NDArray[np.uint32], bits: npt.NDArray[np.uint32], cap: int) -> Any:
    """Keep the `cap` heaviest of a list, ties by row, and those at home; return how many."""
    size = rows.shape[0]
    if size <= cap:
        return size
    plain = bits & np.uint32(HOME - 1)
    least = np.sort(plain)[size - cap]
    room = cap
    for at in range(size):
        room -= plain[at] > least
    kept = 0
    for at in range(size):
        fits = plain[at] > least
        if plain[at] == least and room > 0:
            room -= 1
            fits = True
        if fits or bits[at] >= HOME:
            rows[kept] = rows[at]
            kept += 1
    return kept


@kernel
def _random(state: npt.NDArray[np.uint64]) -> Any:
    """Return 64 random bits (splitmix64) and move the state on."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    bits = state[0]
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


@kernel
def _centroids(
    indptr: npt.NDArray[np.int64],
    terms: npt.NDArray[Any],
    weights: npt.NDArray[np.float32],
    rows: npt.NDArray[np.uint32],
    count: int,
    state: npt.NDArray[np.uint64],
    starts: npt.NDArray[np.int32],
    ends: npt.NDArray[np.int32],
) -> Any:
    """Draw `count` of the rows as centroids, scaled to length 1, and invert them.

    Returns the terms that they have, and for each entry its centroid and weight; the entries of
    a term are those from `starts` to `ends` (vocab,), which are zero for all others.
    """
    drawn = rows.copy()
    total = 0
    for number in range(count):
        left = np.uint64(drawn.shape[0] - number)
        other = number + np.int64(_random(state) % left)
        drawn[number], drawn[other] = drawn[other], drawn[number]
        total += indptr[drawn[number] + 1] - indptr[drawn[number]]
    used = np.empty(total, np.int64)
    owners, values = np.empty(total, np.int32), np.empty(total, np.float32)
    n_used = 0
    for number in range(count):
        for at in range(indptr[drawn[number]], indptr[drawn[number] + 1]):
            if ends[terms[at]] == 0:
                used[n_used] = terms[at]
                n_used += 1
            ends[terms[at]] += 1
    end = np.int32(0)
    for at in range(n_used):
        end += ends[used[at]]
        starts[used[at]] = ends[used[at]] = end - ends[used[at]]
    for number in range(count):
        length = np.float64(0)
        for at in range(indptr[drawn[number]], indptr[drawn[number] + 1]):
            length += np.float64(weights[at]) * np.float64(weights[at])
        for at in range(indptr[drawn[number]], indptr[drawn[number] + 1]):
            place = ends[terms[at]]
            owners[place] = number
            values[place] = np.float64(weights[at]) / np.sqrt(length)
            ends[terms[at]] = place + 1
    return used[:n_used], owners, values


@kernel
def _nearest(
    indptr: npt.NDArray[np.int64],
    terms: npt.NDArray[Any],
    weights: npt.NDArray[np.float32],
    row: int,
    floor: np.float32,
    n_heavy: int,
    own_term: int,
    starts: npt.NDArray[np.int32],
    ends: npt.NDArray[np.int32],
    owners: npt.NDArray[np.int32],
    values: npt.NDArray[np.float32],
    closed: npt.NDArray[np.bool_],
    sums: npt.NDArray[np.float32],
) -> Any:
    """Return the centroid that is nearest by the heaviest terms of a row, -1 if none is near.

    The list's own term, which all have, is left out; so are centroids that are `closed`.
    """
    sums[:] = 0
    left = n_heavy
    for at in range(indptr[row], indptr[row + 1]):
        if weights[at] >= floor and left > 0:
            left -= 1
            term = terms[at]
            if term != own_term:
                for place in range(starts[term], ends[term]):
                    sums[owners[place]] += weights[at] * values[place]
    best, most = np.int64(-1), np.float32(0)
    for number in range(sums.shape[0]):
        if sums[number] > most and not closed[number]:
            best, most = np.int64(number), sums[number]
    return best


@kernel
def _cluster(
    indptr: npt.NDArray[np.int64],
    terms: npt.NDArray[Any],
    weights: npt.NDArray[np.float32],
    floors: npt.NDArray[np.float32],
    n_heavy: int,
    term: int,
    rows: npt.NDArray[np.uint32],
    count: int,
    seed: int,
    starts: npt.NDArray[np.int32],
    ends: npt.NDArray[np.int32],
) -> Any:
    """Return the cluster of each row, 0 to `count`; the last is of those near no centroid."""
    state = np.empty(1, np.uint64)
    state[0] = np.uint64(seed) * np.uint64(0xD1342543DE82EF95) + np.uint64(term)
    used, owners, values = _centroids(indptr, terms, weights, rows, count, state, starts, ends)
    clusters = np.empty(rows.shape[0], np.int64)
    sizes = np.zeros(count + 1, np.int64)
    closed = np.zeros(count, np.bool_)
    sums = np.empty(count, np.float32)
    for turn in range(2):
        for at in range(rows.shape[0]):
            row: Any = np.int64(rows[at])
            if turn == 1:
                before = clusters[at]
                if before == count or not closed[before]:
                    continue
            best = _nearest(
                indptr,
                terms,
                weights,
                row,
                floors[row],
                n_heavy,
                term,
                starts,
                ends,
                owners,
                values,
                closed,
                sums,
            )
            clusters[at] = count if best < 0 else best
            sizes[clusters[at]] += 1
        for number in range(count):
            closed[number] = sizes[number] <= SMALLEST_CLUSTER
    for at in range(used.shape[0]):
        starts[used[at]] = ends[used[at]] = 0
    return clusters


@kernel
def _cut(
    rows: npt.NDArray[np.uint32],
    clusters: npt.NDArray[np.int64],
    count: int,
    most: int,
    out_rows: npt.NDArray[np.uint32],
    out_ends: npt.NDArray[np.int64],
) -> int:
    """Write the rows by cluster, and where each block ends; return how many blocks there are.

    A cluster is cut into blocks of at most `most` rows, of about the same size.
    """
    places = np.zeros(count + 2, np.int64)
    for at in range(rows.shape[0]):
        places[clusters[at] + 1] += 1
    n_blocks = 0
    for number in range(count + 1):
        size = places[number + 1]
        pieces = (size + most - 1) // most
        for piece in range(pieces):
            out_ends[n_blocks] = places[number] + size * (piece + 1) // pieces
            n_blocks += 1
        places[number + 1] += places[number]
    for at in range(rows.shape[0]):
        out_rows[places[clusters[at]]] = rows[at]
        places[clusters[at]] += 1
    return n_blocks


@kernel
def _summarise(
    indptr: npt.NDArray[np.int64],
    terms: npt.NDArray[Any],
    weights: npt.NDArray[np.float32],
    rows: npt.NDArray[np.uint32],
    energy: float,
    totals: npt.NDArray[np.float64],
    out_terms: npt.NDArray[np.int64],
    out_codes: npt.NDArray[np.uint8],
) -> Any:
    """Write the heaviest terms of a block's summary; return how many, and what a code is worth.

    A summary is a power mean over the rows: each term has the fourth root of the mean of its
    weights' fourth powers, rows without it counting as 0. Codes are parts of 255 of the heaviest,
    at least 1. Terms are kept, heaviest first, until they have `energy` of the sum. totals
    (vocab,): zero, and again at the end.
    """
    size, count = rows.shape[0], 0
    for number in range(size):
        for at in range(indptr[rows[number]], indptr[rows[number] + 1]):
            term, square = np.int64(terms[at]), np.float64(weights[at]) ** 2
            if totals[term] == 0:
                out_terms[count] = term
                count += 1
            totals[term] += square * square
    most = np.float64(0)
    for at in range(count):
        most = max(most, totals[out_terms[at]])
    masses = np.zeros(256, np.int64)
    for at in range(count):
        share = np.sqrt(np.sqrt(totals[out_terms[at]] / most))
        totals[out_terms[at]] = 0
        code: Any = max(1, np.int64(255 * share + 0.5))
        out_codes[at] = code
        masses[code] += code
    wanted, least = np.int64(energy * masses.sum()), 256
    while least > 1 and (wanted > 0 or least == 256):
        least -= 1
        wanted -= masses[least]
    kept = 0
    for at in range(count):
        if out_codes[at] >= least:
            out_terms[kept], out_codes[kept] = out_terms[at], out_codes[at]
            kept += 1
    return kept, np.float32(np.sqrt(np.sqrt(most / size)) / 255)


@kernel
def _invert_summaries(
    found_terms: npt.NDArray[np.int64],
    found: npt.NDArray[np.uint16],
    places: npt.NDArray[np.int32],
    out_terms: npt.NDArray[Any],
    out_ends: npt.NDArray[np.uint16],
    out_entries: npt.NDArray[np.uint16],
) -> int:
    """Write the entries of a part by term; return the number of terms. places (vocab,): zeros."""
    count = found_terms.shape[0]
    distinct = np.empty(count, np.int64)
    n_terms = 0
    for at in range(count):
        if places[found_terms[at]] == 0:
            distinct[n_terms] = found_terms[at]
            n_terms += 1
        places[found_terms[at]] += 1
    ordered = np.sort(distinct[:n_terms])
    place = np.int32(0)
    for at in range(n_terms):
        place += places[ordered[at]]
        places[ordered[at]] = place - places[ordered[at]]
        out_terms[at], out_ends[at] = ordered[at], place
    for at in range(count):
        out_entries[places[found_terms[at]]] = found[at]
        places[found_terms[at]] += 1
    for at in range(n_terms):
        places[ordered[at]] = 0
    return n_terms


@kernel
def block_lists(
    indptr: npt.NDArray[np.int64],
    terms: npt.NDArray[Any],
    weights: npt.NDArray[np.float32],
    floors: npt.NDArray[np.float32],
    n_heavy: int,
    first_term: int,
    bounds: npt.NDArray[np.int64],
    kept_rows: npt.NDArray[np.uint32],
    kept_bits: npt.NDArray[np.uint32],
    cap: int,
    mean: int,
    energy: float,
    seed: int,
    starts: npt.NDArray[np.int32],
    ends: npt.NDArray[np.int32],
    totals: npt.NDArray[np.float64],
    list_parts: npt.NDArray[np.int64],
    part_blocks: npt.NDArray[np.int64],
    part_terms: npt.NDArray[np.int64],
    part_entries: npt.NDArray[np.int64],
    block_ends: npt.NDArray[np.int64],
    scales: npt.NDArray[np.float32],
    out_rows: npt.NDArray[np.uint32],
    out_terms: npt.NDArray[Any],
    out_ends: npt.NDArray[np.uint16],
    out_entries: npt.NDArray[np.uint16],
    written: npt.NDArray[np.int64],
) -> None:
    """Cut lists of consecutive terms into blocks; write them, and their summaries, in order.

    bounds (n_lists+1,): where the lists are in kept_rows and kept_bits, which are trimmed in
    place. floors (n_rows,): each row's n_heavy-th heaviest weight. starts, ends, totals (vocab,):
    zeros, and again at the end. list_parts (n_lists,) gets the end of each list's parts,
    part_* the end of each part's blocks, terms and entries, block_ends that of each block's
    rows; all count from 0 here. written (5,) int64: how many of each there are.
    """
    written[:] = 0
    for number in range(bounds.shape[0] - 1):
        low = bounds[number]
        rows = kept_rows[low : bounds[number + 1]]
        rows = rows[: _trim(rows, kept_bits[low : bounds[number + 1]], cap)]
        size = rows.shape[0]
        count = min((size + mean - 1) // mean, MOST_CENTROIDS)
        clusters = np.zeros(size, np.int64)
        if count > 1:
            clusters = _cluster(
                indptr,
                terms,
                weights,
                floors,
                n_heavy,
                first_term + number,
                rows,
                count,
                seed,
                starts,
                ends,
            )
        ordered = out_rows[written[ROWS] : written[ROWS] + size]
        before = written[BLOCKS]
        cuts = block_ends[before:]
        most = max(LARGEST_BLOCK * mean, (size + 32_767) // 32_768)
        n_blocks = _cut(rows, clusters, count, most, ordered, cuts)
        room = 0
        for at in range(size):
            room += indptr[ordered[at] + 1] - indptr[ordered[at]]
        found_terms, found = np.empty(room, np.int64), np.empty(room, np.uint16)
        codes = np.empty(room, np.uint8)
        first, low = 0, 0
        n_found = 0
        for block in range(n_blocks + 1):
            kept = 0
            if block < n_blocks:
                kept, scale = _summarise(
                    indptr,
                    terms,
                    weights,
                    ordered[low : cuts[block]],
                    energy,
                    totals,
                    found_terms[n_found:],
                    codes[n_found:],
                )
                low, kept = cuts[block], min(kept, PART_ENTRIES)
                scales[before + block] = scale
            full = block - first == PART_BLOCKS or n_found + kept > PART_ENTRIES
            if full or block == n_blocks:
                _end_part(
                    found_terms[:n_found],
                    found[:n_found],
                    block - first,
                    starts,
                    part_blocks,
                    part_terms,
                    part_entries,
                    out_terms,
                    out_ends,
                    out_entries,
                    written,
                )
                for at in range(kept):
                    found_terms[at], codes[at] = found_terms[n_found + at], codes[n_found + at]
                first, n_found = block, 0
            for at in range(n_found, n_found + kept):
                found[at] = np.uint16(block - first) << np.uint16(8) | np.uint16(codes[at])
            n_found += kept
        for block in range(n_blocks):
            cuts[block] += written[ROWS]
        written[ROWS] += size
        list_parts[number] = written[PARTS]


@kernel
def _end_part(
    found_terms: npt.NDArray[np.int64],
    found: npt.NDArray[np.uint16],
    n_blocks: int,
    places: npt.NDArray[np.int32],
    part_blocks: npt.NDArray[np.int64],
    part_terms: npt.NDArray[np.int64],
    part_entries: npt.NDArray[np.int64],
    out_terms: npt.NDArray[Any],
    out_ends: npt.NDArray[np.uint16],
    out_entries: npt.NDArray[np.uint16],
    written: npt.NDArray[np.int64],
) -> None:
    """Write the summaries of a part of a list, by term, unless it is empty."""
    if n_blocks == 0:
        return
    n_terms = _invert_summaries(
        found_terms,
        found,
        places,
        out_terms[written[TERMS] :],
        out_ends[written[TERMS] :],
        out_entries[written[ENTRIES] :],
    )
    written[BLOCKS] += n_blocks
    written[TERMS] += n_terms
    written[ENTRIES] += found_terms.shape[0]
    part_blocks[written[PARTS]] = written[BLOCKS]
    part_terms[written[PARTS]] = written[TERMS]
    part_entries[written[PARTS]] = written[ENTRIES]
    written[PARTS] += 1
