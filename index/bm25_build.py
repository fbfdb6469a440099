"""Writing of BM25's part of a segment: from documents, or from the parts of others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lsr.analysis import Analyzer, Numbered
from lsr.types import Document, Span

from .bm25_part import ARRAYS, Bm25Part, PartFacts, rest
from .ids import build_table, hash_ids
from .leg_files import PartWriter
from .legs import LegSource
from .windows import MAX_WINDOW_ROWS, invert_window

#: Postings of a window at most, beside one document that has more.
WINDOW_POSTINGS = 16_000_000

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


class Counts(NamedTuple):
    """Terms and counts of some documents as CSR; `lengths` are the documents' own."""

    indptr: Integers
    terms: npt.NDArray[np.uint32]
    counts: Floats
    lengths: Floats


class Bm25Writer:
    """Counts the terms of documents as they come and writes the part when it is closed.

    Until then the counts are in a file; memory holds the words of the segment and one window.
    """

    def __init__(
        self,
        files: PartWriter,
        analyzer: Analyzer,
        weights: tuple[float, float],
        constants: tuple[float, float],
    ) -> None:
        self._files = files
        self._analyzer = analyzer
        self._weights = weights
        self._constants = constants
        self._numbering = analyzer.numbering()
        self._used = np.zeros(0, np.bool_)
        self._sizes: list[Integers] = []
        self._lengths: list[Floats] = []
        self._spill_terms = files.scratch("spill.terms")
        self._spill_counts = files.scratch("spill.counts")

    def prepare(
        self,
        documents: Sequence[Document],
        spans: Sequence[Sequence[Span]] | None,
        given: object | None,
    ) -> Counts:
        """Return the counts of documents; passages count as the one text they are of."""
        numbered = [
            self._analyzer.number([document.title for document in documents], self._numbering),
            self._analyzer.number([document.text for document in documents], self._numbering),
        ]
        return count_terms(numbered, self._weights)

    def append(self, prepared: Counts) -> None:
        """Put the counts of documents aside."""
        size = len(self._numbering.terms)
        if size > len(self._used):
            self._used = np.append(self._used, np.zeros(2 * size - len(self._used), np.bool_))
        self._used[prepared.terms] = True
        self._spill_terms.write(prepared.terms)
        self._spill_counts.write(prepared.counts)
        self._sizes.append(np.diff(prepared.indptr))
        self._lengths.append(prepared.lengths)

    def close(self) -> Mapping[str, Any]:
        """Write the part; return its facts."""
        # A term of documents that were refused after all is in no document.
        known = list(self._numbering.terms)
        # The order of code points is that of UTF-8 bytes.
        order = sorted(np.flatnonzero(self._used[: len(known)]).tolist(), key=known.__getitem__)
        numbers = np.zeros(len(known), np.uint32)
        numbers[order] = np.arange(len(order), dtype=np.uint32)
        terms = [known[at] for at in order]
        sizes = np.concatenate([np.zeros(0, np.int64), *self._sizes])
        lengths = np.concatenate([np.zeros(0, np.float32), *self._lengths])
        writing = _Part(self._files, terms, lengths, _least(self._weights), self._constants)
        at = 0
        for first, last in _windows(sizes):
            indptr = np.concatenate([[0], np.cumsum(sizes[first:last])]).astype(np.int64)
            stop = at + int(indptr[-1])
            found = self._files.scratched("spill.terms", np.dtype("<u4"), at, stop)
            counts = self._files.scratched("spill.counts", np.dtype("<f4"), at, stop)
            writing.window(*_sorted(indptr, numbers[found], counts))
            at = stop
        return writing.close()


