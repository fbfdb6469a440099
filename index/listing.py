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
_NONE_OUT = table_of([_ALL, _ALL])

Numbers = npt.NDArray[np.int64]


class Listing(NamedTuple):
    """Rows of a segment, and their places by the sums of their heavy postings, from 0.

    `rows` ascend. Of equal sums the earlier row comes first, so that a shortlist of n rows has
    those in the first n places of a longer one. `documents` are those of the rows, None when each
    row is a document. `postings` were added.
    """

    rows: Numbers
    documents: npt.NDArray[np.uint32] | None
    places: Numbers
    postings: int

    @property
    def size(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def places_of(self, rows: Numbers) -> Numbers:
        """Return where each of the given rows stands; behind all others if it is not listed."""
        if not self.size:
            return np.zeros(len(rows), np.int64)
        at = np.minimum(np.searchsorted(self.rows, rows), self.size - 1)
        return np.where(self.rows[at] == rows, self.places[at], self.size)

    def rows_with(self, n_documents: int) -> float:
        """Return how many of the first rows have so many documents; inf if all have fewer."""
        if self.documents is None:
            return n_documents if n_documents <= self.size else np.inf
        in_order = np.empty_like(self.documents)
        in_order[self.places] = self.documents
        first = np.sort(np.unique(in_order, return_index=True)[1])
        return int(first[n_documents - 1]) + 1 if n_documents <= len(first) else np.inf


def list_rows(
    live: Live, query: SparseVector, cutoff: float, wanted: int, but: int | None = None
) -> Listing:
    """Return the `wanted` rows that an approximate search with this cutoff scores in full.

    With `but`, as if that document was not in the segment, and then up to as many rows more as it
    has. None are listed for a query that the kernel cannot express, see `sums.fits`.

    >>> from lsr.index.warmup import MemoryLive, MemorySegment
    >>> from lsr.sparse import SparseVectors
    >>> vectors = SparseVectors.from_dicts([{1: 1.0}, {3: 1.0}, {1: 2.0}], vocab_size=4)
    >>> found = list_rows(MemoryLive(MemorySegment.build(vectors)), vectors[0], 0.1, 9)
    >>> found.rows.tolist(), found.places.tolist()
    ([0, 2], [1, 0])
    """
    from .shortlist import listing  # compiled when first needed, as the kernels that build

    segment, scratch = live.segment, scratch_of_thread()
    n_terms = scratch.known(scratch.take(query), segment.vocab_size)
    count = postings = 0
    if but is not None:
        bounds = segment.document_rows
        wanted += 1 if bounds is None else int(bounds[but + 1] - bounds[but])
    if n_terms:
        arguments = arguments_of(segment)
        masks = _NONE_OUT
        if live.deleted is not None:
            deleted = frozen(live.deleted, np.bool_)
            masks = table_of([deleted, _ALL])
        scratch.make_work(arguments, n_terms)
        scratch.make_shortlist(wanted)
        scratch.work.counts.fill(0)
        given = arguments.table, arguments.kind, masks, *arguments[2:5], scratch.table()
        count = max(0, listing(*given, n_terms, cutoff, wanted))
        postings = int(scratch.work.counts[0])
    rows, sums = scratch.work.listed[:count].copy(), scratch.work.parts[:count]
    documents = None if segment.row_document is None else segment.row_document[rows]
    if but is not None:
        others = (rows if documents is None else documents) != but
        rows, sums = rows[others], sums[others]
        documents = None if documents is None else documents[others]
    places = np.empty(len(rows), np.int64)
    places[np.argsort(255 - sums, kind="stable")] = np.arange(len(rows))
    return Listing(rows, documents, places, postings)
