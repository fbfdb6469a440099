"""A window: up to 65,535 consecutive rows of a segment, and how its postings are laid out."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

#: A window's rows, and the lengths of its lists, are numbers in uint16.
MAX_WINDOW_ROWS = 65_535

#: Rows whose sums are looked at together; accumulators are a multiple of it.
BLOCK = 128

#: The tiers of a list, heaviest first: postings of one tier have the same upper four bits of code.
TIERS = 16

#: Postings that numpy inverts sooner than the compiled kernel can be loaded from its cache.
_FEW = 1_000_000


class Inverted(NamedTuple):
    """The postings of a window; only terms that occur have a list, in order of the terms.

    `terms` int64 (n_lists,), `starts` int64 (n_lists+1,), `tiers` uint16 (n_lists*16,): how many
    postings of a list are in its first tier, its first two, and so on. `maxima` float32
    (n_lists,): the heaviest weight. `rows` uint16 and `codes` uint8 (nnz,): in a list by tier,
    heaviest first, then by row; a code is 1 to 255 parts of the heaviest weight, rounded up.
    """

    terms: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    tiers: npt.NDArray[np.uint16]
    maxima: npt.NDArray[np.float32]
    rows: npt.NDArray[np.uint16]
    codes: npt.NDArray[np.uint8]


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
    """Return the postings of a window of at most 65,535 rows.

    `indptr` int64 (n+1,) starts at 0; `terms` uint16 or uint32; `weights` float32.

    >>> parts = np.array([0, 2, 3]), np.array([1, 2, 1], np.uint16), np.array([1, 1, 2], "f4")
    >>> inverted = invert_window(*parts, vocab_size=3)
    >>> inverted.terms.tolist(), inverted.rows.tolist(), inverted.codes.tolist()
    ([1, 2], [1, 0, 0], [255, 128, 255])
    """
    n_rows = len(indptr) - 1
    if n_rows > MAX_WINDOW_ROWS:
        raise ValueError(f"a window has {n_rows} rows; it can hold {MAX_WINDOW_ROWS}")
    nnz = int(indptr[-1])
    if nnz < _FEW and f"{__package__}.kernels" not in sys.modules:
        return _invert_by_sorting(indptr, terms[:nnz], weights[:nnz])
    from . import kernels

    starts = np.zeros(vocab_size + 1, np.int64)
    maxima, tiers = np.zeros(vocab_size, np.float32), np.zeros(vocab_size * TIERS, np.int32)
    rows, codes = np.empty(nnz, np.uint16), np.empty(nnz, np.uint8)
    kernels.invert(
        frozen(indptr),
        frozen(terms[:nnz]),
        frozen(weights[:nnz]),
        starts,
        maxima,
        tiers,
        np.empty(nnz, np.uint32),
        rows,
        codes,
    )
    used = np.flatnonzero(maxima)
    ends = tiers.reshape(-1, TIERS)[used].astype(np.uint16).reshape(-1)
    return Inverted(used, np.append(starts[used], nnz), ends, maxima[used], rows, codes)


def _invert_by_sorting(
    indptr: npt.NDArray[np.int64], terms: npt.NDArray[Any], weights: npt.NDArray[np.float32]
) -> Inverted:
    used, lists = np.unique(terms, return_inverse=True)
    n_lists = len(used)
    maxima = np.zeros(n_lists, np.float32)
    np.maximum.at(maxima, lists, weights)
    codes = np.clip(np.ceil(weights / maxima[lists] * np.float32(255)), 1, 255).astype(np.uint8)
    tier = lists * TIERS + (TIERS - 1 - (codes >> 4))
    order = np.argsort(tier, kind="stable")
    rows = np.repeat(np.arange(len(indptr) - 1, dtype=np.uint16), np.diff(indptr))
    counts = np.bincount(tier, minlength=n_lists * TIERS).reshape(n_lists, TIERS)
    starts = np.concatenate([[0], np.cumsum(counts.sum(axis=1))]).astype(np.int64)
    ends = np.cumsum(counts, axis=1).astype(np.uint16).reshape(-1)
    return Inverted(used.astype(np.int64), starts, ends, maxima, rows[order], codes[order])
