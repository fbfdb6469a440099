"""BM25 by the library bm25s: a peer that a report can put beside ours."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from lsr.analysis import Analyzer, make_analyzer

from .analyzers import DEFAULT_ANALYZER
from .datasets import Dataset
from .systems import Footprint, Lists, Ranking

K1, B = 0.9, 0.4
_IDS, _MADE, _STEP = "ids.json", "made.json", 2000


def missing() -> str | None:
    """Return why BM25 cannot be run here, None if it can."""
    for module, package in (("bm25s", "bm25s"), ("Stemmer", "PyStemmer")):
        if find_spec(module) is None:
            return f"{package} is not installed (pip install lsr-engine[bench])"
    return None


class Bm25System:
    """BM25, Lucene's variant, with k1 0.9 and b 0.4 as Anserini has them.

    English words are the library's own; for another `analyzer` it is given what our leg counts.
    Title and text are one field. The whole index, and while it is built the texts, are in memory.
    """

    name, family, is_exact = "BM25 (bm25s)", "bm25s", True

    def __init__(self, folder: Path, analyzer: Mapping[str, Any]) -> None:
        bm25s = _library()
        self._analysis = _analysis(analyzer)
        self._folder = folder
        self._ids: list[str] = json.loads((folder / _IDS).read_text("utf-8"))
        self._made: dict[str, Any] = json.loads((folder / _MADE).read_text("utf-8"))
        self._engine = bm25s.BM25.load(folder / "index", show_progress=False)
        self.title = f"bm25s {version('bm25s')}, Lucene's variant"
        self.settings: dict[str, object] = {"k1": K1, "b": B, "analyzer": analyzer["name"]}

    @classmethod
    def make(
        cls,
        dataset: Dataset,
        folder: Path,
        analyzer: Mapping[str, Any],
        progress: Callable[[int], None] | None = None,
    ) -> Bm25System:
        """Index a corpus into `folder`, unless that was done before, and return the system."""
        if not (folder / _MADE).exists():
            _build(dataset, folder, analyzer, progress)
        return cls(folder, analyzer)

    def search(self, query: str, k: int) -> Ranking:
        """Return the k best documents for one text, in one thread."""
        return self.search_many([query], k, 1)[0]

    def search_many(self, queries: Sequence[str], k: int, threads: int) -> list[Ranking]:
        """Return the k best documents for each text; those without a query's word are no hits."""
        vocabulary = self._engine.vocab_dict
        asked = [
            [token for token in tokens if token and token in vocabulary]
            for tokens in _query_tokens(queries, self._analysis)
        ]
        # A query without a word that it knows makes the library raise.
        known = [at for at, tokens in enumerate(asked) if tokens]
        rankings = [Ranking([], [])] * len(queries)
        if not known:
            return rankings
        started = time.perf_counter()
        found = self._engine.retrieve(
            [asked[at] for at in known],
            k=min(k, len(self._ids)),
            show_progress=False,
            n_threads=0 if threads == 1 else threads,
        )
        each = (time.perf_counter() - started) / len(known)
        for at, rows, scores in zip(known, found.documents, found.scores, strict=True):
            n = int((scores > 0).sum())
            ids = [self._ids[row] for row in rows[:n].tolist()]
            rankings[at] = Ranking(ids, scores[:n].tolist(), each)
        return rankings

    def footprint(self) -> Footprint:
        """Return what the index takes; its files hold no texts."""
        size = sum(file.stat().st_size for file in self._folder.rglob("*") if file.is_file())
        return Footprint(size, len(self._ids), self._made["seconds"], self._made["peak"])

    def lists(self, queries: Sequence[str]) -> Lists:
        """Return the inverted lists."""
        vocabulary: dict[str, int] = self._engine.vocab_dict
        frequency = np.diff(self._engine.scores["indptr"]).astype(np.int64)
        asked = np.zeros(len(frequency), np.int64)
        for tokens in _query_tokens(queries, self._analysis):
            for token in set(tokens):
                if (term := vocabulary.get(token)) is not None and term < len(asked):
                    asked[term] += 1
        return Lists(frequency, asked, len(self._ids), len(queries))


def _build(
    dataset: Dataset,
    folder: Path,
    analyzer: Mapping[str, Any],
    progress: Callable[[int], None] | None,
) -> None:
    from lsr.index.build import peak_memory

    bm25s = _library()
    folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    analysis = _analysis(analyzer)
    ids, tokens = [], []
    texts: list[str] = []
    for document in dataset.documents():
        ids.append(document.id)
        texts.append(document.full_text())
        if len(texts) == _STEP:
            tokens += _document_tokens(texts, analysis)
            texts = []
            if progress is not None:
                progress(len(ids))
    tokens += _document_tokens(texts, analysis)
    engine = bm25s.BM25(k1=K1, b=B, method="lucene", backend="numpy")
    engine.index(tokens, show_progress=False)
    engine.save(folder / "index", show_progress=False)
    (folder / _IDS).write_text(json.dumps(ids), "utf-8")
    made = {"seconds": time.perf_counter() - started, "peak": peak_memory()}
    # Last, for it says that all the others are whole.
    (folder / _MADE).write_text(json.dumps(made), "utf-8")


def _analysis(analyzer: Mapping[str, Any]) -> Analyzer | None:
    """Return what makes the words, None for the library itself, which knows English."""
    return None if analyzer["name"] == DEFAULT_ANALYZER else make_analyzer(analyzer)


def _document_tokens(texts: Sequence[str], analysis: Analyzer | None) -> list[list[str]]:
    if analysis is None:
        return _tokens(texts)
    return [analysis.document_terms(text) or [""] for text in texts]


def _query_tokens(texts: Sequence[str], analysis: Analyzer | None) -> list[list[str]]:
    if analysis is None:
        return _tokens(texts)
    return [analysis.query_terms(text) or [""] for text in texts]


def _tokens(texts: Sequence[str]) -> list[list[str]]:
    import Stemmer

    if not texts:
        return []
    stemmer = Stemmer.Stemmer("english")
    found = _library().tokenize(
        list(texts), stopwords="en", stemmer=stemmer, show_progress=False, return_ids=False
    )
    # An empty query is refused by bm25s; the empty token is one that no document has.
    return [list(tokens) or [""] for tokens in found]


def _library() -> Any:
    import logging

    import bm25s

    logging.getLogger("bm25s").setLevel(logging.WARNING)  # it asks for DEBUG itself
    return bm25s
