"""Top-k search over the segments of a snapshot: which way to take, and merging what they find."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from lsr.errors import ConfigError
from lsr.sparse import SparseVector, SparseVectors

from . import kernels
from .kernels import BLOCK, MAX_WINDOW_ROWS, frozen

Allowed = Sequence[npt.NDArray[np.bool_] | None] | None

#: What the two ways cost, in time per posting: a row scored through the forward index costs a
#: random access and a multiplication for each of its terms; a window is swept whatever happens.
SCAN_ROW, SCAN_TERM, SWEEP_ROW = 60.0, 1.0, 0.15

#: The smallest float32 above 0: "at least this" means "above 0".
TINY = np.float32(1.4e-45)

_CHUNK = 16


class Postings(Protocol):
    """The four arrays of a segment's inverted lists, window by window."""

    @property
    def windows(self) -> npt.NDArray[np.int64]: ...  # noqa: D102
    @property
    def indptr(self) -> npt.NDArray[np.int64]: ...  # noqa: D102
    @property
    def rows(self) -> npt.NDArray[np.uint16]: ...  # noqa: D102
    @property
    def weights(self) -> npt.NDArray[np.float32]: ...  # noqa: D102


class Searchable(Protocol):
    """What search reads of a segment; `index.segment.Segment` has it."""

    @property
    def n_documents(self) -> int: ...  # noqa: D102
    @property
    def n_rows(self) -> int: ...  # noqa: D102
    @property
    def vocab_size(self) -> int: ...  # noqa: D102
    @property
    def forward(self) -> tuple[npt.NDArray[np.int64], Any, npt.NDArray[np.float32]]: ...  # noqa: D102
    @property
    def postings(self) -> Postings: ...  # noqa: D102
    @property
    def row_document(self) -> npt.NDArray[np.uint32] | None: ...  # noqa: D102
    @property
    def document_rows(self) -> npt.NDArray[np.int64] | None: ...  # noqa: D102
    @property
    def id_rank(self) -> npt.NDArray[np.uint32]: ...  # noqa: D102
    def ids(self, ordinals: Sequence[int]) -> list[str]: ...  # noqa: D102


class Live(Protocol):
    """A segment and its tombstones; `index.store.LiveSegment` is one."""

    @property
    def segment(self) -> Searchable: ...  # noqa: D102
    @property
    def deleted(self) -> npt.NDArray[np.bool_] | None: ...  # noqa: D102


class Found(NamedTuple):
    """What one query found, best first, one entry for each document.

    `segments` int64 numbers the segment in the snapshot, `documents` int64 the document in the
    segment, `rows` int64 its best row there, `scores` float32. `path` is `accumulate`, `scan`,
    or `empty` when there was nothing to score.
    """

    segments: npt.NDArray[np.int64]
    documents: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    path: str


class _Arguments(NamedTuple):
    """A segment's arrays as the kernels take them, made once: one array type for each place."""

    lists: tuple[Any, ...]  # the first seven arguments of `accumulate`
    forward: tuple[Any, ...]
    documents: npt.NDArray[np.uint32]
    id_rank: npt.NDArray[np.uint32]
    costs: list[npt.NDArray[np.int64]]  # postings of each term; filled when first needed


@dataclass(slots=True)
class _Scratch:
    """The arrays of one thread: nothing is allocated for a query but its results."""

    acc: npt.NDArray[np.float32] = field(
        default_factory=lambda: np.zeros(MAX_WINDOW_ROWS + BLOCK, np.float32)
    )
    query: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    terms: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(256, np.int64))
    weights: npt.NDArray[np.float32] = field(default_factory=lambda: np.empty(256, np.float32))
    scores: npt.NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    ranks: npt.NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32))
    rows: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def take(self, query: SparseVector) -> int:
        """Copy the query in; return its number of terms."""
        n_terms = len(query.terms)
        if n_terms > len(self.terms):
            self.terms = np.empty(2 * n_terms, np.int64)
            self.weights = np.empty(2 * n_terms, np.float32)
        self.terms[:n_terms] = query.terms
        self.weights[:n_terms] = query.weights
        return n_terms

    def make_room(self, n_hits: int) -> None:
        if n_hits > len(self.scores):
            size = max(n_hits, 2 * len(self.scores), 128)
            self.scores = np.empty(size, np.float32)
            self.ranks = np.empty(size, np.uint32)
            self.rows = np.empty(size, np.int64)

    def dense(self, vocab_size: int) -> npt.NDArray[np.float32]:
        if vocab_size > len(self.query):
            self.query = np.zeros(vocab_size, np.float32)
        return self.query


_local = threading.local()
_prepared: WeakKeyDictionary[Searchable, _Arguments] = WeakKeyDictionary()
_ALL = frozen(np.zeros(0, np.bool_))
_NO_DOCUMENTS = frozen(np.zeros(0, np.uint32))


