"""Queries made of documents, for an index that was given none: what to calibrate with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lsr.sparse import SparseVector

from .searchable import Live

#: Terms of the queries in turn, what encoders expand a question by included.
TERMS = (16, 32)


class Source(NamedTuple):
    """The document that a query was made of, and the number of its segment."""

    segment: int
    document: int


class Sample(NamedTuple):
    """A query, and the document that it was made of."""

    query: SparseVector
    source: Source


def draw_samples(segments: Sequence[Live], count: int) -> Iterator[Sample]:
    """Yield about `count` queries of documents that are evenly spread over the segments.

    Their terms are drawn in proportion to weight: a query has some of the terms of what answers
    it, and not just the heaviest. The draw is seeded.

    >>> from lsr.index.warmup import MemoryLive, MemorySegment
    >>> from lsr.sparse import SparseVectors
    >>> vectors = SparseVectors.from_dicts([{1: 1.0}, {1: 2.0, 3: 1.0}], vocab_size=4)
    >>> samples = draw_samples([MemoryLive(MemorySegment.build(vectors))], 2)
    >>> [(sample.query.terms.tolist(), sample.source.document) for sample in samples]
    [([1], 0), ([1, 3], 1)]
    """
    n_rows = sum(live.segment.n_rows for live in segments)
    random = np.random.default_rng(0)
    for number, live in enumerate(segments):
        segment = live.segment
        indptr, terms, weights = segment.forward
        share = max(1, count * segment.n_rows // n_rows)
        rows = np.linspace(0, segment.n_rows - 1, share).astype(np.int64).tolist()
        for size, row in zip(cycle(TERMS), rows, strict=False):
            span = slice(int(indptr[row]), int(indptr[row + 1]))
            values = np.asarray(weights[span], np.float32)
            drawn = _drawn(values, size, random)
            query = SparseVector(terms[span].astype(np.uint32)[drawn], values[drawn])
            document = row if segment.row_document is None else int(segment.row_document[row])
            yield Sample(query, Source(number, document))


def _drawn(
    weights: npt.NDArray[np.float32], count: int, random: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Return `count` places, ascending, drawn without replacement in proportion to the weights.

    Those come first that a race of exponential clocks lets come first, as in Efraimidis and
    Spirakis (2006).
    """
    times = -np.log1p(-random.random(len(weights))) / np.maximum(weights, 1e-30)
    return np.sort(np.argsort(times, kind="stable")[:count])