def merge_parts(
    sources: Sequence[LegSource], files: PartWriter, weights: tuple[float, float],
    constants: tuple[float, float],
) -> Mapping[str, Any]:  # fmt: skip
    """Write the live documents of the sources as one part, the same bytes as of one writer."""
    parts: list[tuple[Bm25Part, Integers]] = []
    for source in sources:
        part = source.part
        if not isinstance(part, Bm25Part):
            raise TypeError(f"{part!r} is not a part of BM25")
        gone = source.deleted
        live = np.arange(part.n_documents) if gone is None else np.flatnonzero(~gone)
        parts.append((part, live))
    frequencies = [part.frequencies(live) for part, live in parts]
    vocabularies = [
        [term for term, count in zip(part.vocabulary(), found.tolist(), strict=True) if count]
        for (part, _), found in zip(parts, frequencies, strict=True)
    ]
    terms = sorted(set[str]().union(*vocabularies))
    number = dict(zip(terms, range(len(terms)), strict=True))
    maps = []
    for found, vocabulary in zip(frequencies, vocabularies, strict=True):
        places = np.zeros(len(found), np.uint32)
        places[found > 0] = np.fromiter(map(number.__getitem__, vocabulary), np.uint32)
        maps.append(places)
    lengths = np.concatenate([np.zeros(0, np.float32), *(part.lengths[at] for part, at in parts)])
    sizes = np.concatenate([np.zeros(0, np.int64), *(np.diff(p.indptr)[at] for p, at in parts)])
    writing = _Part(files, terms, lengths, _least(weights), constants)
    pull = _puller(parts, maps)
    for first, last in _windows(sizes):
        writing.window(*pull(last - first))
    return writing.close()


def count_terms(numbered: Sequence[Numbered], weights: Sequence[float]) -> Counts:
    """Return how often each document has each term, its fields together, weighted.

    >>> title = Numbered(np.array([5], np.int32), np.array([0, 1]))
    >>> text = Numbered(np.array([5, 2, 2], np.int32), np.array([0, 3]))
    >>> found = count_terms([title, text], [2.0, 1.0])
    >>> found.terms.tolist(), found.counts.tolist(), found.lengths.tolist()
    ([2, 5], [2.0, 3.0], [5.0])
    """
    from scipy.sparse import csr_matrix

    n_documents = len(numbered[0].bounds) - 1
    columns = max([int(field.numbers.max(initial=-1)) + 1 for field in numbered] + [1])
    total: Any = None
    lengths = np.zeros(n_documents, np.float64)
    for field, weight in zip(numbered, weights, strict=True):
        lengths += np.diff(field.bounds) * weight
        if weight == 0:
            continue
        ones = np.full(len(field.numbers), weight, np.float32)
        found = csr_matrix((ones, field.numbers, field.bounds), shape=(n_documents, columns))
        found.sum_duplicates()
        total = found if total is None else total + found
    total.sort_indices()
    return Counts(
        total.indptr.astype(np.int64),
        total.indices.astype(np.uint32),
        total.data.astype(np.float32),
        lengths.astype(np.float32),
    )


