"""What a shortlist takes of a segment, and in which order, without scoring any of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lsr.sparse import SparseVector

from .arguments import table_of
from .scratch import arguments_of, scratch_of_thread
from .searchable import Live
from .windows import frozen

_ALL = frozen(np.zeros(0, np.bool_))


class Listing(NamedTuple):
    """The rows of a segment by the sums of their heavy postings, best first.

    `rows` int64; of equal sums the earlier row comes first, so that a shortlist of n rows is the
    first n of a longer one. `postings` were added.
    """

    rows: npt.NDArray[np.int64]
    postings: int

    def places(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return where each of the given rows stands, from 0; behind the end if it does not."""
        if not len(self.rows):
            return np.zeros(len(rows), np.int64)
        order = np.argsort(self.rows)
        near = order[np.minimum(np.searchsorted(self.rows, rows, sorter=order), len(order) - 1)]
        return np.where(self.rows[near] == rows, near, len(order))


def list_rows(live: Live, query: SparseVector, cutoff: float, wanted: int) -> Listing:
    """Return the rows that an approximate search with these knobs scores in full.

    None are listed for a query that the kernel cannot express, see `sums.fits`.

    >>> from lsr.index.warmup import MemoryLive, MemorySegment
    >>> from lsr.sparse import SparseVectors
    >>> vectors = SparseVectors.from_dicts([{1: 1.0}, {1: 2.0}, {3: 1.0}], vocab_size=4)
    >>> list_rows(MemoryLive(MemorySegment.build(vectors)), vectors[0], 0, 9).rows.tolist()
    [1, 0]
    """
    from .kernels import listing

    segment, scratch = live.segment, scratch_of_thread()
    n_terms = scratch.known(scratch.take(query), segment.vocab_size)
    if not n_terms:
        return Listing(np.empty(0, np.int64), 0)
    arguments = arguments_of(segment)
    deleted = _ALL if live.deleted is None else frozen(live.deleted, np.bool_)
    scratch.make_work(arguments, n_terms)
    scratch.make_shortlist(wanted)
    scratch.work.counts.fill(0)
    masks = table_of([deleted, _ALL])
    count = listing(
        *arguments[:2], masks, *arguments[2:5], scratch.table(), n_terms, cutoff, wanted
    )
    rows, sums = scratch.work.listed[: max(count, 0)], scratch.work.parts[: max(count, 0)]
    order = np.argsort(255 - sums, kind="stable")
    return Listing(rows[order], int(scratch.work.counts[0]))
