"""The compiled kernels: arrays and scalars in, arrays filled; no object, no file, no string."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from lsr import numba_cache

numba_cache.prepare([Path(__file__).resolve().parent])

from numba import njit  # noqa: E402  (numba reads NUMBA_CACHE_DIR when it is imported)

Kernel = TypeVar("Kernel", bound=Callable[..., Any])

#: A window's rows are numbered in uint16.
MAX_WINDOW_ROWS = 65_536


def kernel(function: Kernel) -> Kernel:
    """Compile a function on first call, cached on disk, without the interpreter lock.

    No fastmath: sums must come out bit for bit as numpy's float32 sums in the same order.
    """
    compiler = njit(cache=True, nogil=True, boundscheck=False, error_model="numpy")
    return cast(Kernel, compiler(function))


def frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a read-only plain view, so that one compiled variant serves mapped and own arrays."""
    view = np.ascontiguousarray(array).view(np.ndarray)
    view.flags.writeable = False
    return view


@kernel
def _invert(
    indptr: npt.NDArray[np.int64],
    terms: npt.NDArray[Any],
    weights: npt.NDArray[np.float32],
    starts: npt.NDArray[np.int64],
    rows: npt.NDArray[np.uint16],
    values: npt.NDArray[np.float32],
) -> None:
    """Counting sort of a CSR window by term.

    indptr int64 (n+1,) from 0, terms uint16|uint32, weights float32: read-only. starts int64
    (V+1,) all zero, rows uint16 (nnz,), values float32 (nnz,): filled; starts[t]..starts[t+1]
    are the postings of term t, rows ascending.
    """
    nnz = indptr[indptr.shape[0] - 1]
    for at in range(nnz):
        starts[np.uint64(terms[np.uint64(at)])] += 1
    total = np.int64(0)
    for term in range(starts.shape[0]):
        count = starts[term]
        starts[term] = total
        total += count
    for row in range(indptr.shape[0] - 1):
        for at in range(indptr[row], indptr[row + 1]):
            term = np.uint64(terms[np.uint64(at)])
            to = np.uint64(starts[term])
            starts[term] += 1
            rows[to] = np.uint16(row)
            values[to] = weights[np.uint64(at)]
    for term in range(starts.shape[0] - 1, 0, -1):
        starts[term] = starts[term - 1]
    starts[0] = 0


def invert_window(
    indptr: npt.NDArray[np.int64],
    terms: npt.NDArray[Any],
    weights: npt.NDArray[np.float32],
    vocab_size: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint16], npt.NDArray[np.float32]]:
    """Return the postings of a window of at most 65,536 rows: (indptr, rows, weights).

    `indptr` int64 (n+1,) starts at 0; `terms` uint16 or uint32; `weights` float32. In the answer
    `indptr` int64 (vocab_size+1,) bounds each term's postings, `rows` uint16 ascend within a term.

    >>> parts = np.array([0, 2, 3]), np.array([1, 2, 1], np.uint16), np.ones(3, np.float32)
    >>> [part.tolist() for part in invert_window(*parts, vocab_size=3)]
    [[0, 0, 2, 3], [0, 1, 0], [1.0, 1.0, 1.0]]
    """
    n_rows = len(indptr) - 1
    if n_rows > MAX_WINDOW_ROWS:
        raise ValueError(f"a window has {n_rows} rows; it can hold {MAX_WINDOW_ROWS}")
    starts = np.zeros(vocab_size + 1, np.int64)
    nnz = int(indptr[-1])
    rows, values = np.empty(nnz, np.uint16), np.empty(nnz, np.float32)
    _invert(frozen(indptr), frozen(terms[:nnz]), frozen(weights[:nnz]), starts, rows, values)
    return starts, rows, values
