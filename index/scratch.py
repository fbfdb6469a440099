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
from .windows import BLOCK, MAX_WINDOW_ROWS, frozen


class Arguments(NamedTuple):
    """A segment's arrays as the kernels take them, made once: one array type for each place."""

    lists: tuple[Any, ...]  # the first seven arguments of `accumulate`
    forward: tuple[Any, ...]
    documents: npt.NDArray[np.uint32]
    id_rank: npt.NDArray[np.uint32]
    lengths: list[npt.NDArray[np.int64]]  # postings of each term; filled when first needed


@dataclass(slots=True)
class Scratch:
    """The arrays of one thread: nothing is allocated for a query but its results.

    The hits of the segments lie one after another in `scores`, `ranks`, `rows` and `owners`.
    """

    acc: npt.NDArray[np.float32] = field(
        default_factory=lambda: np.zeros(MAX_WINDOW_ROWS + BLOCK, np.float32)
    )
    query: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    terms: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(256, np.int64))
    weights: npt.NDArray[np.float32] = field(default_factory=lambda: np.empty(256, np.float32))
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
        self.terms[:n_terms] = query.terms
        self.weights[:n_terms] = query.weights
        return n_terms

    def known(self, n_terms: int, vocab_size: int) -> int:
        """Return how many of the query's terms are in a vocabulary of that size."""
        if n_terms and self.terms[n_terms - 1] >= vocab_size:
            return int(np.searchsorted(self.terms[:n_terms], vocab_size))
        return n_terms

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

    def dense(self, vocab_size: int) -> npt.NDArray[np.float32]:
        """Return the zeros that hold a query while rows are scored."""
        if vocab_size > len(self.query):
            self.query = np.zeros(vocab_size, np.float32)
        return self.query


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
        windows, indptr, rows, weights = (frozen(array) for array in segment.postings)
        _check(segment, windows, indptr, rows, weights)
        documents = segment.row_document
        row_document = _NO_DOCUMENTS if documents is None else frozen(documents)
        id_rank = frozen(segment.id_rank)
        lists = windows, indptr, rows, weights, segment.vocab_size, row_document, id_rank
        forward = tuple(frozen(array) for array in segment.forward)
        found = _prepared[segment] = Arguments(lists, forward, row_document, id_rank, [])
    return found


def _check(
    segment: Searchable,
    windows: npt.NDArray[np.int64],
    indptr: npt.NDArray[np.int64],
    rows: npt.NDArray[np.uint16],
    weights: npt.NDArray[np.float32],
) -> None:
    """Refuse arrays that would lead the kernels, which check no bounds, outside of them."""
    sound = (
        len(indptr) == (len(windows) - 1) * segment.vocab_size + 1
        and (int(windows[0]), int(windows[-1])) == (0, segment.n_rows)
        and (np.diff(windows) >= 0).all()
        and (np.diff(windows) <= MAX_WINDOW_ROWS).all()
        and int(indptr[-1]) == len(rows) == len(weights)
    )
    if not sound:
        raise IndexFormatError(
            f"the postings of {segment!r} do not fit together", hint="check the index: lsr check"
        )
