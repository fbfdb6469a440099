"""The kernel that turns rows into posting lists."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .jit import kernel
from .windows import TIERS


@kernel
def code_of(weight: np.float32, heaviest: np.float32) -> Any:
    """Return a weight as 1 to 255 parts of the heaviest of its list, rounded up."""
    code = np.ceil(weight / heaviest * np.float32(255))
    # Denormal numbers may be flushed to zero, and the quotient may round past 1.
    return np.uint8(min(max(code, np.float32(1)), np.float32(255)))


@kernel
def invert(
    indptr: npt.NDArray[np.int64],
    terms: npt.NDArray[Any],
    weights: npt.NDArray[np.float32],
    starts: npt.NDArray[np.int64],
    heaviest: npt.NDArray[np.float32],
    tiers: npt.NDArray[np.int32],
    order: npt.NDArray[np.uint32],
    rows: npt.NDArray[np.uint16],
    codes: npt.NDArray[np.uint8],
) -> None:
    """Sort the postings of a CSR window by term, then by tier, heaviest first, then by row.

    indptr int64 (n+1,) from 0, terms uint16|uint32, weights float32: read-only. Filled, and zero
    before: starts int64 (V+1,), the bounds of each term's postings; heaviest float32 (V,); tiers
    int32 (V*16,), where each tier ends in its list. order uint32 (nnz,) is for work; rows uint16
    (nnz,), codes uint8 (nnz,): filled.
    """
    n_terms = starts.shape[0] - 1
    for at in range(indptr[indptr.shape[0] - 1]):
        term = np.uint64(terms[np.uint64(at)])
        starts[term] += 1
        weight = weights[np.uint64(at)]
        if weight > heaviest[term]:
            heaviest[term] = weight
    total: Any = 0
    for number in range(n_terms):
        count = starts[number]
        starts[number] = total
        total += count
    # First by term, rows ascending: the weights of a list are then near one another.
    for row in range(indptr.shape[0] - 1):
        for at in range(indptr[row], indptr[row + 1]):
            term = np.uint64(terms[np.uint64(at)])
            order[np.uint64(starts[term])] = np.uint32(
                (row << 8) | np.int64(code_of(weights[np.uint64(at)], heaviest[term]))
            )
            starts[term] += 1
    for number in range(n_terms, 0, -1):
        starts[number] = starts[number - 1]
    starts[0] = 0
    place = np.zeros(TIERS, np.int64)
    for number in range(n_terms):
        first, last = starts[number], starts[number + 1]
        if first == last:
            continue
        place[:] = 0
        for at in range(first, last):
            place[TIERS - 1 - np.int64((order[at] >> 4) & 15)] += 1
        before: Any = np.int64(0)
        for tier in range(TIERS):
            count = place[tier]
            place[tier] = first + before
            before += count
            tiers[number * TIERS + tier] = before
        for at in range(first, last):
            of = TIERS - 1 - np.int64((order[at] >> 4) & 15)
            to = np.uint64(place[of])
            rows[to] = np.uint16(order[at] >> 8)
            codes[to] = np.uint8(order[at] & 255)
            place[of] += 1
