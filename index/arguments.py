"""What the search kernels are given, by name: a segment's arrays, masks, work space, hits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

#: Bytes that kernels compare at once with one number. Processors that can take 64 run slower then.
COMPARED = 32


class Lists(NamedTuple):
    """A segment's postings, see `windows.Postings`; `heads` is `records` seen as float32."""

    windows: npt.NDArray[np.int64]
    lists: npt.NDArray[np.uint32]
    records: npt.NDArray[np.uint32]
    heads: npt.NDArray[np.float32]
    entries: npt.NDArray[np.uint32]


class Rows(NamedTuple):
    """A segment's rows: the forward index as CSR, and the documents that rows belong to.

    Of `weights` and `halves`, the bits of float16, one has the weights and the other is (0,).
    `documents` uint32 (n_rows,), or (0,) when each row is a document; `id_rank` uint32 (n_docs,)
    orders documents by id. `lengths` and `constants` are those of `saturation.Saturation`;
    lengths is (0,) where weights count as they are.
    """

    indptr: npt.NDArray[np.int64]
    terms: npt.NDArray[Any]
    weights: npt.NDArray[np.float32]
    halves: npt.NDArray[np.uint16]
    documents: npt.NDArray[np.uint32]
    id_rank: npt.NDArray[np.uint32]
    lengths: npt.NDArray[np.float32]
    constants: npt.NDArray[np.float32]


class Masks(NamedTuple):
    """Documents that are out: bool (n_docs,), or (0,) where none is deleted, all are allowed."""

    deleted: npt.NDArray[np.bool_]
    allowed: npt.NDArray[np.bool_]


class Query(NamedTuple):
    """Room for a query: what counts is the first terms, ascending, and their weights.

    In a thread's table several queries may follow one another, see `Work.spans`.
    """

    terms: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]


class Work(NamedTuple):
    """A thread's work space.

    All zero between searches: `sums` uint16, a multiple of 128 above any window, and the same
    memory as uint8, `small_sums`.
    Anything: `peaks`, a place for each 128 rows; `found`, a place for each term and window;
    `bounds`, `cuts` and `done`, a place for each term; `candidates`, `candidate_sums`;
    `histogram` and `peak_counts`, 257 places; `listed` and `parts`, see `shortlist`; `touched` and
    `touched_sums`, see `touched`.
    `counts`: postings added, rows scored and blocks opened are added.
    `spans`: where each query of a call begins and ends. `told`: for each query hits, postings and
    scored rows.
    """

    sums: npt.NDArray[np.uint16]
    small_sums: npt.NDArray[np.uint8]
    peaks: npt.NDArray[np.uint16]
    found: npt.NDArray[np.int64]
    bounds: npt.NDArray[np.float32]
    cuts: npt.NDArray[np.int64]
    done: npt.NDArray[np.int64]
    candidates: npt.NDArray[np.int64]
    candidate_sums: npt.NDArray[np.uint16]
    histogram: npt.NDArray[np.int64]
    peak_counts: npt.NDArray[np.int64]
    listed: npt.NDArray[np.int64]
    parts: npt.NDArray[np.uint8]
    counts: npt.NDArray[np.int64]
    touched: npt.NDArray[np.int32]
    touched_sums: npt.NDArray[np.uint16]
    spans: npt.NDArray[np.int64]
    told: npt.NDArray[np.int64]


class Hits(NamedTuple):
    """Room for hits, more than k: filled best first."""

    scores: npt.NDArray[np.float32]
    ranks: npt.NDArray[np.uint32]
    rows: npt.NDArray[np.int64]


def table_of(arrays: Iterable[npt.NDArray[Any]]) -> npt.NDArray[np.int64]:
    """Return the addresses and lengths of arrays, for `tables`; somebody has to keep the arrays.

    >>> table_of([np.zeros(3), np.zeros(0)])[1::2].tolist()
    [3, 0]
    """
    return np.array([(array.ctypes.data, len(array)) for array in arrays], np.int64).reshape(-1)
