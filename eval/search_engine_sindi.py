"""SINDI of pyvsag in a search benchmark."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .search_engines import Build, Setting
from .search_sets import Csr

#: Candidates that are scored again, times k.
_CANDIDATES = (1, 1.5, 2, 3, 5, 10, 20)
_QUERY_PRUNING = (0.0, 0.1, 0.2, 0.35, 0.5)
#: Documents share windows; the largest was the fastest or as fast in every trial.
_WINDOW = 60_000


class SindiEngine:
    """Postings with their weights, added up window by window; pruned documents, scored again.

    Quantised weights (SQ8), smaller windows and pruned lists were tried and were never ahead.
    """

    package, module = "pyvsag", "pyvsag"

    def builds(self, documents: Csr, queries: Csr) -> Sequence[Build]:
        longest = int(np.diff(documents.indptr).max(initial=1))
        common = {"term_id_limit": documents.n_terms, "window_size": _WINDOW, "longest": longest}
        return [
            Build("SINDI", {**common, "doc_prune_ratio": 0.0, "use_reorder": False}),
            Build("SINDI pruned 0.2", {**common, "doc_prune_ratio": 0.2, "use_reorder": True}),
            Build("SINDI pruned 0.4", {**common, "doc_prune_ratio": 0.4, "use_reorder": True}),
        ]

    def settings(
        self, build: Build, documents: Csr, k: int, *, thorough: bool
    ) -> Sequence[Setting]:
        if not build.options["use_reorder"]:
            plain = [{"n_candidate": k, "query_prune_ratio": share} for share in _QUERY_PRUNING]
            # An array of all scores instead of a heap for each list: ahead when nothing is pruned.
            array = [{**options, "use_term_lists_heap_insert": False} for options in plain]
            return [
                Setting(options, options["query_prune_ratio"] == 0) for options in plain + array
            ]
        candidates = sorted({int(k * times) for times in _CANDIDATES})
        return [
            Setting({"n_candidate": count, "query_prune_ratio": share})
            for count, share in product(candidates, _QUERY_PRUNING)
        ]

    def load(self) -> None:
        import_module(self.module)

    def given(self, documents: Csr, folder: Path) -> tuple[Any, ...]:
        return (
            documents.indptr.astype(np.uint32),
            _as_uint32(documents.terms),
            np.asarray(documents.weights, np.float32),
            np.arange(documents.n_rows, dtype=np.int64),
        )

    def build(self, given: tuple[Any, ...], build: Build, folder: Path) -> Callable[[], None]:
        index = new_index(build)
        index.build(*given)
        return lambda: index.save(str(folder / "index.vsag"))

    def open(self, build: Build, folder: Path, queries: Csr) -> SindiSearcher:
        index = new_index(build)
        index.load(str(folder / "index.vsag"))
        return SindiSearcher(index, queries)


def _as_uint32(terms: npt.NDArray[Any]) -> npt.NDArray[np.uint32]:
    """Return terms as it wants them, without a copy of many gigabytes where they fit."""
    return terms.view(np.uint32) if terms.dtype.itemsize == 4 else terms.astype(np.uint32)


def new_index(build: Build) -> Any:
    """Return an empty index of the build's settings."""
    options = dict(build.options)
    longest = options.pop("longest")
    about = {
        "dtype": "sparse",
        "metric_type": "ip",
        "dim": longest,
        "index_param": {**options, "use_quantization": False},
    }
    return import_module("pyvsag").Index("sindi", json.dumps(about))


class SindiSearcher:
    def __init__(self, index: Any, queries: Csr) -> None:
        self._index = index
        vectors = [queries.vector(query) for query in range(queries.n_rows)]
        self._queries = [
            (np.array([0, len(one.terms)], np.uint32), one.terms, one.weights) for one in vectors
        ]

    def ask(self, options: Mapping[str, Any], k: int) -> Callable[[int], Any]:
        search, queries = self._index.knn_search, self._queries
        told = json.dumps({"sindi": dict(options)})

        def ask(query: int) -> Any:
            bounds, terms, weights = queries[query]
            # An empty query would bring back memory that nobody wrote.
            return search(bounds, terms, weights, k, told) if len(terms) else ((), ())

        return ask

    def rows(self, answer: Any) -> Sequence[int]:
        return [int(row) for row in np.ravel(answer[0])]

    def stats(self, answer: Any) -> Mapping[str, float]:
        return {}
