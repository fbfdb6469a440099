"""Expansion: feedback on each kind of leg, from the documents that a search found."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from lsr.errors import ConfigError
from lsr.sparse import SparseVector
from lsr.types import AddedTerm

from .dense_search import DenseSearcher
from .feedback import (
    COMMON_COUNT,
    COMMON_SHARE,
    Feedback,
    average_dense,
    rm3,
    rocchio_dense,
    rocchio_sparse,
)
from .fusion import Ranking
from .legs import LegSearcher
from .places import to_places
from .sparse_leg import SparseSearcher


@runtime_checkable
class TermSearcher(Protocol):
    """What feedback needs of BM25: queries and documents as counted terms."""

    @property
    def n_documents(self) -> int:
        """The number of live documents."""

    def terms(self, query: object) -> Mapping[str, float]:
        """Return the terms of a query and how often each counts."""

    def counts(self, segment: int, document: int) -> dict[str, float]:
        """Return the terms of a document and their counts."""

    def idf(self, term: str) -> float:
        """Return the inverse document frequency of a term."""


class Expanded(NamedTuple):
    """A richer query for a leg, and the terms that it was given, heaviest first."""

    query: object
    added: tuple[AddedTerm, ...] = ()


def expand(
    name: str, searcher: LegSearcher, query: object, best: Ranking, settings: Feedback
) -> Expanded:
    """Return the query of a leg made richer by documents; by none, it stays as it is.

    RM3 for BM25, Rocchio for sparse vectors, Rocchio or the average for dense ones.
    """
    if not len(best.keys):
        return Expanded(query)
    segments, documents = to_places(best.keys)
    if isinstance(searcher, SparseSearcher):
        return _sparse(searcher, query, segments, documents, settings)
    if isinstance(searcher, TermSearcher):
        return _bm25(searcher, query, best, settings)
    if isinstance(searcher, DenseSearcher):
        asked, found = searcher.query_vector(query), searcher.vectors(segments, documents)
        if not asked.any():
            return Expanded(query)
        if settings.dense == "average":
            return Expanded(average_dense(asked, found))
        return Expanded(rocchio_dense(asked, found, alpha=settings.alpha))
    raise ConfigError(f"there is no feedback for the leg {name!r}; for sparse, bm25 and dense")


def _sparse(
    searcher: SparseSearcher,
    query: object,
    segments: npt.NDArray[np.int64],
    documents: npt.NDArray[np.int64],
    settings: Feedback,
) -> Expanded:
    asked = searcher.query_vector(query)
    if not len(asked.terms):
        return Expanded(query)
    found = searcher.vectors(segments, documents)
    moved = rocchio_sparse(asked, found, terms=settings.terms, alpha=settings.alpha)
    return Expanded(moved, _added(_by_token(searcher, moved), _by_token(searcher, asked)))


def _by_token(searcher: SparseSearcher, vector: SparseVector) -> dict[str, float]:
    pairs = zip(vector.terms.tolist(), vector.weights.tolist(), strict=True)
    return {searcher.token(term): weight for term, weight in pairs}


def _bm25(searcher: TermSearcher, query: object, best: Ranking, settings: Feedback) -> Expanded:
    asked = searcher.terms(query)
    if not asked:
        return Expanded(query)
    segments, documents = to_places(best.keys)
    places = zip(segments.tolist(), documents.tolist(), strict=True)
    counts = [searcher.counts(number, document) for number, document in places]
    n_documents = searcher.n_documents
    common = max(COMMON_SHARE * n_documents, COMMON_COUNT)
    least = math.log(1 + max(0.0, n_documents - common + 0.5) / (common + 0.5))
    expanded = rm3(
        asked,
        counts,
        best.scores.tolist(),
        terms=settings.terms,
        alpha=settings.alpha,
        keep=lambda term: searcher.idf(term) >= least,
    )
    total = sum(asked.values())
    return Expanded(
        expanded, _added(expanded, {term: weight / total for term, weight in asked.items()})
    )


def _added(after: dict[str, float], before: dict[str, float]) -> tuple[AddedTerm, ...]:
    """Return the terms that are new or heavier, heaviest first."""
    grown = [
        AddedTerm(token, weight, before.get(token, 0.0))
        for token, weight in after.items()
        if weight > before.get(token, 0.0) * (1 + 1e-6)
    ]
    return tuple(sorted(grown, key=lambda term: (-term.weight, term.token)))