def search(segments: Sequence[Live], query: SparseVector, k: int, allowed: Allowed = None) -> Found:
    """Return the k best live documents of all segments by inner product, best first.

    Equal scores are ordered by document id (UTF-8 bytes). Documents that share no term with the
    query are not found, so fewer than k may come back. `allowed` holds for each segment the
    documents to consider, bool (n_documents,), or None for all. Terms beyond the vocabulary are
    ignored. Sums beyond float32 are inf and come first. Raises ConfigError when k is below 1.
    """
    if k < 1:
        raise ConfigError(f"k is {k}; it must be at least 1")
    scratch = _scratch()
    n_terms = scratch.take(query)
    parts: list[tuple[int, _Part]] = []
    threshold = TINY
    for number, live in enumerate(segments):
        keep = None if allowed is None else allowed[number]
        part = _search_segment(live, scratch, n_terms, k, keep, threshold)
        if part is None:
            continue
        parts.append((number, part))
        if len(part.scores) >= k and part.scores[k - 1] > threshold:
            threshold = part.scores[k - 1]
    if len(parts) == 1:
        number, part = parts[0]
        return Found(
            np.full(len(part.rows), number), part.documents, part.rows, part.scores, part.path
        )
    return _merge(segments, parts, k)


def search_many(
    segments: Sequence[Live],
    queries: SparseVectors | Sequence[SparseVector],
    k: int,
    allowed: Allowed = None,
    threads: int | None = None,
) -> list[Found]:
    """Return what each query finds, in order: the same as `search` one by one.

    `threads` of them are searched at a time, as many as there are cores when it is None; the
    kernels run without the interpreter lock. Raises ConfigError when it is below 1.
    """
    if threads is not None and threads < 1:
        raise ConfigError(f"threads is {threads}; it must be at least 1")
    asked = list(queries)
    workers = min(threads or os.cpu_count() or 1, -(-len(asked) // _CHUNK))
    if workers <= 1:
        return [search(segments, query, k, allowed) for query in asked]

    def part(start: int) -> list[Found]:
        chunk = asked[start : start + _CHUNK]
        return [search(segments, query, k, allowed) for query in chunk]

    with ThreadPoolExecutor(workers, thread_name_prefix="lsr-search") as pool:
        return [found for chunk in pool.map(part, range(0, len(asked), _CHUNK)) for found in chunk]


def score_rows(
    segment: Searchable, query: SparseVector, rows: npt.ArrayLike
) -> npt.NDArray[np.float32]:
    """Return the scores of the given rows of a segment, the same to the bit as `search` gives."""
    scratch = _scratch()
    n_terms = _known(scratch, scratch.take(query), segment.vocab_size)
    listed = frozen(np.asarray(rows, np.int64))
    return _score(_arguments(segment), segment, scratch, n_terms, listed)


class _Part(NamedTuple):
    documents: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    path: str


def _search_segment(
    live: Live,
    scratch: _Scratch,
    n_terms: int,
    k: int,
    keep: npt.NDArray[np.bool_] | None,
    threshold: np.float32,
) -> _Part | None:
    segment, deleted = live.segment, live.deleted
    n_terms = _known(scratch, n_terms, segment.vocab_size)
    if not n_terms or not segment.n_documents:
        return None
    arguments = _arguments(segment)
    k = min(k, segment.n_documents)
    scratch.make_room(k)
    path = "accumulate"
    if keep is not None:
        listed = _rows_to_scan(segment, arguments, scratch.terms[:n_terms], keep, deleted)
        if listed is not None:
            path = "scan"
            scores = frozen(_score(arguments, segment, scratch, n_terms, listed))
            size = kernels.best_rows(
                listed,
                scores,
                arguments.documents,
                arguments.id_rank,
                k,
                threshold,
                scratch.scores,
                scratch.ranks,
                scratch.rows,
            )
    if path == "accumulate":
        size = kernels.accumulate(
            *arguments.lists,
            _ALL if deleted is None else frozen(deleted),
            _ALL if keep is None else frozen(keep),
            scratch.terms,
            scratch.weights,
            n_terms,
            k,
            threshold,
            scratch.acc,
            scratch.scores,
            scratch.ranks,
            scratch.rows,
        )
    rows = scratch.rows[:size].copy()
    documents = rows if segment.row_document is None else arguments.documents[rows].astype(np.int64)
    return _Part(documents, rows, scratch.scores[:size].copy(), path)


def _rows_to_scan(
    segment: Searchable,
    arguments: _Arguments,
    terms: npt.NDArray[np.int64],
    keep: npt.NDArray[np.bool_],
    deleted: npt.NDArray[np.bool_] | None,
) -> npt.NDArray[np.int64] | None:
    """Return the rows that survive, when scoring them one by one is clearly cheaper."""
    n_rows = segment.n_rows
    if not arguments.costs:
        indptr = arguments.lists[1]
        ends = np.diff(indptr).reshape(-1, segment.vocab_size)
        arguments.costs.append(ends.sum(axis=0))
    sweep = float(arguments.costs[0][terms].sum()) + n_rows * SWEEP_ROW
    mean_terms = len(arguments.forward[1]) / max(n_rows, 1)
    rows_per_document = n_rows / segment.n_documents
    most = sweep / (SCAN_ROW + SCAN_TERM * mean_terms) / rows_per_document
    if np.count_nonzero(keep) > most:
        return None
    survivors = np.flatnonzero(keep if deleted is None else keep & ~deleted)
    first = segment.document_rows
    if first is None:
        return frozen(survivors.astype(np.int64, copy=False))
    counts = first[survivors + 1] - first[survivors]
    skipped = np.cumsum(counts) - counts
    return frozen(np.repeat(first[survivors] - skipped, counts) + np.arange(counts.sum()))


def _score(
    arguments: _Arguments,
    segment: Searchable,
    scratch: _Scratch,
    n_terms: int,
    listed: npt.NDArray[np.int64],
) -> npt.NDArray[np.float32]:
    out = np.empty(len(listed), np.float32)
    dense = scratch.dense(segment.vocab_size)
    kernels.score_rows(
        *arguments.forward, scratch.terms, scratch.weights, n_terms, listed, dense, out
    )
    return out


def _merge(segments: Sequence[Live], parts: list[tuple[int, _Part]], k: int) -> Found:
    """Return the k best of all parts; ids are read only where scores tie between documents."""
    if not parts:
        none = np.empty(0, np.int64)
        return Found(none, none, none, np.empty(0, np.float32), "empty")
    owner = np.concatenate([np.full(len(part.rows), number) for number, part in parts])
    documents = np.concatenate([part.documents for _, part in parts])
    rows = np.concatenate([part.rows for _, part in parts])
    scores = np.concatenate([part.scores for _, part in parts])
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = ranked[min(k, len(ranked)) - 1] if len(ranked) else np.float32(0)
    equal = np.flatnonzero((ranked[1:] == ranked[:-1]) & (ranked[1:] >= last))
    if len(equal):
        _order_ties(segments, order, equal, owner, documents)
    order = order[:k]
    paths = {part.path for _, part in parts}
    path = "accumulate" if "accumulate" in paths else "scan"
    return Found(owner[order], documents[order], rows[order], scores[order], path)


def _order_ties(
    segments: Sequence[Live],
    order: npt.NDArray[np.int64],
    equal: npt.NDArray[np.int64],
    owner: npt.NDArray[np.int64],
    documents: npt.NDArray[np.int64],
) -> None:
    """Sort each run of equal scores in `order` by document id, in place.

    equal: the places in `order` whose score is that of the next place.
    """
    runs = np.split(equal, np.flatnonzero(np.diff(equal) > 1) + 1)
    for run in runs:
        start, stop = int(run[0]), int(run[-1]) + 2
        group = order[start:stop]
        if (owner[group] == owner[group[0]]).all():
            continue  # one segment: its hits are in order of id already
        names: dict[int, bytes] = {}
        for number in np.unique(owner[group]).tolist():
            mine = group[owner[group] == number]
            found = segments[number].segment.ids(documents[mine].tolist())
            names.update(zip(mine.tolist(), (name.encode() for name in found), strict=True))
        order[start:stop] = sorted(group.tolist(), key=names.__getitem__)


def _known(scratch: _Scratch, n_terms: int, vocab_size: int) -> int:
    if n_terms and scratch.terms[n_terms - 1] >= vocab_size:
        return int(np.searchsorted(scratch.terms[:n_terms], vocab_size))
    return n_terms


def _scratch() -> _Scratch:
    scratch: _Scratch | None = getattr(_local, "scratch", None)
    if scratch is None:
        scratch = _local.scratch = _Scratch()
    return scratch


def _arguments(segment: Searchable) -> _Arguments:
    found = _prepared.get(segment)
    if found is None:
        postings, documents = segment.postings, segment.row_document
        row_document = _NO_DOCUMENTS if documents is None else frozen(documents)
        id_rank = frozen(segment.id_rank)
        lists = (
            frozen(postings.windows),
            frozen(postings.indptr),
            frozen(postings.rows),
            frozen(postings.weights),
            segment.vocab_size,
            row_document,
            id_rank,
        )
        forward = tuple(frozen(array) for array in segment.forward)
        found = _prepared[segment] = _Arguments(lists, forward, row_document, id_rank, [])
    return found
