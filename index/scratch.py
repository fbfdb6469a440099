"""What is kept between queries: a thread's arrays, and a segment's as the kernels take them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from lsr.errors import IndexFormatError
from lsr.sparse import SparseVector

from .arguments import COMPARED, Hits, Lists, Query, Rows, Work, table_of
from .saturation import NONE
from .searchable import Searchable
from .windows import BLOCK, MAX_WINDOW_ROWS, MOST_POSTINGS, RECORD, TIERS, Postings, frozen

#: Queries that a kernel takes in one call at most.
CHUNK = 64


class Arguments(NamedTuple):
    """A segment as the kernels take it, made once.

    `table` has the addresses of `lists` and `rows`, `kind` the type of the terms. `lightest` and
    `heaviest` are of the lists' heaviest weights.
    """

    table: npt.NDArray[np.int64]
    kind: npt.NDArray[Any]
    vocab_size: int
    lightest: float
    heaviest: float
    lists: Lists
    rows: Rows
    lengths: list[npt.NDArray[np.int64]]  # postings of each term; filled when first needed

    def lengths_of(self, terms: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the number of postings of each of the terms."""
        if not self.lengths:
            records = self.lists.records.reshape(-1, RECORD)
            totals = np.append(np.int64(0), records[:, 1 + TIERS].astype(np.int64) - records[:, 1])
            self.lengths.append(totals[self.lists.lists].reshape(-1, self.vocab_size).sum(axis=0))
        return self.lengths[0][terms]


