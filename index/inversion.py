"""The kernel that turns rows into posting lists."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .jit import kernel
from .windows import TIER_CODES, TIERS


@kernel
def code_of(weight: np.float32, heaviest: np.float32) -> Any:
    """Return a weight as 1 to 255 parts of the heaviest of its list, rounded up."""
    code = np.int64(np.ceil(weight / heaviest * np.float32(255)))
    # Denormal numbers may be flushed to zero, and the quotient may round past 1.
    return min(max(code, 1), 255)


@kernel
def invert(
    indptr: npt.NDArray[np.int64],
    terms: npt.NDArray[Any],
    weights: npt.NDArray[np.float32],
    heaviest: npt.NDArray[np.float32],
    ends: npt.NDArray[np.uint32],
    entries: npt.NDArray[np.uint32],
) -> None:
    """Sort the postings of a CSR window by term, then by tier, heaviest first, then by row.

    indptr int64 (n+1,) from 0, terms uint16|uint32, weights float32: read-only. Filled, and zero
    before: heaviest float32 (V,), the heaviest weight of each term; ends uint32 (V*14,), where
    each tier of each term ends. entries uint32 (nnz,): filled, see `windows.Postings`.
    """
    for at in range(terms.shape[0]):
        term = np.uint64(terms[np.uint64(at)])
        if weights[np.uint64(at)] > heaviest[term]:
            heaviest[term] = weights[np.uint64(at)]
    for at in range(terms.shape[0]):
        term = np.uint64(terms[np.uint64(at)])
        code = code_of(weights[np.uint64(at)], heaviest[term])
        ends[_cell(term, code)] += np.uint32(1)
    total = np.uint32(0)
    for cell in range(ends.shape[0]):
        count = ends[np.uint64(cell)]
        ends[np.uint64(cell)] = total
        total += count
    # What is filled moves each start to where its tier ends.
    for row in range(indptr.shape[0] - 1):
        for at in range(indptr[row], indptr[row + 1]):
            term = np.uint64(terms[np.uint64(at)])
            code = code_of(weights[np.uint64(at)], heaviest[term])
            cell = _cell(term, code)
            entries[np.uint64(ends[cell])] = np.uint32((row << 8) | code)
            ends[cell] += np.uint32(1)


@kernel
def _cell(term: Any, code: int) -> Any:
    return term * np.uint64(TIERS) + np.uint64(min((255 - code) // TIER_CODES, TIERS - 1))
