"""A window: up to 65,536 consecutive rows of a segment, and how its postings are laid out."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import numpy.typing as npt

#: A window's rows are numbered in uint16.
MAX_WINDOW_ROWS = 65_536

#: Rows whose scores are compared with the threshold at one go; accumulators have room for one more.
BLOCK = 64

#: Postings that numpy inverts sooner than the compiled kernel can be loaded from its cache.
_FEW = 1_000_000

Inverted = tuple[npt.NDArray[np.int64], npt.NDArray[np.uint16], npt.NDArray[np.float32]]


def frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a read-only plain view, so that one compiled variant serves mapped and own arrays."""
    view = np.ascontiguousarray(array).view(np.ndarray)
    view.flags.writeable = False
    return view


def invert_window(
    indptr: npt.NDArray[np.int64],
    terms: npt.NDArray[Any],
    weights: npt.NDArray[np.float32],
    vocab_size: int,
) -> Inverted:
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
    nnz = int(indptr[-1])
    if nnz < _FEW and f"{__package__}.kernels" not in sys.modules:
        return _invert_by_sorting(indptr, terms[:nnz], weights[:nnz], vocab_size)
    from . import kernels

    starts = np.zeros(vocab_size + 1, np.int64)
    rows, values = np.empty(nnz, np.uint16), np.empty(nnz, np.float32)
    kernels.invert(frozen(indptr), frozen(terms[:nnz]), frozen(weights[:nnz]), starts, rows, values)
    return starts, rows, values


def _invert_by_sorting(
    indptr: npt.NDArray[np.int64],
    terms: npt.NDArray[Any],
    weights: npt.NDArray[np.float32],
    vocab_size: int,
) -> Inverted:
    order = np.argsort(terms, kind="stable")
    rows = np.repeat(np.arange(len(indptr) - 1, dtype=np.uint16), np.diff(indptr))
    starts = np.zeros(vocab_size + 1, np.int64)
    np.cumsum(np.bincount(terms, minlength=vocab_size), out=starts[1:])
    return starts, rows[order], weights[order]
