"""Search of the dense leg: every vector compared, or those of the likeliest lists."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lsr.encoder import count_threads
from lsr.errors import ConfigError
from lsr.types import TermProduct

from .legs import Allowed, LegFound
from .places import best_first, names_in, to_keys, to_places

if TYPE_CHECKING:
    from .dense import DenseLeg, DensePart
    from .store import LiveSegment

Vectors = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

#: Parts with fewer rows, and filters that leave fewer, are searched by comparing all of them.
FLAT_ROWS = 50_000
#: The share of the lists to look into (60,000 vectors of all-MiniLM-L6-v2: 98 % of the 10 best
#: and 96 % of the 100 best, in a fifth of the time of comparing all), and how many candidates
#: for each hit are compared in full.
_SHARE, _CANDIDATES, _LEAST = 1 / 8, 4, 200
#: How far, of the product of the lengths, a sum of products in another order may be off.
_ROUNDING = 1e-5


class ReadQuery(NamedTuple):
    """The vector of a query that was read, and scaled where the leg scales vectors."""

    vector: Vectors


class DenseSearcher:
    """The dense leg over the segments of one snapshot.

    Scores are float32 inner products, computed in one way everywhere, so that a document has the
    same score however it was found. A part with lists is searched through them, which may miss
    some of the best, unless a filter leaves few documents; all others are searched exactly.
    """

    def __init__(self, leg: DenseLeg, segments: Sequence[LiveSegment]) -> None:
        self._leg = leg
        self._segments = segments
        self._parts: list[DensePart] = [_part(live, leg.name) for live in segments]
        self._names = names_in(segments)

    def read(self, queries: Sequence[object], threads: int | None = None) -> list[object]:
        """Return the vectors of the queries, as they are compared; texts are encoded together."""
        return [ReadQuery(vector) for vector in self._leg.query_vectors(queries, threads)]

    def search(self, query: object, k: int, allowed: Allowed = None) -> LegFound:
        """Return the k best live documents that are allowed; a text or a vector is the query."""
        return self._search(self._leg.query_vectors([query])[0], k, allowed)

    def search_many(
        self, queries: Sequence[object], k: int, allowed: Allowed = None, threads: int | None = None
    ) -> list[LegFound]:
        """Return what each query finds, in order; their texts are encoded together."""
        vectors = self._leg.query_vectors(queries, threads)
        workers = count_threads(threads)
        if workers == 1 or len(vectors) < 2:
            return [self._search(vector, k, allowed) for vector in vectors]
        with ThreadPoolExecutor(workers, thread_name_prefix="lsr-dense") as pool:
            return list(pool.map(lambda vector: self._search(vector, k, allowed), vectors))

    def score(self, query: object, segments: Ints, documents: Ints) -> npt.NDArray[np.float32]:
        """Return the score of each given document: its best row's."""
        vector = self._leg.query_vectors([query])[0]
        scores = np.zeros(len(documents), np.float32)
        for number in np.unique(segments).tolist():
            mine = np.flatnonzero(segments == number)
            scores[mine] = self._scores(number, vector, documents[mine])
        return scores

    def vectors(self, segments: Ints, documents: Ints) -> Vectors:
        """Return the vector of each document; of several rows, their mean."""
        found = np.zeros((len(documents), self._leg.dim), np.float32)
        places = zip(segments.tolist(), documents.tolist(), strict=True)
        for at, (number, document) in enumerate(places):
            rows = self._segments[number].segment.rows_of(document)
            found[at] = self._parts[number].vectors[rows.start : rows.stop].mean(axis=0)
        return found

    def query_vector(self, query: object) -> Vectors:
        """Return the vector (dim,) of a query, as it is compared."""
        vector: Vectors = self._leg.query_vectors([query])[0]
        return vector

    def explain(self, query: object, segment: int, document: int) -> tuple[TermProduct, ...]:
        """Return nothing: a dense score has no terms."""
        return ()

    def passage(self, query: object, segment: int, document: int) -> int:
        """Return the number of the document's passage with the largest score."""
        return self._passage(self.query_vector(query), segment, document)

    def statistics(self) -> Mapping[str, Any]:
        """Return how many vectors there are, and in how many segments lists are searched."""
        return {
            "vectors": sum(len(part.vectors) for part in self._parts),
            "dim": self._leg.dim,
            "segments_with_lists": sum(part.lists is not None for part in self._parts),
        }

    def _search(self, query: Vectors, k: int, allowed: Allowed) -> LegFound:
        if k < 1:
            raise ConfigError(f"k is {k}; it must be at least 1")
        keys, scores, ways, compared = [], [], set(), 0
        if query.any():
            for number in range(len(self._segments)):
                mask = None if allowed is None else allowed[number]
                documents, way, n_compared = self._candidates(number, query, k, mask)
                keys.append(to_keys(number, documents))
                scores.append(self._scores(number, query, documents))
                compared += n_compared
                if len(documents):
                    ways.add(way)
        if not ways:
            nothing = np.zeros(0, np.int64)
            return LegFound(nothing, nothing, np.zeros(0, np.float32), "empty")
        together, values = np.concatenate(keys), np.concatenate(scores)
        order = best_first(together, values, self._names, k)
        owners, documents = to_places(together[order])
        path = "lists" if "lists" in ways else "flat"

        def passage(at: int) -> int:
            return self._passage(query, int(owners[at]), int(documents[at]))

        return LegFound(owners, documents, values[order], path, 0, compared, passage)

    def _passage(self, query: Vectors, segment: int, document: int) -> int:
        rows = self._segments[segment].segment.rows_of(document)
        vectors = self._parts[segment].vectors[rows.start : rows.stop]
        return int(np.argmax(_products(vectors, query)))

    def _candidates(
        self, number: int, query: Vectors, k: int, mask: npt.NDArray[np.bool_] | None
    ) -> tuple[Ints, str, int]:
        """Return documents of a segment among which its k best are (or likely are), and how."""
        live, part = self._segments[number], self._parts[number]
        keep = _kept_rows(live, mask)
        n_kept = len(part.vectors) if keep is None else int(np.count_nonzero(keep))
        if part.lists is not None and n_kept >= FLAT_ROWS:
            wanted = max(_LEAST, _CANDIDATES * k)
            # Where a filter thins the lists, more of them have to be looked into.
            share = min(1.0, _SHARE * math.sqrt(len(part.vectors) / n_kept))
            rows = part.lists.search(query, wanted, share, keep)
            documents = np.unique(live.segment.row_documents(rows))
            if len(documents) >= k:
                return documents, "lists", len(rows)
        rows = np.arange(len(part.vectors)) if keep is None else np.flatnonzero(keep)
        if n_kept > len(part.vectors) // 4:
            products = (part.vectors @ query)[rows]
        else:
            products = part.vectors[rows] @ query
        margin = 2 * _ROUNDING * part.longest * float(np.linalg.norm(query))
        return _best_documents(live, rows, products, k, margin), "flat", n_kept

    def _scores(self, number: int, query: Vectors, documents: Ints) -> npt.NDArray[np.float32]:
        """Return the largest inner product of each document's rows, summed in one fixed way."""
        segment, part = self._segments[number].segment, self._parts[number]
        first = segment.document_rows
        if first is None:
            return _products(part.vectors[documents], query)
        if not len(documents):
            return np.zeros(0, np.float32)
        counts = first[documents + 1] - first[documents]
        starts = np.cumsum(counts) - counts
        rows = np.repeat(first[documents] - starts, counts) + np.arange(counts.sum())
        best: npt.NDArray[np.float32] = np.maximum.reduceat(
            _products(part.vectors[rows], query), starts
        )
        return best


