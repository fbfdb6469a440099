"""Our engine in a search benchmark, driven as a program drives it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from lsr.index.calibration import TARGETS
from lsr.index.index import Index
from lsr.index.knobs import BlockKnobs, SearchKnobs
from lsr.index.warmup import warmup
from lsr.types import Document, SearchResult

from .search_engines import Build, Setting
from .search_sets import Csr

_BATCH = 8192
#: The expert knobs of each path, swept when all paths are asked for.
_SWEEPS: Mapping[str, Mapping[str, Sequence[float]]] = {
    "exact": {},
    "accumulate": {
        "cutoff": (0.02, 0.04, 0.06, 0.08, 0.1, 0.13, 0.16, 0.2, 0.3),
        "oversample": (2, 3, 5, 8, 12, 20),
    },
    "blocks": {
        "lists": (5, 8, 12, 20, 40),
        "skip_ratio": (0.3, 0.4, 0.5, 0.6, 0.7, 0.8),
    },
}


class LsrEngine:
    """`Index.search` with a target of recall, or exact."""

    package, module = "lsr-engine", "lsr"

    def builds(self, documents: Csr, queries: Csr) -> Sequence[Build]:
        return [
            Build("lsr", {}),
            Build("lsr float16", {"dtype": "float16"}),
            Build("lsr with blocks", {"blocks": True}, slow=True),
        ]

    def settings(
        self, build: Build, documents: Csr, k: int, *, thorough: bool
    ) -> Sequence[Setting]:
        found = [Setting({"recall": target}) for target in TARGETS]
        paths = _SWEEPS if build.options.get("blocks") else ("exact", "accumulate")
        forced = [one for path in paths for one in _forced(path)] if thorough else []
        return [*found, Setting({"exact": True}, exact=True), *forced]

    def load(self) -> None:
        warmup()

    def given(self, documents: Csr, folder: Path) -> Csr:
        return documents

    def build(self, given: Csr, build: Build, folder: Path) -> Callable[[], None]:
        """Add, commit and, where several segments came of it, merge; calibration is the rest."""
        path = folder / "index"
        shutil.rmtree(path, ignore_errors=True)
        options: dict[str, Any] = dict(build.options)
        with Index.create(path, encoder=None, vocab_size=given.n_terms, **options) as index:
            for start in range(0, given.n_rows, _BATCH):
                stop = min(start + _BATCH, given.n_rows)
                documents = [Document(str(row)) for row in range(start, stop)]
                index.add(documents, vectors=given.rows(start, stop).vectors())
            index.commit()
            if index.info().n_segments > 1:
                index.merge()
        return lambda: _calibrate(path)

    def open(self, build: Build, folder: Path, queries: Csr) -> LsrSearcher:
        return LsrSearcher(Index.open(folder / "index", verify=False), queries)


def _forced(path: str) -> list[Setting]:
    """Return the settings of one path with every combination of its knobs."""
    sweep = _SWEEPS[path]
    names = list(sweep)
    found = []
    for values in product(*sweep.values()):
        knobs = dict(zip(names, values, strict=True))
        options = {"path": path, "knobs": knobs} if knobs else {"path": path}
        found.append(Setting(options, exact=path == "exact"))
    return found


def _calibrate(path: Path) -> None:
    """Find the knobs for each recall, on queries made of the index's own documents."""
    with Index.open(path, verify=False) as index:
        index.calibrate()


def _with_knobs(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options with the knobs, which are plain numbers there, as those of their path."""
    found = dict(options)
    if "knobs" in found:
        kind = BlockKnobs if found.get("path") == "blocks" else SearchKnobs
        found["knobs"] = kind(**found["knobs"])
    return found


class LsrSearcher:
    def __init__(self, index: Index, queries: Csr) -> None:
        self._index = index
        self._queries = [queries.vector(query) for query in range(queries.n_rows)]

    def ask(self, options: Mapping[str, Any], k: int) -> Callable[[int], Any]:
        search: Callable[..., Any] = self._index.search
        queries = self._queries
        options = _with_knobs(options)

        def ask(query: int) -> Any:
            result = search(queries[query], k=k, **options)
            return result, result.ids, result.scores

        return ask

    def rows(self, answer: Any) -> Sequence[int]:
        return [int(found) for found in answer[1]]

    def stats(self, answer: Any) -> Mapping[str, float]:
        result: SearchResult = answer[0]
        counts = {name: float(value) for name, value in result.stats._asdict().items()}
        return {**counts, f"path {result.path}": 1.0}

    def batch(self, options: Mapping[str, Any], k: int, threads: int) -> int:
        """Search all queries in one call; return how many there were."""
        found = self._index.search_batch(
            self._queries, k=k, threads=threads, **_with_knobs(options)
        )
        return len(found)
