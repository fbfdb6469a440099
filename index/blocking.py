"""Kernels that cut inverted lists into blocks and summarise the blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .clustering import cluster, cut
from .jit import kernel
from .pruning import trim

#: The most blocks of a part, whose numbers are bytes, and the most entries of its summaries.
PART_BLOCKS, PART_ENTRIES = 256, 65_535

#: A block's rows, at most, times the mean; and the most centroids of a list.
LARGEST_BLOCK, MOST_CENTROIDS = 4, 4096

#: Where `block_lists` counts what it has written.
PARTS, BLOCKS, ROWS, TERMS, ENTRIES = 0, 1, 2, 3, 4


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
        rows = rows[: trim(rows, kept_bits[low : bounds[number + 1]], cap)]
        size = rows.shape[0]
        count = min((size + mean - 1) // mean, MOST_CENTROIDS)
        clusters = np.zeros(size, np.int64)
        if count > 1:
            clusters = cluster(
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
        n_blocks = cut(rows, clusters, count, most, ordered, cuts)
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
