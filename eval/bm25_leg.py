"""Our BM25 as a system: the leg `bm25` of an index."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np

from .systems import Footprint, Lists, Ranking

if TYPE_CHECKING:
    from lsr.index.bm25_search import Bm25Searcher
    from lsr.index.index import Index

LEG = "bm25"


class Bm25LegSystem:
    """BM25 by the index's own leg, rank-safe."""

    name, family, is_exact = "BM25", "bm25", True

    def __init__(self, index: Index, *, build_seconds: float | None = None) -> None:
        self.index = index
        self._build_seconds = build_seconds
        self._searcher = cast("Bm25Searcher", index.searcher(LEG))
        self._facts = index.info().legs[LEG]
        settings = index.settings.legs[LEG]
        self.title = f"words, analysed as {settings['analyzer']['name']}"
        self.settings: dict[str, object] = {
            **settings,
            "analyzer": settings["analyzer"]["name"],
        }

    def search(self, query: str, k: int) -> Ranking:
        """Return the k best documents for one text, in one thread."""
        terms = dict(self._searcher.terms(query))
        started = time.perf_counter()
        result = self.index.search(terms, k=k, mode=LEG)
        return Ranking(result.ids, result.scores, time.perf_counter() - started)

    def search_many(self, queries: Sequence[str], k: int, threads: int) -> list[Ranking]:
        """Return the k best documents for each text, in order."""
        found = self.index.search_batch(list(queries), k=k, mode=LEG, threads=threads)
        return [Ranking(one.ids, one.scores) for one in found]

    def footprint(self) -> Footprint:
        """Return what the leg takes; the texts, which all legs share, are not counted."""
        return Footprint(self._facts["bytes"], len(self.index), self._build_seconds)

    def lists(self, queries: Sequence[str]) -> Lists:
        """Return the inverted lists."""
        counted = self._searcher.document_frequencies()
        number = {term: at for at, term in enumerate(counted)}
        asked = np.zeros(len(number), np.int64)
        for query in queries:
            for term in self._searcher.terms(query):
                if term in number:
                    asked[number[term]] += 1
        frequency = np.fromiter(counted.values(), np.int64, len(counted))
        return Lists(frequency, asked, len(self.index), len(queries))