def _part(live: LiveSegment, name: str) -> DensePart:
    part: Any = live.legs[name]
    found: DensePart = part
    return found


def _products(vectors: Vectors, query: Vectors) -> npt.NDArray[np.float32]:
    """Return inner products; row by row, so that none depends on what else is asked for."""
    found: npt.NDArray[np.float32] = np.einsum("ij,j->i", np.ascontiguousarray(vectors), query)
    return found


def _kept_rows(
    live: LiveSegment, mask: npt.NDArray[np.bool_] | None
) -> npt.NDArray[np.bool_] | None:
    """Return which rows belong to documents that are live and allowed; None for all."""
    if live.deleted is None:
        keep = mask
    else:
        keep = ~live.deleted if mask is None else mask & ~live.deleted
    if keep is None or live.segment.row_document is None:
        return keep
    return keep[live.segment.row_document]


def _best_documents(
    live: LiveSegment, rows: Ints, products: npt.NDArray[np.float32], k: int, margin: float
) -> Ints:
    """Return the documents of the k best and of all that are within `margin` of the last."""
    documents = live.segment.row_documents(rows)
    if live.segment.document_rows is not None and len(rows):
        starts = np.flatnonzero(np.concatenate([[True], documents[1:] != documents[:-1]]))
        documents, products = documents[starts], np.maximum.reduceat(products, starts)
    if len(products) <= k:
        return documents
    last = np.partition(products, len(products) - k)[len(products) - k]
    near: Ints = documents[products >= last - margin]
    return near