class _Part:
    """Writes the files of a part, a window of documents at a time."""

    def __init__(
        self,
        files: PartWriter,
        terms: Sequence[str],
        lengths: Floats,
        least_count: float,
        constants: tuple[float, float],
    ) -> None:
        self._files = files
        self._terms = terms
        self._lengths = lengths
        self._k1, self._b = constants
        total = float(lengths.sum(dtype=np.float64))
        self._facts = PartFacts(
            n_documents=len(lengths),
            n_terms=len(terms),
            total=total,
            shortest=float(lengths.min(initial=np.inf)) if len(lengths) else 0.0,
            longest=float(lengths.max(initial=0)),
            least_count=least_count,
            k1=self._k1,
            b=self._b,
            mean=total / len(lengths) if len(lengths) else 0.0,
        )
        self._rest = self._rests()
        self._frequency = np.zeros(len(terms), np.int64)
        self._row = self._nnz = self._n_lists = 0
        for name in ARRAYS:
            self._put(name, np.zeros(0))
        self._put("forward.indptr", np.zeros(1))
        self._put("postings.windows", np.zeros(1))

    def window(self, indptr: Integers, terms: npt.NDArray[np.uint32], counts: Floats) -> None:
        """Write a window's documents, whose terms ascend, and its postings."""
        n_rows = len(indptr) - 1
        owner = np.repeat(self._rest[self._row : self._row + n_rows], np.diff(indptr))
        inverted = invert_window(indptr, terms, counts / (counts + owner), len(self._terms))
        lists = np.zeros(len(self._terms), np.uint32)
        lists[inverted.terms] = np.arange(1, len(inverted.terms) + 1) + self._n_lists
        self._frequency += np.bincount(terms, minlength=len(self._terms))
        self._put("forward.indptr", indptr[1:] + self._nnz)
        self._put("forward.terms", terms)
        self._put("forward.counts", counts)
        self._put("postings.lists", lists)
        self._put("postings.records", inverted.records)
        self._put("postings.entries", inverted.entries)
        self._row, self._nnz = self._row + n_rows, self._nnz + len(terms)
        self._put("postings.windows", np.array([self._row]))
        self._n_lists += len(inverted.terms)

    def close(self) -> dict[str, Any]:
        """Write lengths and vocabulary; return the facts."""
        encoded = [term.encode() for term in self._terms]
        hashes, numbers = build_table(hash_ids(self._terms))
        self._put("lengths", self._lengths)
        self._put("terms.bytes", np.frombuffer(b"".join(encoded), np.uint8))
        self._put("terms.ends", np.fromiter(accumulate(map(len, encoded)), np.int64))
        self._put("terms.hash", hashes)
        self._put("terms.number", numbers)
        self._put("terms.frequency", self._frequency)
        return asdict(self._facts)

    def _rests(self) -> Floats:
        least = rest(self._k1, self._b, self._facts.mean, 0)
        slope = rest(self._k1, self._b, self._facts.mean, 1) - least
        return np.float32(least) + np.float32(slope) * self._lengths

    def _put(self, name: str, array: npt.NDArray[Any]) -> None:
        self._files.put(name, np.ascontiguousarray(array, np.dtype(ARRAYS[name])))


def _least(weights: Sequence[float]) -> float:
    """Return the smallest count that a term can have."""
    return min(weight for weight in weights if weight > 0)


def _windows(sizes: Integers) -> Iterator[tuple[int, int]]:
    """Yield first and last document (exclusive) of each window."""
    ends = np.cumsum(sizes)
    first = 0
    while first < len(sizes):
        before = int(ends[first - 1]) if first else 0
        by_postings = int(np.searchsorted(ends, before + WINDOW_POSTINGS, side="right"))
        last = max(first + 1, min(first + MAX_WINDOW_ROWS, by_postings))
        yield first, last
        first = last


def _sorted(
    indptr: Integers, terms: npt.NDArray[np.uint32], counts: Floats
) -> tuple[Integers, npt.NDArray[np.uint32], Floats]:
    """Return CSR with the terms of each row ascending."""
    from scipy.sparse import csr_matrix

    shape = len(indptr) - 1, int(terms.max(initial=0)) + 1
    matrix = csr_matrix((counts, terms.astype(np.int64), indptr), shape=shape)
    matrix.sort_indices()
    return indptr, matrix.indices.astype(np.uint32), matrix.data


def _puller(
    parts: Sequence[tuple[Bm25Part, Integers]], maps: Sequence[npt.NDArray[np.uint32]]
) -> Callable[[int], tuple[Integers, npt.NDArray[np.uint32], Floats]]:
    """Return a function that gives the next so many live documents, in the merged numbers."""
    number = done = 0

    def pull(wanted: int) -> tuple[Integers, npt.NDArray[np.uint32], Floats]:
        nonlocal number, done
        sizes, terms, counts = [], [], []
        while wanted:
            part, live = parts[number]
            taken = live[done : done + wanted]
            starts = part.indptr[taken]
            lengths = part.indptr[taken + 1] - starts
            ends = np.cumsum(lengths)
            total = int(ends[-1]) if len(ends) else 0
            places = np.arange(total) - np.repeat(ends - lengths - starts, lengths)
            sizes.append(lengths)
            terms.append(maps[number][part.terms[places]])
            counts.append(part.counts[places])
            wanted, done = wanted - len(taken), done + len(taken)
            if done == len(live):
                number, done = number + 1, 0
        indptr = np.concatenate([[0], np.cumsum(np.concatenate(sizes))]).astype(np.int64)
        return indptr, np.concatenate(terms), np.concatenate(counts)

    return pull
