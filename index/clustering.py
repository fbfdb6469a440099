"""Kernels that put rows alike into one block: random centroids, one assignment."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .jit import kernel

#: Clusters of so few rows are dissolved.
SMALLEST_CLUSTER = 2


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
def cluster(
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
def cut(
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
