"""Seismic (pyseismic-lsr) in a search benchmark."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .search_engines import Build, Setting
from .search_sets import Csr

_CHUNK = 65_536
_HEAP_FACTORS = (0.7, 0.8, 0.9, 1.0)
_CUTS = (3, 4, 5, 6, 8, 10, 12, 16)
#: Terms that fit its plain index; beyond, its class for large vocabularies.
_SMALL_VOCABULARY = 65_536


class SeismicEngine:
    """Its raw index: terms and rows are numbers, which is the least that a call can cost."""

    package, module = "pyseismic-lsr", "seismic"

    def builds(self, documents: Csr, queries: Csr) -> Sequence[Build]:
        raw = "SeismicIndexRaw" if documents.n_terms <= _SMALL_VOCABULARY else "SeismicIndexRawLV"
        n = documents.n_rows
        small, large = (100, 300) if n < 300_000 else (300, 1000) if n < 3_000_000 else (1000, 3500)
        graph = {"class": raw, "n_postings": large, "max_fraction": 6.0, "nknn": 10}
        return [
            Build(
                f"Seismic {small} postings",
                {"class": raw, "n_postings": small, "max_fraction": 6.0},
            ),
            Build(
                f"Seismic {large} postings",
                {"class": raw, "n_postings": large, "max_fraction": 6.0},
            ),
            Build(f"Seismic {large} postings, 10 neighbours", graph, slow=True),
            Build("Seismic as it comes", {"class": raw}, slow=True),
        ]

    def settings(
        self, build: Build, documents: Csr, k: int, *, thorough: bool
    ) -> Sequence[Setting]:
        neighbours = (0, 10) if build.options.get("nknn") else (0,)
        return [
            Setting({"query_cut": cut, "heap_factor": factor, "n_knn": near})
            for cut, factor, near in product(_CUTS, _HEAP_FACTORS, neighbours)
        ]

    def load(self) -> None:
        import_module(self.module)

    def given(self, documents: Csr, folder: Path) -> str:
        path = folder.parent / "seismic-input.bin"
        if not path.is_file():
            partial = path.with_suffix(".tmp")
            write_inner_format(documents, partial)
            partial.replace(path)
        return str(path)

    def build(self, given: str, build: Build, folder: Path) -> Callable[[], None]:
        options = dict(build.options)
        kind = getattr(import_module("seismic"), options.pop("class"))
        index = kind.build(given, **options)
        # It says that it writes index.index.seismic, and writes index.
        return lambda: index.save(str(folder / "index"))

    def open(self, build: Build, folder: Path, queries: Csr) -> SeismicSearcher:
        kind = getattr(import_module("seismic"), build.options["class"])
        paths = [path for path in sorted(folder.glob("index*")) if path.is_file()]
        return SeismicSearcher(kind.load(str(paths[0])), queries)


def write_inner_format(documents: Csr, path: Path) -> None:
    """Write rows as Seismic reads them: counts and terms as uint32, weights as float32.

    The number of rows comes first, then each row: its length, its terms, its weights.
    """
    with path.open("wb") as file:
        np.array([documents.n_rows], "<u4").tofile(file)
        for start in range(0, documents.n_rows, _CHUNK):
            part = documents.rows(start, min(start + _CHUNK, documents.n_rows))
            _words(part).tofile(file)


def _words(part: Csr) -> npt.NDArray[np.uint32]:
    lengths = np.diff(part.indptr)
    starts = np.arange(part.n_rows) + 2 * part.indptr[:-1]
    words = np.empty(part.n_rows + 2 * part.nnz, "<u4")
    words[starts] = lengths
    at = np.repeat(starts + 1 - part.indptr[:-1], lengths) + np.arange(part.nnz)
    words[at] = part.terms
    words[at + np.repeat(lengths, lengths)] = np.ascontiguousarray(part.weights).view("<u4")
    return words


class SeismicSearcher:
    def __init__(self, index: Any, queries: Csr) -> None:
        self._index = index
        vectors = [queries.vector(query) for query in range(queries.n_rows)]
        self._queries = [(one.terms.astype(np.int32), one.weights) for one in vectors]

    def ask(self, options: Mapping[str, Any], k: int) -> Callable[[int], Any]:
        search, queries = self._index.search, self._queries
        cut, factor, near = options["query_cut"], options["heap_factor"], options["n_knn"]

        def ask(query: int) -> Any:
            terms, weights = queries[query]
            return search(terms, weights, k, cut, factor, near, True)

        return ask

    def rows(self, answer: Any) -> Sequence[int]:
        return [row for _, row in answer]

    def stats(self, answer: Any) -> Mapping[str, float]:
        return {}
