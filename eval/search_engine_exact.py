"""Engines that add up every posting: splade-index, bm25s and scipy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from lsr.errors import ConfigError

from .search_engines import Build, Setting
from .search_sets import Csr

_ARRAYS = ("indptr", "indices", "data")


class _ByTerm:
    """What they share: an index of one kind, the matrix by columns, and one setting."""

    package = module = "scipy"

    def builds(self, documents: Csr, queries: Csr) -> Sequence[Build]:
        return [Build(self.name(), {"n_rows": documents.n_rows, "n_terms": documents.n_terms})]

    def name(self) -> str:
        return self.package

    def settings(
        self, build: Build, documents: Csr, k: int, *, thorough: bool
    ) -> Sequence[Setting]:
        return [Setting({}, exact=True)]

    def load(self) -> None:
        import_module("scipy.sparse")
        import_module(self.module)

    def given(self, documents: Csr, folder: Path) -> Any:
        return documents.scipy()

    def build(self, given: Any, build: Build, folder: Path) -> Callable[[], None]:
        by_term = given.tocsc()

        def save() -> None:
            for name in _ARRAYS:
                np.save(folder / f"{name}.npy", getattr(by_term, name))

        return save


class ScipyEngine(_ByTerm):
    """A row of queries times the documents' transpose, then argpartition."""

    def open(self, build: Build, folder: Path, queries: Csr) -> ScipySearcher:
        return ScipySearcher(build, folder, queries)


class ScipySearcher:
    def __init__(self, build: Build, folder: Path, queries: Csr) -> None:
        from scipy.sparse import csr_array

        arrays = {name: np.load(folder / f"{name}.npy") for name in _ARRAYS}
        shape = build.options["n_terms"], build.options["n_rows"]
        self._by_term = csr_array(
            (arrays["data"], arrays["indices"], arrays["indptr"]), shape=shape
        )
        asked = csr_array(queries.scipy())
        self._queries = [asked[[query], :] for query in range(queries.n_rows)]

    def ask(self, options: Mapping[str, Any], k: int) -> Callable[[int], Any]:
        by_term, queries = self._by_term, self._queries

        def ask(query: int) -> Any:
            product = queries[query] @ by_term
            data, at = product.data, product.indices
            if len(data) > k:
                best = np.argpartition(data, len(data) - k)[len(data) - k :]
                data, at = data[best], at[best]
            order = np.argsort(-data)
            return at[order], data[order]

        return ask

    def rows(self, answer: Any) -> Sequence[int]:
        return [int(row) for row in answer[0]]

    def stats(self, answer: Any) -> Mapping[str, float]:
        return {}


class SpladeIndexEngine(_ByTerm):
    """Its `retrieve` with the numba backend.

    The library takes texts and a sentence-transformers model, not vectors: one that hands out
    the given vectors stands in for it, and costs next to nothing.
    """

    package, module = "splade-index", "splade_index"

    def load(self) -> None:
        super().load()
        import_module("torch")

    def open(self, build: Build, folder: Path, queries: Csr) -> SpladeIndexSearcher:
        return SpladeIndexSearcher(build, folder, queries)


class SpladeIndexSearcher:
    def __init__(self, build: Build, folder: Path, queries: Csr) -> None:
        arrays = {name: np.load(folder / f"{name}.npy") for name in _ARRAYS}
        self._n_rows = n_rows = build.options["n_rows"]
        index = import_module("splade_index").SPLADE(backend="numba")
        index.scores = {
            "data": arrays["data"],
            "indices": arrays["indices"].astype(np.int32, copy=False),
            "indptr": arrays["indptr"].astype(np.int32, copy=False),
            "num_docs": n_rows,
        }
        index.corpus = index.document_ids = np.arange(n_rows)
        index.unique_token_ids_set = set(np.flatnonzero(np.diff(arrays["indptr"])).tolist())
        index.model = _Given(queries)
        self._index = index

    def ask(self, options: Mapping[str, Any], k: int) -> Callable[[int], Any]:
        retrieve, most = self._index.retrieve, min(k, self._n_rows)
        return lambda query: retrieve([str(query)], k=most, n_threads=1, show_progress=False)

    def rows(self, answer: Any) -> Sequence[int]:
        return [int(row) for row in answer.doc_ids[0]]

    def stats(self, answer: Any) -> Mapping[str, float]:
        return {}


class _Given:
    """In the place of a model: the vector of the query whose number is the text."""

    def __init__(self, queries: Csr) -> None:
        import torch

        vectors = [queries.vector(query) for query in range(queries.n_rows)]
        self._tensors = [
            torch.sparse_coo_tensor(
                torch.from_numpy(one.terms.astype(np.int64))[None],
                torch.from_numpy(one.weights),
                (queries.n_terms,),
                is_coalesced=True,
                check_invariants=False,
            )
            for one in vectors
        ]

    def encode_query(self, texts: Sequence[str], **ignored: object) -> list[Any]:
        return [self._tensors[int(text)] for text in texts]


class Bm25sEngine(_ByTerm):
    """Its `retrieve` with the numba backend, where it can answer: its queries have no weights."""

    package = module = "bm25s"

    def builds(self, documents: Csr, queries: Csr) -> Sequence[Build]:
        if (np.asarray(queries.weights) != 1).any():
            raise ConfigError("its queries are lists of terms without weights; these have weights")
        return super().builds(documents, queries)

    def open(self, build: Build, folder: Path, queries: Csr) -> Bm25sSearcher:
        return Bm25sSearcher(build, folder, queries)


class Bm25sSearcher:
    def __init__(self, build: Build, folder: Path, queries: Csr) -> None:
        arrays = {name: np.load(folder / f"{name}.npy") for name in _ARRAYS}
        self._n_rows = n_rows = build.options["n_rows"]
        self._index = import_module("bm25s").BM25(backend="numba")
        self._index.scores = {
            "data": arrays["data"],
            "indices": arrays["indices"].astype(np.int32, copy=False),
            "indptr": arrays["indptr"].astype(np.int32, copy=False),
            "num_docs": n_rows,
        }
        vectors = [queries.vector(query) for query in range(queries.n_rows)]
        self._queries = [[one.terms.tolist()] for one in vectors]

    def ask(self, options: Mapping[str, Any], k: int) -> Callable[[int], Any]:
        retrieve, queries, most = self._index.retrieve, self._queries, min(k, self._n_rows)

        def ask(query: int) -> Any:
            if not queries[query][0]:
                return [[]], [[]]
            return retrieve(queries[query], k=most, show_progress=False)

        return ask

    def rows(self, answer: Any) -> Sequence[int]:
        return [int(row) for row in answer[0][0]]

    def stats(self, answer: Any) -> Mapping[str, float]:
        return {}
