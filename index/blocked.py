"""Searching a segment by its blocks: its arrays as the kernel takes them, and room to work in."""

from __future__ import annotations

import threading
from operator import ge
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from lsr.errors import IndexFormatError

from .best_first import BATCH, LEVELS, Room, Rows, best_first
from .blocks import Blocks
from .knobs import BlockKnobs
from .scratch import arguments_of
from .searchable import Live, Searchable
from .windows import frozen


class _Prepared(NamedTuple):
    """A segment's arrays, and how large its largest list and its largest block are."""

    blocks: Blocks
    rows: Rows
    n_documents: int
    longest: int
    largest: int


_local = threading.local()
_prepared: WeakKeyDictionary[Searchable, _Prepared] = WeakKeyDictionary()
_ALL = frozen(np.zeros(0, np.bool_))
_NO_ROWS = frozen(np.zeros(0, np.int64))


def search_blocks(
    live: Live,
    allowed: npt.NDArray[np.bool_] | None,
    query: tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], int],
    k: int,
    threshold: float,
    knobs: BlockKnobs,
    counts: npt.NDArray[np.int64],
    hits: tuple[npt.NDArray[np.float32], npt.NDArray[np.uint32], npt.NDArray[np.int64]],
) -> int:
    """Put the k best that the blocks of a segment lead to into `hits`; return how many.

    `query` is terms, weights and how many of them count; `hits` are scores, ranks of ids and
    rows, with room for k; `counts` (3,) is added to: entries of summaries, documents scored,
    blocks opened.
    """
    found = _prepare(live.segment)
    n_terms = query[2]
    most = min(min(n_terms, knobs.lists) * found.longest, len(found.blocks.scales))
    room = _room(found.n_documents, n_terms, most, found.largest)
    found_here: int = best_first(
        found.blocks,
        found.rows,
        _ALL if live.deleted is None else frozen(live.deleted),
        _ALL if allowed is None else frozen(allowed),
        *query,
        k,
        np.float32(threshold),
        knobs.lists,
        np.float32(knobs.skip_ratio),
        room,
        counts,
        *hits,
    )
    return found_here


def _prepare(segment: Searchable) -> _Prepared:
    """Return a segment's arrays as the kernel takes them; made, and checked, at its first query."""
    found = _prepared.get(segment)
    if found is None:
        if segment.blocks is None:
            raise ValueError(f"{segment!r} has no blocks")
        blocks = Blocks(*(frozen(array) for array in segment.blocks))
        _check(segment, blocks)
        document_rows = segment.document_rows
        whole = arguments_of(segment).rows
        rows = Rows(
            whole.indptr,
            whole.terms,
            whole.weights,
            whole.halves,
            whole.documents,
            _NO_ROWS if document_rows is None else frozen(document_rows, np.int64),
            whole.id_rank,
        )
        longest = int(np.diff(blocks.parts[blocks.lists]).max(initial=0))
        largest = int(np.diff(blocks.starts).max(initial=0))
        found = _Prepared(blocks, rows, segment.n_documents, longest, largest)
        _prepared[segment] = found
    return found


def _check(segment: Searchable, blocks: Blocks) -> None:
    """Refuse arrays that would lead the kernel, which checks no bounds, outside of them."""
    bounds = (
        (blocks.lists, segment.vocab_size, len(blocks.parts) - 1),
        (blocks.parts, len(blocks.parts) - 1, len(blocks.scales)),
        (blocks.starts, len(blocks.scales), len(blocks.rows)),
        (blocks.terms_of, len(blocks.parts) - 1, len(blocks.terms)),
        (blocks.entries_of, len(blocks.parts) - 1, len(blocks.entries)),
    )
    sound = (
        all(
            len(ends) == count + 1
            and (int(ends[0]), int(ends[-1])) == (0, last)
            and bool((ends[1:] >= ends[:-1]).all())
            for ends, count, last in bounds
        )
        and len(blocks.largest) == segment.vocab_size
        and len(blocks.ends) == len(blocks.terms)
    )
    if not sound:
        raise IndexFormatError(
            f"the blocks of {segment!r} do not fit together", hint="check the index: lsr check"
        )


def _room(n_documents: int, n_terms: int, n_blocks: int, largest: int) -> Room:
    """Return the calling thread's room, with space for that much."""
    n_words = n_documents // 64 + 1
    sizes: tuple[int, ...] = n_words, n_terms, n_blocks, BATCH + largest
    held: tuple[tuple[int, ...], Room] | None = getattr(_local, "room", None)
    if held is not None and all(map(ge, held[0], sizes)):
        return held[1]
    if held is not None:
        sizes = tuple(
            max(2 * old, new) if new > old else old for old, new in zip(held[0], sizes, strict=True)
        )
    n_words, n_terms, n_blocks, n_batch = sizes
    room = Room(
        seen=np.zeros(n_words, np.uint64),
        bounds=np.empty(n_terms, np.float32),
        chosen=np.empty(n_terms, np.int64),
        estimates=np.empty(n_blocks, np.float32),
        blocks=np.empty(n_blocks, np.int64),
        order=np.empty(n_blocks, np.int64),
        levels=np.empty(LEVELS, np.int64),
        batch=np.empty(n_batch, np.int64),
    )
    _local.room = sizes, room
    return room
