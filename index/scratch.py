"""What is kept between queries: a thread's arrays, and a segment's as the kernels take them."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from lsr.errors import IndexFormatError
from lsr.sparse import SparseVector

from .searchable import Searchable
from .windows import BLOCK, MAX_WINDOW_ROWS, TIERS, frozen

#: Where the size of the vocabulary is in `Arguments.lists`.
VOCABULARY = 10


class Arguments(NamedTuple):
    """A segment's arrays as the kernels take them, made once: one array type for each place."""

    lists: tuple[Any, ...]  # the arguments of `accumulate` before `deleted`
    forward: tuple[Any, ...]
    documents: npt.NDArray[np.uint32]
    id_rank: npt.NDArray[np.uint32]
    lengths: list[npt.NDArray[np.int64]]  # postings of each term; filled when first needed

    def lengths_of(self, terms: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the number of postings of each of the terms."""
        if not self.lengths:
            _, lists, _, tiers, *_ = self.lists
            totals = np.append(np.int64(0), tiers[TIERS - 1 :: TIERS])
            vocab_size = self.lists[VOCABULARY]
            self.lengths.append(totals[lists].reshape(-1, vocab_size).sum(axis=0))
        return self.lengths[0][terms]


@dataclass(slots=True)
class Scratch:
    """The arrays of one thread: nothing is allocated for a query but its results.

    The hits of the segments lie one after another in `scores`, `ranks`, `rows` and `owners`.
    """

    sums: npt.NDArray[np.uint16] = field(
        default_factory=lambda: np.zeros(MAX_WINDOW_ROWS + BLOCK, np.uint16)
    )
    peaks: npt.NDArray[np.uint16] = field(
        default_factory=lambda: np.empty(MAX_WINDOW_ROWS // BLOCK + 1, np.uint16)
    )
    candidates: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(2048, np.int64))
    candidate_sums: npt.NDArray[np.uint16] = field(
        default_factory=lambda: np.empty(2048, np.uint16)
    )
    partial: npt.NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    order: npt.NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32))
    listed: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(2, np.int64))
    flags: npt.NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8))
    query: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    terms: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(256, np.int64))
    weights: npt.NDArray[np.float32] = field(default_factory=lambda: np.empty(256, np.float32))
    found: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(768, np.int64))
    bounds: npt.NDArray[np.float32] = field(default_factory=lambda: np.empty(256, np.float32))
    scores: npt.NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    ranks: npt.NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32))
    rows: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    owners: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def take(self, query: SparseVector) -> int:
        """Copy the query in; return its number of terms."""
        n_terms = len(query.terms)
        if n_terms > len(self.terms):
            self.terms = np.empty(2 * n_terms, np.int64)
            self.weights = np.empty(2 * n_terms, np.float32)
            self.found = np.empty(6 * n_terms, np.int64)
            self.bounds = np.empty(2 * n_terms, np.float32)
        self.terms[:n_terms] = query.terms
        self.weights[:n_terms] = query.weights
        return n_terms

    def known(self, n_terms: int, vocab_size: int) -> int:
        """Return how many of the query's terms are in a vocabulary of that size."""
        if n_terms and self.terms[n_terms - 1] >= vocab_size:
            return int(np.searchsorted(self.terms[:n_terms], vocab_size))
        return n_terms

    def work(self, vocab_size: int) -> tuple[Any, ...]:
        """Return the arguments of `accumulate` from `sums` to `counts`."""
        if vocab_size > len(self.query):
            self.flags = np.zeros(vocab_size, np.uint8)
            self.query = np.zeros(vocab_size, np.float32)
        return (
            self.sums,
            self.peaks,
            self.flags,
            self.query,
            self.found,
            self.bounds,
            self.candidates,
            self.candidate_sums,
            self.counts,
        )

    def shortlist(self, wanted: int) -> tuple[Any, Any, Any]:
        """Return the arrays that hold a shortlist of so many rows while it grows."""
        if 2 * wanted + BLOCK > len(self.listed):
            size = 3 * wanted + BLOCK
            self.partial = np.empty(size, np.float32)
            self.order, self.listed = np.empty(size, np.uint32), np.empty(size, np.int64)
        return self.partial, self.order, self.listed

    def make_room(self, n_hits: int) -> None:
        """Grow the hits' arrays to hold that many, and keep what they hold."""
        if n_hits <= len(self.scores):
            return
        size = max(n_hits, 2 * len(self.scores), 128)
        for name in ("scores", "ranks", "rows", "owners"):
            old = getattr(self, name)
            new = np.empty(size, old.dtype)
            new[: len(old)] = old
            setattr(self, name, new)


_local = threading.local()
_prepared: WeakKeyDictionary[Searchable, Arguments] = WeakKeyDictionary()
_NO_DOCUMENTS = frozen(np.zeros(0, np.uint32))


def scratch_of_thread() -> Scratch:
    """Return the arrays of the calling thread."""
    scratch: Scratch | None = getattr(_local, "scratch", None)
    if scratch is None:
        scratch = _local.scratch = Scratch()
    return scratch


def arguments_of(segment: Searchable) -> Arguments:
    """Return a segment's arrays as kernels take them; made, and checked, at its first query."""
    found = _prepared.get(segment)
    if found is None:
        postings = tuple(frozen(array) for array in segment.postings)
        _check(segment, *postings)
        documents = segment.row_document
        row_document = _NO_DOCUMENTS if documents is None else frozen(documents)
        id_rank = frozen(segment.id_rank)
        forward = tuple(frozen(array) for array in segment.forward)
        maxima = postings[4]
        extremes = (float(maxima.min()), float(maxima.max())) if len(maxima) else (np.inf, 0.0)
        lists = *postings, *forward, segment.vocab_size, row_document, id_rank, *extremes
        found = _prepared[segment] = Arguments(
            lists,
            forward,
            row_document,
            id_rank,
            [],
        )
    return found


def _check(
    segment: Searchable,
    windows: npt.NDArray[np.int64],
    lists: npt.NDArray[np.uint32],
    starts: npt.NDArray[np.int64],
    tiers: npt.NDArray[np.uint16],
    maxima: npt.NDArray[np.float32],
    rows: npt.NDArray[np.uint16],
    codes: npt.NDArray[np.uint8],
) -> None:
    """Refuse arrays that would lead the kernels, which check no bounds, outside of them."""
    n_lists = len(maxima)
    sound = (
        len(lists) == (len(windows) - 1) * segment.vocab_size
        and (int(windows[0]), int(windows[-1])) == (0, segment.n_rows)
        and (np.diff(windows) >= 0).all()
        and (np.diff(windows) <= MAX_WINDOW_ROWS).all()
        and len(starts) == n_lists + 1
        and len(tiers) == n_lists * TIERS
        and int(lists.max(initial=0)) == n_lists
        and int(starts[0]) == 0
        and int(starts[-1]) == len(rows) == len(codes)
        and bool((np.diff(starts) == tiers[TIERS - 1 :: TIERS]).all())
    )
    if not sound:
        raise IndexFormatError(
            f"the postings of {segment!r} do not fit together", hint="check the index: lsr check"
        )
