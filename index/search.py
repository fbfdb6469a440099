"""Top-k search over the segments of a snapshot: which way to take, and merging what they find."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.errors import ConfigError
from lsr.sparse import SparseVector, SparseVectors

from . import cold
from .arguments import Hits, table_of
from .found import Found, copied, merged
from .knobs import BlockKnobs, Knobs, SearchKnobs
from .scratch import CHUNK, Arguments, Scratch, arguments_of, scratch_of_thread
from .searchable import Live, Searchable
from .windows import frozen

Allowed = Sequence[npt.NDArray[np.bool_] | None] | None

#: What the two ways cost, in time per posting added: a row scored through the forward index
#: costs a random access and a look at each of its terms; a window is swept whatever happens.
SCAN_ROW, SCAN_TERM, SWEEP_ROW = 120.0, 0.8, 0.1

#: The smallest float32 above 0: "at least this" means "above 0".
TINY = float(np.float32(1.4e-45))

#: Seconds of searching in numpy after which the kernels are loaded; about what loading takes.
COLD_SECONDS = 0.3

#: Hits are collected in room for 2k and this many more, then cut down to the k best.
SPARE = 64

#: Hits up to which the queries of a batch are searched together; their room stays with the thread.
TOGETHER = 10_000

#: Queries of a batch that a thread takes at a time at least.
LEAST = 16

#: The ways through a segment; the first that some segment took names that of a search.
_WAYS = ("accumulate", "blocks", "exact", "scan")


class _Engine:
    """The compiled kernels, once they are loaded; until then numpy answers."""

    kernels: Any = None
    blocks: Any = None
    cold_seconds: float = 0.0

    def load(self) -> None:
        from . import kernels
        from .blocked import search_blocks

        self.kernels, self.blocks = kernels, search_blocks

    def spent(self, seconds: float) -> None:
        """Count time spent in numpy; when it adds up to that of loading the kernels, load them."""
        self.cold_seconds += seconds
        if self.cold_seconds > COLD_SECONDS:
            self.load()


_engine = _Engine()
_ALL = frozen(np.zeros(0, np.bool_))
_NONE_OUT = table_of([_ALL, _ALL])
_NO_TERMS, _NO_WEIGHTS = np.zeros(0, np.uint32), np.zeros(0, np.float32)


def load_kernels() -> None:
    """Search with the compiled kernels from now on, instead of numpy for the first queries.

    >>> load_kernels()
    """
    _engine.load()


def loaded_kernels() -> Any:
    """Return the compiled kernels, or None where numpy answers as yet."""
    return _engine.kernels


def search(
    segments: Sequence[Live],
    query: SparseVector,
    k: int,
    allowed: Allowed = None,
    knobs: Knobs | None = None,
) -> Found:
    """Return the k best live documents of all segments by inner product, best first.

    Rank-safe without `knobs`; with them some of the best may be missing, and scores are true.

    Equal scores are ordered by document id (UTF-8 bytes). Documents that share no term with the
    query are not found, so fewer than k may come back. `allowed` holds for each segment the
    documents to consider, bool (n_documents,), or None for all. Terms beyond the vocabulary are
    ignored. Sums beyond float32 are inf and come first. Raises ConfigError when k is below 1.

    >>> from lsr.index.warmup import MemoryLive, MemorySegment
    >>> vectors = SparseVectors.from_dicts([{1: 1.0}, {1: 2.0, 3: 1.0}], vocab_size=4)
    >>> live = MemoryLive(MemorySegment.build(vectors))
    >>> search([live], vectors[0], k=1).documents.tolist()
    [1]
    """
    return _search(segments, query, None, k, allowed, knobs)


def search_each(
    segments: Sequence[Live], queries: Sequence[SparseVector], k: int, allowed: Allowed = None
) -> Found:
    """Return what `search` does, rank-safe, where each segment numbers terms in its own way.

    `queries` has the query in the terms of each segment.

    >>> from lsr.index.warmup import MemoryLive, MemorySegment
    >>> vectors = SparseVectors.from_dicts([{1: 1.0}, {3: 2.0}], vocab_size=4)
    >>> lives = [MemoryLive(MemorySegment.build(vectors.slice(at, at + 1))) for at in (0, 1)]
    >>> search_each(lives, [vectors[0], vectors[1]], k=1).segments.tolist()
    [1]
    """
    if not segments:
        return _search(segments, SparseVector(_NO_TERMS, _NO_WEIGHTS), None, k, allowed, None)
    return _search(segments, queries[0], queries[1:], k, allowed, None)


def _search(
    segments: Sequence[Live],
    query: SparseVector,
    others: Sequence[SparseVector] | None,
    k: int,
    allowed: Allowed,
    knobs: Knobs | None,
) -> Found:
    """Search the segments one after another; `others` are the queries of all but the first."""
    if k < 1:
        raise ConfigError(f"k is {k}; it must be at least 1")
    if len(segments) == 1 and allowed is None and _engine.kernels is not None:
        found = _search_alone(segments[0], query, k, knobs)
        if found is not None:
            return found
    scratch = scratch_of_thread()
    n_query = scratch.take(query)
    scratch.work.counts.fill(0)
    threshold = TINY
    total = used = 0
    ways = set()
    for number, live in enumerate(segments):
        segment = live.segment
        if others is not None and number:
            n_query = scratch.take(others[number - 1])
        n_terms = scratch.known(n_query, segment.vocab_size)
        if not n_terms or not segment.n_documents:
            continue
        wanted = min(k, segment.n_documents)
        scratch.make_room(total + 2 * wanted + SPARE)
        keep = None if allowed is None else allowed[number]
        if keep is not None and len(keep) != segment.n_documents:
            raise ConfigError(
                f"`allowed` has {len(keep)} entries for segment {number}; it has "
                f"{segment.n_documents} documents"
            )
        if _engine.kernels is None:
            size = _search_cold(live, scratch, total, n_terms, wanted, keep, threshold)
            ways.add("exact")
        else:
            size, way = _search_segment(
                live, scratch, total, n_terms, wanted, keep, threshold, knobs
            )
            ways.add(way)
        if not size:
            continue
        scratch.owners[total : total + size] = number
        total, used = total + size, used + 1
        if size == k and scratch.hits.scores[total - 1] > threshold:
            threshold = float(scratch.hits.scores[total - 1])
    path = next((way for way in _WAYS if way in ways), "empty")
    return merged(segments, scratch, total, k, used > 1, path)


def search_many(
    segments: Sequence[Live],
    queries: SparseVectors | Sequence[SparseVector],
    k: int,
    allowed: Allowed = None,
    threads: int | None = None,
    knobs: Knobs | None = None,
) -> list[Found]:
    """Return what each query finds, in order: the same as `search` one by one.

    `threads` of them are searched at a time, as many as there are cores when it is None; the
    kernels run without the interpreter lock. Raises ConfigError when it is below 1.

    >>> from lsr.index.warmup import MemoryLive, MemorySegment
    >>> vectors = SparseVectors.from_dicts([{1: 1.0}, {3: 1.0}], vocab_size=4)
    >>> live = MemoryLive(MemorySegment.build(vectors))
    >>> [found.documents.tolist() for found in search_many([live], vectors, k=1)]
    [[0], [1]]
    """
    if threads is not None and threads < 1:
        raise ConfigError(f"threads is {threads}; it must be at least 1")
    asked = list(queries)
    workers = threads or os.cpu_count() or 1
    # Some pieces for each thread, so that none waits long for the last; but no small ones.
    size = min(CHUNK, max(LEAST, -(-len(asked) // (4 * workers))))
    starts = range(0, len(asked), size)
    workers = min(workers, len(starts))
    if k < 1 or (workers <= 1 and _engine.kernels is None):
        return [search(segments, query, k, allowed, knobs) for query in asked]
    _engine.load()

    def part(start: int) -> list[Found]:
        chunk = asked[start : start + size]
        if len(segments) == 1 and allowed is None and not isinstance(knobs, BlockKnobs):
            return _search_chunk(segments[0], chunk, k, knobs)
        return [search(segments, query, k, allowed, knobs) for query in chunk]

    if workers <= 1:
        return [found for start in starts for found in part(start)]
    with ThreadPoolExecutor(workers, thread_name_prefix="lsr-search") as pool:
        return [found for chunk in pool.map(part, starts) for found in chunk]


def score_rows(
    segment: Searchable, query: SparseVector, rows: npt.ArrayLike
) -> npt.NDArray[np.float32]:
    """Return the scores of the given rows of a segment, the same to the bit as `search` gives.

    >>> from lsr.index.warmup import MemorySegment
    >>> vectors = SparseVectors.from_dicts([{1: 1.0}, {1: 2.0, 3: 1.0}], vocab_size=4)
    >>> score_rows(MemorySegment.build(vectors), vectors[1], [0, 1]).tolist()
    [2.0, 5.0]
    """
    scratch = scratch_of_thread()
    n_terms = scratch.known(scratch.take(query), segment.vocab_size)
    listed = frozen(np.asarray(rows, np.int64))
    if _engine.kernels is not None:
        return _score(arguments_of(segment), scratch, n_terms, listed)
    started = time.perf_counter()
    terms, weights = scratch.query.terms[:n_terms], scratch.query.weights[:n_terms]
    scores = cold.score_rows(segment, terms, weights, listed)
    _engine.spent(time.perf_counter() - started)
    return scores


def _search_segment(
    live: Live,
    scratch: Scratch,
    at: int,
    n_terms: int,
    k: int,
    keep: npt.NDArray[np.bool_] | None,
    threshold: float,
    knobs: Knobs | None,
) -> tuple[int, str]:
    """Put the k best of a segment into the scratch from `at`; return how many, and the way."""
    segment, deleted = live.segment, live.deleted
    arguments = arguments_of(segment)
    listed = None
    if keep is not None:
        listed = _rows_to_scan(segment, arguments, scratch.query.terms[:n_terms], keep, deleted)
    if listed is None:
        size, way = _accumulate(live, arguments, scratch, at, n_terms, k, keep, threshold, knobs)
        if size >= 0:
            return size, way
        listed = _live_rows(segment, keep, deleted)
    scores = frozen(_score(arguments, scratch, n_terms, listed))
    room, space = slice(at, at + 2 * k + SPARE), scratch.hits
    hits = Hits(space.scores[room], space.ranks[room], space.rows[room])
    size = _engine.kernels.best_rows(listed, scores, arguments.rows, k, np.float32(threshold), hits)
    scratch.work.counts[1] += len(listed)
    return size, "scan"


def _accumulate(
    live: Live,
    arguments: Arguments,
    scratch: Scratch,
    at: int,
    n_terms: int,
    k: int,
    keep: npt.NDArray[np.bool_] | None,
    threshold: float,
    knobs: Knobs | None,
) -> tuple[int, str]:
    """Return how many hits a kernel put into the scratch, -1 if the query is for none; the way."""
    if isinstance(knobs, BlockKnobs):
        if live.segment.blocks is not None and live.segment.n_rows >= knobs.small:
            query, counts = (*scratch.query, n_terms), scratch.work.counts
            space, mine = scratch.hits, slice(at, at + k)
            hits = Hits(space.scores[mine], space.ranks[mine], space.rows[mine])
            size = _engine.blocks(live, keep, query, k, threshold, knobs, counts, hits)
            if size >= k or threshold > TINY:
                return size, "blocks"
            # Too few are in the lists that were chosen; whoever asks for k and has them gets them.
        knobs = None
    masks = _NONE_OUT
    if live.deleted is not None or keep is not None:
        # Held until the kernel is done with them.
        out = [_ALL if mask is None else frozen(mask, np.bool_) for mask in (live.deleted, keep)]
        masks = table_of(out)
    scratch.make_work(arguments, n_terms)
    scratch.work.spans[1] = n_terms
    given = *arguments[:2], masks, *arguments[2:5]
    asked = 1, k, at, 2 * k + SPARE, threshold
    if knobs is not None and live.segment.n_rows >= knobs.small:
        wanted = knobs.candidates(k)
        scratch.make_shortlist(wanted)
        size = _engine.kernels.shortlist(*given, scratch.table(), *asked, knobs.cutoff, wanted)
        if size >= k or size < 0 or threshold > TINY:
            return size, "accumulate"
        # Too little was read to find k documents; whoever asks for k and has them gets them.
    size = _engine.kernels.accumulate(*given, scratch.table(), *asked)
    return size, "exact"


def _search_alone(live: Live, query: SparseVector, k: int, knobs: Knobs | None) -> Found | None:
    """Do what `search` does with one segment and no filter, in fewer steps; None if it cannot.

    After a search the processor's caches hold little of Python, which makes each step dear.
    """
    segment, scratch = live.segment, scratch_of_thread()
    n_terms = scratch.known(scratch.take(query), segment.vocab_size)
    k = min(k, segment.n_documents)
    if not n_terms or not k:
        return None
    scratch.make_room(2 * k + SPARE)
    counts = scratch.work.counts
    counts[0] = counts[1] = counts[2] = 0
    arguments = arguments_of(segment)
    size, path = _accumulate(live, arguments, scratch, 0, n_terms, k, None, TINY, knobs)
    if size < 0:
        return None
    return copied(segment, scratch, 0, size, path, *counts.tolist())


def _search_chunk(
    live: Live, queries: Sequence[SparseVector], k: int, knobs: SearchKnobs | None
) -> list[Found]:
    """Do what `search` does with one segment and no filter for some queries, in one call.

    Threads that search wait for one another in Python only.
    """
    segment, scratch = live.segment, scratch_of_thread()
    wanted = min(k, segment.n_documents)
    if not 0 < wanted <= TOGETHER:
        return [search([live], query, k, None, knobs) for query in queries]
    arguments = arguments_of(segment)
    scratch.make_work(arguments, scratch.take_all(queries, segment.vocab_size))
    room = 2 * wanted + SPARE
    scratch.make_room(len(queries) * room)
    masks = _NONE_OUT
    if live.deleted is not None:
        # Held until the kernel is done with it.
        deleted = frozen(live.deleted, np.bool_)
        masks = table_of([deleted, _ALL])
    given = *arguments[:2], masks, *arguments[2:5]
    fast = knobs is not None and segment.n_rows >= knobs.small
    if knobs is not None and fast:
        rows = knobs.candidates(wanted)
        scratch.make_shortlist(rows)
        asked = len(queries), wanted, 0, room, TINY, knobs.cutoff, rows
        _engine.kernels.shortlist(*given, scratch.table(), *asked)
    else:
        _engine.kernels.accumulate(*given, scratch.table(), len(queries), wanted, 0, room, TINY)
    told = scratch.work.told.reshape(-1, 3)[: len(queries)].tolist()
    way = "accumulate" if fast else "exact"
    found = [
        copied(segment, scratch, at * room, max(0, size), way, postings, scored)
        for at, (size, postings, scored) in enumerate(told)
    ]
    for at, (size, _, _) in enumerate(told):
        # Nothing to look for, a query for no kernel, or too little read: it has its own ways.
        if size <= 0 or (fast and size < wanted):
            found[at] = search([live], queries[at], k, None, knobs)
    return found


def _search_cold(
    live: Live,
    scratch: Scratch,
    at: int,
    n_terms: int,
    k: int,
    keep: npt.NDArray[np.bool_] | None,
    threshold: float,
) -> int:
    """Do what `_search_segment` does, in numpy."""
    started = time.perf_counter()
    terms, weights = scratch.query.terms[:n_terms], scratch.query.weights[:n_terms]
    rows, scores = cold.accumulate(live.segment, live.deleted, keep, terms, weights, k, threshold)
    scratch.hits.rows[at : at + len(rows)] = rows
    scratch.hits.scores[at : at + len(rows)] = scores
    _engine.spent(time.perf_counter() - started)
    return len(rows)


def _rows_to_scan(
    segment: Searchable,
    arguments: Arguments,
    terms: npt.NDArray[np.int64],
    keep: npt.NDArray[np.bool_],
    deleted: npt.NDArray[np.bool_] | None,
) -> npt.NDArray[np.int64] | None:
    """Return the rows that survive, when scoring them one by one is clearly cheaper."""
    n_rows = segment.n_rows
    sweep = 0.5 * float(arguments.lengths_of(terms).sum()) + n_rows * SWEEP_ROW
    mean_terms = len(arguments.rows.terms) / max(n_rows, 1)
    rows_per_document = max(n_rows, 1) / segment.n_documents
    most = sweep / (SCAN_ROW + SCAN_TERM * mean_terms) / rows_per_document
    return None if np.count_nonzero(keep) > most else _live_rows(segment, keep, deleted)


def _live_rows(
    segment: Searchable,
    keep: npt.NDArray[np.bool_] | None,
    deleted: npt.NDArray[np.bool_] | None,
) -> npt.NDArray[np.int64]:
    """Return the rows of the documents that are kept and not deleted."""
    wanted = np.ones(segment.n_documents, np.bool_) if keep is None else keep
    survivors = np.flatnonzero(wanted if deleted is None else wanted & ~deleted)
    first = segment.document_rows
    if first is None:
        return frozen(survivors)
    counts = first[survivors + 1] - first[survivors]
    skipped = np.cumsum(counts) - counts
    return frozen(np.repeat(first[survivors] - skipped, counts) + np.arange(counts.sum()))


def _score(
    arguments: Arguments, scratch: Scratch, n_terms: int, listed: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    out = np.empty(len(listed), np.float32)
    _engine.kernels.score_rows(arguments.rows, scratch.query, n_terms, listed, out)
    return out
