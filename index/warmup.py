"""Compile the kernels ahead of the first search, or load them from the cache."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lsr.sparse import SparseVectors

from .block_build import gathered, make_blocks
from .blocks import Blocks, BlockSettings
from .knobs import BlockKnobs, SearchKnobs
from .saturation import Saturation
from .search import load_kernels, score_rows, search
from .windows import MAX_WINDOW_ROWS, Inverted, Postings, frozen, invert_window


class Warmth(NamedTuple):
    """What `warmup` did: seconds it took, kernels compiled and kernels loaded from the cache."""

    seconds: float
    compiled: int
    loaded: int


@dataclass(eq=False)
class MemorySegment:
    """A segment in memory that can be searched: for warming up, and for tests."""

    n_documents: int
    n_rows: int
    vocab_size: int
    forward: tuple[npt.NDArray[np.int64], npt.NDArray[Any], npt.NDArray[np.float32]]
    postings: Postings
    row_document: npt.NDArray[np.uint32] | None
    document_rows: npt.NDArray[np.int64] | None
    id_rank: npt.NDArray[np.uint32]
    names: list[str]
    blocks: Blocks | None = None
    saturation: Saturation | None = None

    def ids(self, ordinals: Sequence[int]) -> list[str]:
        """Return the ids of the documents."""
        return [self.names[ordinal] for ordinal in ordinals]

    @classmethod
    def build(
        cls,
        vectors: SparseVectors,
        names: Sequence[str] | None = None,
        document_rows: Sequence[int] | None = None,
        window_rows: int = MAX_WINDOW_ROWS,
        blocks: BlockSettings | None = None,
    ) -> MemorySegment:
        """Return a segment of the vectors, one for each document.

        `document_rows`, the first row of each document and then their number, makes the vectors
        passages; a document of more than `window_rows` passages makes its window longer. With
        `blocks` it has blocks, however small it is.

        >>> segment = MemorySegment.build(SparseVectors.from_dicts([{0: 1.0}], vocab_size=4))
        >>> segment.postings.lists.tolist(), segment.ids([0])
        ([1, 0, 0, 0], ['0'])
        """
        n_rows = len(vectors)
        bounds = list(document_rows) if document_rows is not None else list(range(n_rows + 1))
        n_documents = len(bounds) - 1
        ids = list(names) if names is not None else [str(at) for at in range(n_documents)]
        order = sorted(range(n_documents), key=lambda at: ids[at].encode())
        id_rank = np.empty(n_documents, np.uint32)
        id_rank[order] = np.arange(n_documents)
        narrow = vectors.terms.astype(np.uint16 if vectors.vocab_size <= 65_536 else np.uint32)
        forward = (vectors.indptr, narrow, vectors.weights)
        passages = document_rows is not None
        return cls(
            n_documents=n_documents,
            n_rows=n_rows,
            vocab_size=vectors.vocab_size,
            forward=forward,
            postings=_postings(forward, vectors.vocab_size, _windows(bounds, window_rows)),
            row_document=(
                np.repeat(np.arange(n_documents, dtype=np.uint32), np.diff(bounds))
                if passages
                else None
            ),
            document_rows=np.array(bounds, np.int64) if passages else None,
            id_rank=id_rank,
            names=ids,
            blocks=None if blocks is None else _blocks(forward, vectors.vocab_size, blocks),
        )


@dataclass(frozen=True, slots=True)
class MemoryLive:
    """A segment in memory with its tombstones."""

    segment: MemorySegment
    deleted: npt.NDArray[np.bool_] | None = None


def warmup() -> Warmth:
    """Make every kernel ready in this process, in each variant that searches use.

    Those that build are compiled when first needed. Compiled kernels are kept in the cache for
    the processes to come (see lsr.numba_cache).

    >>> _ = warmup()
    >>> warmup().compiled
    0
    """
    started = time.perf_counter()
    load_kernels()
    before = _counts()
    rows = [{1: 1.0, 2: 2.0}, {2: 1.0}, {3: 1.0}]
    for vocab_size in (8, 70_000):
        vectors = SparseVectors.from_dicts(rows, vocab_size=vocab_size)
        segment = MemorySegment.build(vectors, document_rows=[0, 2, 3])
        live = MemoryLive(segment)
        blocks = Blocks.none(vocab_size, segment.forward[1].dtype)
        blocked = MemoryLive(replace(segment, blocks=blocks))
        search([live], vectors[0], 2)
        search([live], vectors[0], 2, knobs=SearchKnobs(small=0))
        search([blocked], vectors[0], 2, knobs=BlockKnobs(small=0))
        search([live], vectors[0], 2, [np.zeros(2, np.bool_)])  # none to score: it is scanned
        score_rows(live.segment, vectors[0], [0, 1])
    _touch_small_ones()
    after = _counts()
    return Warmth(time.perf_counter() - started, after[0] - before[0], after[1] - before[1])


def _touch_small_ones() -> None:
    from . import kernels

    none = np.empty(0, np.int64)
    kernels.gather(none, np.zeros(1, np.int64), none, none, np.empty(0, np.uint8))
    terms, weights = np.ones(1, np.uint32), np.ones(1, np.float32)
    kernels.is_sound(terms, weights)
    kernels.is_sound(frozen(terms), frozen(weights))


def _counts() -> tuple[int, int]:
    """Return how many variants of kernels this process compiled, and how many it loaded.

    Private kernels are part of those that call them.
    """
    from . import kernels

    compiled = loaded = 0
    for name, found in vars(kernels).items():
        stats = getattr(found, "stats", None)
        if stats is not None and not name.startswith("_"):
            compiled += sum(stats.cache_misses.values())
            loaded += sum(stats.cache_hits.values())
    return compiled, loaded


def _windows(bounds: Sequence[int], window_rows: int) -> npt.NDArray[np.int64]:
    """Return the first row of each window, and the end: whole documents, `window_rows` at most."""
    windows = [0]
    for start, stop in pairwise(bounds):
        if stop - windows[-1] > window_rows and start > windows[-1]:
            windows.append(start)
    if bounds[-1] > 0:
        windows.append(bounds[-1])
    return np.array(windows, np.int64)


def _blocks(
    forward: tuple[npt.NDArray[np.int64], npt.NDArray[Any], npt.NDArray[np.float32]],
    vocab_size: int,
    settings: BlockSettings,
) -> Blocks:
    return gathered(list(make_blocks(forward, vocab_size, settings)))


def _postings(
    forward: tuple[npt.NDArray[np.int64], npt.NDArray[Any], npt.NDArray[np.float32]],
    vocab_size: int,
    windows: npt.NDArray[np.int64],
) -> Postings:
    indptr, terms, weights = forward
    lists = np.zeros((len(windows) - 1, vocab_size), np.uint32)
    parts: list[Inverted] = []
    n_lists = 0
    for window, (first, end) in enumerate(pairwise(windows)):
        lo, hi = indptr[first], indptr[end]
        inside = invert_window(
            indptr[first : end + 1] - lo, terms[lo:hi], weights[lo:hi], vocab_size
        )
        lists[window, inside.terms] = np.arange(1, len(inside.terms) + 1) + n_lists
        n_lists += len(inside.terms)
        parts.append(inside)
    none = np.empty(0, np.uint32)
    records = np.concatenate([none, *(part.records for part in parts)])
    entries = np.concatenate([none, *(part.entries for part in parts)])
    return Postings(windows, lists.reshape(-1), records, entries)
