"""The sparse leg, which lives in the segments themselves, in the shape of the other legs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.errors import ConfigError
from lsr.sparse import SparseVector, SparseVectors
from lsr.types import TermProduct

from .answer import explanation
from .found import Found
from .knobs import Knobs
from .legs import Allowed, LegFound
from .neighbours import best_scores, own_vector
from .search import score_rows, search, search_many
from .store import LiveSegment

Ints = npt.NDArray[np.int64]


class SparseSearcher:
    """The learned sparse vectors of a snapshot as a leg.

    `to_vectors` reads queries and `token` names terms; `choose` gives the knobs for k hits, and
    whether some are filtered out.
    """

    def __init__(
        self,
        segments: Sequence[LiveSegment],
        to_vectors: Callable[[Sequence[Any], int | None], list[SparseVector]],
        token: Callable[[int], str],
        choose: Callable[[int, bool], Knobs | None],
    ) -> None:
        self._segments = segments
        self._to_vectors = to_vectors
        self._choose = choose
        self.token = token

    def read(self, queries: Sequence[object], threads: int | None = None) -> list[object]:
        """Return the vectors of the queries; texts are encoded together."""
        return list(self._to_vectors(queries, threads))

    def search(self, query: object, k: int, allowed: Allowed = None) -> LegFound:
        """Return the k best live documents that are allowed, fewer when fewer match."""
        return self.search_many([query], k, allowed, 1)[0]

    def search_many(
        self, queries: Sequence[object], k: int, allowed: Allowed = None, threads: int | None = None
    ) -> list[LegFound]:
        """Return what each query finds, in order; texts are encoded together."""
        knobs = self._choose(k, allowed is not None)
        vectors = self._to_vectors(queries, threads)
        if len(vectors) == 1:
            return [self._leg_found(search(self._segments, vectors[0], k, allowed, knobs))]
        found = search_many(self._segments, vectors, k, allowed, threads, knobs)
        return [self._leg_found(one) for one in found]

    def score(self, query: object, segments: Ints, documents: Ints) -> npt.NDArray[np.float32]:
        """Return the score of each given document: that of its best passage."""
        vector = self.query_vector(query)
        scores = np.zeros(len(documents), np.float32)
        for number in np.unique(segments).tolist():
            mine = np.flatnonzero(segments == number)
            scores[mine] = best_scores(self._segments[number], vector, documents[mine])
        return scores

    def explain(self, query: object, segment: int, document: int) -> tuple[TermProduct, ...]:
        """Return the products of the query with the document's best passage, largest first."""
        live, vector = self._segments[segment], self.query_vector(query)
        return explanation(live, document, vector, self.token).terms

    def passage(self, query: object, segment: int, document: int) -> int:
        """Return the number of the document's passage with the largest score."""
        live = self._segments[segment]
        rows = live.segment.rows_of(document)
        vector = self.query_vector(query)
        return int(np.argmax(score_rows(live.segment, vector, np.arange(rows.start, rows.stop))))

    def statistics(self) -> Mapping[str, Any]:
        """Return how many rows and postings there are."""
        return {"rows": sum(live.segment.n_rows for live in self._segments)}

    def query_vector(self, query: object) -> SparseVector:
        """Return the vector of a query."""
        return self._to_vectors([query], 1)[0]

    def vectors(self, segments: Ints, documents: Ints) -> SparseVectors:
        """Return the vector of each document; of several passages, each term's largest weight."""
        rows = []
        for number, document in zip(segments.tolist(), documents.tolist(), strict=True):
            terms, weights = own_vector(self._segments[number], document)
            rows.append(dict(zip(terms.tolist(), weights.tolist(), strict=True)))
        if not rows:
            raise ConfigError("there are no documents to read vectors of")
        return SparseVectors.from_dicts(rows, vocab_size=self._segments[0].segment.vocab_size)

    def _leg_found(self, found: Found) -> LegFound:
        def passage(at: int) -> int:
            segment = self._segments[int(found.segments[at])].segment
            return int(found.rows[at]) - segment.rows_of(int(found.documents[at])).start

        return LegFound(
            found.segments,
            found.documents,
            found.scores,
            found.path,
            found.postings,
            found.scored,
            passage,
        )
