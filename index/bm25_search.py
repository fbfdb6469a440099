"""Bm25Searcher: BM25 over the segments of one snapshot."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lsr.analysis import Analyzer
from lsr.errors import ConfigError, DataError
from lsr.sparse import SparseVector
from lsr.types import TermProduct

from .bm25_part import Bm25Part, PartFacts, rest
from .legs import Allowed, LegFound
from .saturation import SKIP_COUNTS, Saturation
from .search import load_kernels, score_rows, search_each
from .store import LiveSegment
from .windows import Postings, frozen

Integers = npt.NDArray[np.int64]

#: Terms whose numbers and weights are remembered, as queries share most of theirs.
_KNOWN = 1 << 17
_CHUNK = 16


@dataclass(eq=False, slots=True, weakref_slot=True)
class _Segment:
    """A part as the kernels search it: `index.searchable.Searchable`."""

    n_documents: int
    n_rows: int
    vocab_size: int
    forward: tuple[Integers, Any, npt.NDArray[np.float32]]
    postings: Postings
    id_rank: npt.NDArray[np.uint32]
    saturation: Saturation
    live: LiveSegment
    row_document: None = None
    document_rows: None = None
    blocks: None = None

    def ids(self, ordinals: Sequence[int]) -> list[str]:
        return self.live.segment.ids(ordinals)


class _Live(NamedTuple):
    segment: _Segment
    deleted: npt.NDArray[np.bool_] | None


class _Term(NamedTuple):
    """A term of the vocabulary: its idf, and its number in each part, -1 where it is not."""

    idf: float
    numbers: tuple[int, ...]


class Bm25Searcher:
    """BM25 with what all live documents of a snapshot count together.

    A query is a text, or a mapping from terms, as the analyzer makes them, to weights above 0 that
    stand in the place of their number in the query.
    """

    def __init__(
        self, segments: Sequence[LiveSegment], analyzer: Analyzer, k1: float, b: float
    ) -> None:
        self._analyzer = analyzer
        self._parts = [_part(live) for live in segments]
        self._deleted = [live.deleted for live in segments]
        self._gone = [_gone(live) for live in segments]
        pairs = list(zip(self._parts, self._gone, strict=True))
        self.n_documents = sum(part.n_documents - len(gone) for part, gone in pairs)
        total = math.fsum(part.facts.total - _sum(part.lengths[gone]) for part, gone in pairs)
        self.mean_length = total / self.n_documents if self.n_documents else 0.0
        self._minus = [part.frequencies(gone) if len(gone) else None for part, gone in pairs]
        self._constants = k1, b
        self._lives = [self._live(live) for live in segments]
        self._known: dict[str, _Term | None] = {}

    def read(self, queries: Sequence[object], threads: int | None = None) -> list[object]:
        """Return the queries as they are; to find their words again costs little."""
        return list(queries)

    def search(self, query: object, k: int, allowed: Allowed = None) -> LegFound:
        """Return the k best live documents, best first, equal scores by id; rank-safe.

        Documents without a term of the query are no hits.
        """
        terms = self.terms(query)
        segments, documents, _, scores, path, postings, scored, _ = search_each(
            self._lives, self._vectors(terms), k, allowed
        )

        def passage(at: int) -> int:
            return self.passage(terms, int(segments[at]), int(documents[at]))

        return LegFound(segments, documents, scores, path, postings, scored, passage)

    def search_many(
        self, queries: Sequence[object], k: int, allowed: Allowed = None, threads: int | None = None
    ) -> list[LegFound]:
        """Return what each query finds, in order; `threads` of them are searched at a time."""
        if threads is not None and threads < 1:
            raise ConfigError(f"threads is {threads}; it must be at least 1")
        starts = range(0, len(queries), _CHUNK)
        workers = min(threads or os.cpu_count() or 1, len(starts))

        def part(start: int) -> list[LegFound]:
            return [self.search(query, k, allowed) for query in queries[start : start + _CHUNK]]

        if workers <= 1:
            return [found for start in starts for found in part(start)]
        load_kernels()
        with ThreadPoolExecutor(workers, thread_name_prefix="lsr-bm25") as pool:
            return [found for chunk in pool.map(part, starts) for found in chunk]

    def score(
        self, query: object, segments: Integers, documents: Integers
    ) -> npt.NDArray[np.float32]:
        """Return the score of each given document, to the bit what `search` gives it."""
        vectors = self._vectors(self.terms(query))
        scores = np.zeros(len(segments), np.float32)
        for number in np.unique(segments).tolist():
            mine, vector = segments == number, vectors[number]
            if len(vector.terms):
                scores[mine] = score_rows(self._lives[number].segment, vector, documents[mine])
        return scores

    def explain(self, query: object, segment: int, document: int) -> tuple[TermProduct, ...]:
        """Return the terms of a score: idf times number in the query, saturated count, product."""
        part, vector = self._parts[segment], self._vectors(self.terms(query))[segment]
        terms, counts = self._row(part, document)
        least, slope = self._lives[segment].segment.saturation.constants[:2]
        weights = counts / (counts + (least + slope * part.lengths[document]))
        asked = dict(zip(vector.terms.tolist(), vector.weights.tolist(), strict=True))
        products = [
            TermProduct(term, part.term(term), asked[term], weight, asked[term] * weight)
            for term, weight in zip(terms.tolist(), weights.tolist(), strict=True)
            if term in asked
        ]
        return tuple(sorted(products, key=lambda one: (-one.product, one.token)))

    def statistics(self) -> Mapping[str, Any]:
        """Return counts over all live documents; `terms` is the largest vocabulary of a segment."""
        return {
            "documents": self.n_documents,
            "mean_length": self.mean_length,
            "terms": max((part.n_terms for part in self._parts), default=0),
            "postings": sum(len(part.terms) for part in self._parts),
        }

    def passage(self, query: object, segment: int, document: int) -> int:
        """Return the passage in which the words of the query weigh most.

        A document is scored as one text; this analyses its passages now, and gives each the
        score that its words would have in a document of that length.
        """
        live = self._lives[segment].segment.live
        spans = live.segment.spans(document) or []
        if len(spans) < 2:
            return 0
        least, slope = self._lives[segment].segment.saturation.constants[:2]
        rest_of = float(least + slope * self._parts[segment].lengths[document])
        asked = {term: self.idf(term) * count for term, count in self.terms(query).items()}
        text = live.segment.document(document).text
        scores = []
        for span in spans:
            counts = Counter(self._analyzer.document_terms(text[span.start : span.end]))
            shared = ((weight, counts[term]) for term, weight in asked.items() if term in counts)
            scores.append(math.fsum(weight * n / (n + rest_of) for weight, n in shared))
        return scores.index(max(scores))

    def terms(self, query: object) -> Mapping[str, float]:
        """Return the terms of a query and how often each counts."""
        if isinstance(query, str):
            counts: dict[str, float] = {}
            for term in self._analyzer.query_terms(query):
                counts[term] = counts.get(term, 0) + 1
            return counts
        if not isinstance(query, Mapping) or not all(isinstance(term, str) for term in query):
            raise ConfigError(
                f"BM25 searches for a text or for terms with weights, not {type(query).__name__}"
            )
        for term, weight in query.items():
            if not 0 < weight < math.inf:
                raise DataError(f"the weight of the query's term {term!r} is {weight}")
        return query

    def counts(self, segment: int, document: int) -> dict[str, float]:
        """Return the terms of a document and their weighted counts."""
        part = self._parts[segment]
        terms, counts = self._row(part, document)
        names = [part.term(term) for term in terms.tolist()]
        return dict(zip(names, counts.tolist(), strict=True))

    def document_frequencies(self) -> dict[str, int]:
        """Return in how many live documents each term is; those in none are left out."""
        found: Counter[str] = Counter()
        for part, minus in zip(self._parts, self._minus, strict=True):
            frequency = part.frequency.astype(np.int64) - (0 if minus is None else minus)
            found.update(dict(zip(part.vocabulary(), frequency.tolist(), strict=True)))
        return dict(+found)

    def idf(self, term: str) -> float:
        """Return the inverse document frequency of a term, 0 for one that no document has."""
        found = self._term(term)
        return 0.0 if found is None else found.idf

    def _vectors(self, terms: Mapping[str, float]) -> list[SparseVector]:
        """Return the query in the numbers of each part; weights are idf times count."""
        known, look_up = self._known, self._term
        found = []
        for term, count in terms.items():
            one = known.get(term) or look_up(term)
            if one is not None:
                found.append((one.numbers, one.idf * count))
        return [_in_part(at, found) for at in range(len(self._parts))]

    def _term(self, term: str) -> _Term | None:
        """Look a term up in all parts, and remember what was found."""
        known = self._known  # another thread may put an empty one in its place
        if term in known:
            return known[term]
        numbers = tuple(int(part.find([term])[0]) for part in self._parts)
        frequency = 0
        for part, minus, number in zip(self._parts, self._minus, numbers, strict=True):
            if number >= 0:
                frequency += int(part.frequency[number])
                frequency -= 0 if minus is None else int(minus[number])
        found = None
        if frequency:
            idf = math.log(1 + (self.n_documents - frequency + 0.5) / (frequency + 0.5))
            found = _Term(idf, numbers)
        if len(known) >= _KNOWN:
            known = self._known = {}
        known[term] = found
        return found

    def _live(self, live: LiveSegment) -> _Live:
        part = _part(live)
        k1, b = self._constants
        least = rest(k1, b, self.mean_length, 0)
        constants = [least, rest(k1, b, self.mean_length, 1) - least]
        segment = _Segment(
            n_documents=part.n_documents,
            n_rows=part.n_documents,
            vocab_size=part.n_terms,
            forward=(part.indptr, part.terms, part.counts),
            postings=part.postings,
            id_rank=live.segment.id_rank,
            saturation=Saturation(
                frozen(part.lengths),
                frozen(np.array([*constants, self._slack(part.facts), SKIP_COUNTS], np.float32)),
            ),
            live=live,
        )
        return _Live(segment, live.deleted)

    def _slack(self, facts: PartFacts) -> float:
        """Return how many times as large as in a part's postings a weight may be now.

        The quotient of two such denominators is monotone in the length, and the smallest count
        makes the most of it. A little more, since codes and scores were rounded.
        """
        k1, b = self._constants
        ratios = [
            (facts.least_count + facts.rest(length))
            / (facts.least_count + rest(k1, b, self.mean_length, length))
            for length in (facts.shortest, facts.longest)
        ]
        return max(1.0, *ratios) * (1 + 4e-6)

    @staticmethod
    def _row(
        part: Bm25Part, document: int
    ) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.float32]]:
        span = slice(int(part.indptr[document]), int(part.indptr[document + 1]))
        return part.terms[span], part.counts[span]


def _in_part(at: int, found: Sequence[tuple[tuple[int, ...], float]]) -> SparseVector:
    """Return a query of numbers in all parts, with weights, in the numbers of one part."""
    weights = {numbers[at]: weight for numbers, weight in found}
    weights.pop(-1, None)
    numbers = sorted(weights)
    return SparseVector(
        np.array(numbers, np.uint32), np.array([weights[one] for one in numbers], np.float32)
    )


def _part(live: LiveSegment) -> Bm25Part:
    part = live.legs["bm25"]
    if not isinstance(part, Bm25Part):
        raise TypeError(f"{part!r} is not a part of BM25")
    return part


def _gone(live: LiveSegment) -> Integers:
    return np.zeros(0, np.int64) if live.deleted is None else np.flatnonzero(live.deleted)


def _sum(lengths: npt.NDArray[np.float32]) -> float:
    return float(lengths.sum(dtype=np.float64))
