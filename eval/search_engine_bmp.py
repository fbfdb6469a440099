"""BMP (Block-Max Pruning) in a search benchmark."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from .search_engines import Build, Setting
from .search_sets import Csr

_ALPHAS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
_BETAS = (1.0, 0.8, 0.6, 0.4)
#: Documents beyond which blocks of 8 need several gigabytes.
_MANY = 300_000
_CHUNK = 65_536


class BmpEngine:
    """Its `Searcher`; weights are rounded to 8 bits, since it takes whole numbers only."""

    package, module = "bmp", "bmp"

    def builds(self, documents: Csr, queries: Csr) -> Sequence[Build]:
        sizes = (8, 32) if documents.n_rows <= _MANY else (32,)
        return [Build(f"BMP blocks of {size}", {"bsize": size}) for size in sizes]

    def settings(
        self, build: Build, documents: Csr, k: int, *, thorough: bool
    ) -> Sequence[Setting]:
        return [Setting({"alpha": alpha, "beta": beta}) for alpha, beta in product(_ALPHAS, _BETAS)]

    def load(self) -> None:
        import_module(self.module)

    def given(self, documents: Csr, folder: Path) -> Csr:
        return documents

    def build(self, given: Csr, build: Build, folder: Path) -> Callable[[], None]:
        path = str(folder / "index.bmp")
        indexer = import_module("bmp").Indexer(path, **build.options, compress_range=False)
        names = [str(term) for term in range(given.n_terms)]
        scale = 255 / max(1e-30, _largest(given))
        for start in range(0, given.n_rows, _CHUNK):
            part = given.rows(start, min(start + _CHUNK, given.n_rows))
            terms = part.terms.tolist()
            weights = np.maximum(1, np.rint(part.weights * scale)).astype(int).tolist()
            ends = part.indptr.tolist()
            for row in range(part.n_rows):
                span = slice(ends[row], ends[row + 1])
                pairs = zip((names[term] for term in terms[span]), weights[span], strict=True)
                indexer.add_document(str(start + row), dict(pairs))
        indexer.finish()
        return lambda: None

    def open(self, build: Build, folder: Path, queries: Csr) -> BmpSearcher:
        return BmpSearcher(import_module("bmp").Searcher(str(folder / "index.bmp")), queries)


def _largest(documents: Csr) -> float:
    step = 1 << 24
    parts = (documents.weights[at : at + step] for at in range(0, documents.nnz, step))
    return max((float(part.max()) for part in parts), default=1.0)


class BmpSearcher:
    def __init__(self, index: Any, queries: Csr) -> None:
        self._index = index
        vectors = [queries.vector(query) for query in range(queries.n_rows)]
        self._queries = [
            dict(zip(map(str, one.terms.tolist()), one.weights.tolist(), strict=True))
            for one in vectors
        ]

    def ask(self, options: Mapping[str, Any], k: int) -> Callable[[int], Any]:
        search, queries = self._index.search, self._queries
        alpha, beta = options["alpha"], options["beta"]
        return lambda query: search(queries[query], k=k, alpha=alpha, beta=beta)

    def rows(self, answer: Any) -> Sequence[int]:
        return [int(row) for row in answer[0]]

    def stats(self, answer: Any) -> Mapping[str, float]:
        return {}