class Scratch:
    """The arrays of one thread: nothing is allocated for a query but its results.

    The hits of the segments lie one after another in `hits` and `owners`. Rooms grow when a
    query needs more of them.
    """

    def __init__(self) -> None:
        sums = np.zeros(MAX_WINDOW_ROWS + BLOCK, np.uint16)
        self.query = Query(np.empty(256, np.int64), np.empty(256, np.float32))
        self.hits = Hits(np.empty(0, np.float32), np.empty(0, np.uint32), np.empty(0, np.int64))
        self.owners = np.empty(0, np.int64)
        self._table: npt.NDArray[np.int64] | None = None
        self.work = Work(
            sums=sums,
            small_sums=sums.view(np.uint8)[: MAX_WINDOW_ROWS + BLOCK],
            peaks=np.empty(MAX_WINDOW_ROWS // BLOCK + BLOCK, np.uint16),
            found=np.empty(1024, np.int64),
            bounds=np.empty(256, np.float32),
            cuts=np.empty(256, np.int64),
            done=np.empty(256, np.int64),
            candidates=np.empty(2048, np.int64),
            candidate_sums=np.empty(2048, np.uint16),
            histogram=np.empty(257, np.int64),
            peak_counts=np.empty(257, np.int64),
            listed=np.empty(1024, np.int64),
            parts=np.empty(1024, np.uint8),
            counts=np.zeros(3, np.int64),
            touched=np.empty(MOST_POSTINGS + 1, np.int32),
            touched_sums=np.empty(MOST_POSTINGS + COMPARED, np.uint16),
            spans=np.zeros(2 * CHUNK, np.int64),
            told=np.zeros(3 * CHUNK, np.int64),
        )

    def take(self, query: SparseVector) -> int:
        """Copy the query in; return its number of terms."""
        n_terms = len(query.terms)
        if n_terms > len(self.query.terms):
            self._make_terms(2 * n_terms)
        self.query.terms[:n_terms] = query.terms
        self.query.weights[:n_terms] = query.weights
        return n_terms

    def take_all(self, queries: Sequence[SparseVector], vocab_size: int) -> int:
        """Copy some queries in, `CHUNK` at most; return the most terms that one of them has."""
        lengths = np.array([len(query.terms) for query in queries])
        ends = np.cumsum(lengths)
        total = int(ends[-1])
        if total > len(self.query.terms):
            self._make_terms(2 * total)
        terms, weights = self.query
        np.concatenate([query.terms for query in queries], out=terms[:total])
        np.concatenate([query.weights for query in queries], out=weights[:total])
        spans = self.work.spans
        spans[: 2 * len(queries) : 2], spans[1 : 2 * len(queries) : 2] = ends - lengths, ends
        if int(terms[:total].max(initial=0)) >= vocab_size:
            for at in range(len(queries)):
                start, stop = spans[2 * at : 2 * at + 2].tolist()
                spans[2 * at + 1] = start + np.searchsorted(terms[start:stop], vocab_size)
        return int(lengths.max())

    def _make_terms(self, size: int) -> None:
        self.query = Query(np.empty(size, np.int64), np.empty(size, np.float32))
        self._replace(
            bounds=np.empty(size, np.float32),
            cuts=np.empty(size, np.int64),
            done=np.empty(size, np.int64),
        )

    def known(self, n_terms: int, vocab_size: int) -> int:
        """Return how many of the query's terms are in a vocabulary of that size."""
        if n_terms and self.query.terms.item(n_terms - 1) >= vocab_size:
            return int(np.searchsorted(self.query.terms[:n_terms], vocab_size))
        return n_terms

    def make_work(self, segment: Arguments, n_terms: int) -> None:
        """Make work space for so many terms of a segment."""
        n_lists = n_terms * (len(segment.lists.windows) - 1)
        if n_lists > len(self.work.found):
            self._replace(found=np.empty(2 * n_lists, np.int64))

    def table(self) -> npt.NDArray[np.int64]:
        """Return the addresses of the arrays; until one of them has to grow."""
        if self._table is None:
            self._table = table_of([*self.query, *self.hits, *self.work])
        return self._table

    def make_shortlist(self, wanted: int) -> None:
        """Make room for a shortlist of so many rows while it grows."""
        if 2 * wanted + BLOCK > len(self.work.listed):
            size = 4 * wanted + BLOCK
            self._replace(listed=np.empty(size, np.int64), parts=np.empty(size, np.uint8))

    def make_room(self, n_hits: int) -> None:
        """Grow the hits' arrays to hold that many, and keep what they hold."""
        if n_hits <= len(self.owners):
            return
        size = max(n_hits, 2 * len(self.owners), 128)
        scores, ranks, rows = self.hits
        self.hits = Hits(_grown(scores, size), _grown(ranks, size), _grown(rows, size))
        self.owners = _grown(self.owners, size)
        self._table = None

    def _replace(self, **arrays: npt.NDArray[Any]) -> None:
        self.work = self.work._replace(**arrays)
        self._table = None


_local = threading.local()
_prepared: WeakKeyDictionary[Searchable, Arguments] = WeakKeyDictionary()
_NO_DOCUMENTS = frozen(np.zeros(0, np.uint32))
_NO_WEIGHTS, _NO_HALVES = frozen(np.zeros(0, np.float32)), frozen(np.zeros(0, np.uint16))


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
        windows = frozen(segment.postings.windows, np.int64)
        lists, records, entries = (frozen(array, np.uint32) for array in segment.postings[1:])
        heads = frozen(records.view(np.float32))
        _check(segment, Postings(windows, lists, records, entries))
        documents = segment.row_document
        rows = Rows(
            frozen(segment.forward[0], np.int64),
            _line(frozen(segment.forward[1])),
            *_weights(segment.forward[2]),
            _NO_DOCUMENTS if documents is None else frozen(documents, np.uint32),
            frozen(segment.id_rank, np.uint32),
            *(segment.saturation or NONE),
        )
        maxima = heads[::RECORD]
        extremes = (float(maxima.min()), float(maxima.max())) if len(maxima) else (np.inf, 0.0)
        postings = Lists(windows, lists, records, heads, entries)
        found = _prepared[segment] = Arguments(
            table_of([*postings, *rows]),
            np.empty(0, rows.terms.dtype),
            segment.vocab_size,
            *extremes,
            postings,
            rows,
            [],
        )
    return found


def _line(terms: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return so many terms at least as kernels compare at once."""
    missing = COMPARED // terms.itemsize - len(terms)
    return frozen(np.pad(terms, (0, missing))) if missing > 0 else terms


def _weights(
    weights: npt.NDArray[Any],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint16]]:
    """Return the weights of rows as kernels take them: `weights` and `halves` of `Rows`."""
    if weights.dtype == np.float16:
        return _NO_WEIGHTS, frozen(frozen(weights).view(np.uint16))
    return frozen(weights, np.float32), _NO_HALVES


def _grown(old: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    new = np.empty(size, old.dtype)
    new[: len(old)] = old
    return new


def _check(segment: Searchable, postings: Postings) -> None:
    """Refuse arrays that would lead the kernels, which check no bounds, outside of them."""
    windows, lists, records, entries = postings
    places = records.reshape(-1, RECORD)[:, 1:] if len(records) % RECORD == 0 else records[:0]
    sound = (
        len(records) % RECORD == 0
        and len(lists) == (len(windows) - 1) * segment.vocab_size
        and (int(windows[0]), int(windows[-1])) == (0, segment.n_rows)
        and (np.diff(windows) >= 0).all()
        and (np.diff(windows) <= MAX_WINDOW_ROWS).all()
        and int(lists.max(initial=0)) == len(places)
        and len(entries) == len(segment.forward[1]) == int(segment.forward[0][-1])
        and bool((places[:, 1:] >= places[:, :-1]).all())
        and _fit_windows(segment, postings, places)
    )
    if not sound:
        raise IndexFormatError(
            f"the postings of {segment!r} do not fit together", hint="check the index: lsr check"
        )


def _fit_windows(segment: Searchable, postings: Postings, places: npt.NDArray[np.uint32]) -> bool:
    """Return whether the lists of each window lie within its entries."""
    sizes = np.diff(segment.forward[0][postings.windows])
    last = postings.lists.reshape(-1, segment.vocab_size).max(axis=1, initial=0)
    first = 0
    for most, size in zip(last.tolist(), sizes.tolist(), strict=True):
        if int(places[first:most, -1].max(initial=0)) > size:
            return False
        first = max(first, most)
    return True
