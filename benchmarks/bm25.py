"""Build and search BM25 beside bm25s, on the same tokens, in the same run.

    python benchmarks/bm25.py FOLDER... [--documents N] [--queries 500] [--rounds 5]

FOLDER are BEIR folders; their documents are shuffled together. Queries are runs of 2 to 12 words
of documents. Both engines analyse the text of a query, score exactly and give ids, in one thread;
bm25s has its numba backend, and its compilation is not counted. Rounds go through all queries, and
each query through both engines, one after the other, so that other work of the machine meets both.
Of each query the least time of the rounds counts; medians and means over the queries are printed.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lsr.corpus import read_documents
from lsr.index.bm25 import Bm25Leg
from lsr.index.index import Index
from lsr.index.search import load_kernels
from lsr.types import Document

K1, B = 0.9, 0.4


def clocked(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """Return what work gives, and its CPU and wall seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    found = work()
    return found, time.process_time() - cpu, time.perf_counter() - wall


def some_queries(documents: Sequence[Document], count: int) -> list[str]:
    rng = random.Random(1)
    queries: list[str] = []
    while len(queries) < count:
        words = rng.choice(documents).text.split()
        size = rng.randint(2, 12)
        if len(words) >= size:
            start = rng.randint(0, len(words) - size)
            queries.append(" ".join(words[start : start + size]))
    return queries


def build_theirs(documents: Sequence[Document], folder: Path) -> Any:
    import bm25s
    import Stemmer

    texts = [document.full_text() for document in documents]
    stemmer = Stemmer.Stemmer("english")
    tokens = bm25s.tokenize(texts, stopwords="en", stemmer=stemmer, show_progress=False)
    engine = bm25s.BM25(k1=K1, b=B, method="lucene", backend="numba")
    engine.index(tokens, show_progress=False)
    engine.save(folder, show_progress=False)
    return engine


def build_ours(documents: Sequence[Document], folder: Path) -> Index:
    index = Index.create(folder, legs=[Bm25Leg(K1, B)])
    index.add(documents)
    index.commit()
    return index


def theirs_on_our_tokens(documents: Sequence[Document], leg: Bm25Leg) -> Any:
    import bm25s

    terms = leg.analysis.document_terms
    engine = bm25s.BM25(k1=K1, b=B, method="lucene", backend="numba")
    tokens = [terms(document.title) + terms(document.text) for document in documents]
    engine.index(tokens, show_progress=False)
    return engine


def search(
    index: Index, engine: Any, ids: Sequence[str], queries: Sequence[str], k: int, rounds: int
) -> dict[str, Any]:
    analyzer = Bm25Leg(K1, B).analysis

    def ours(query: str) -> tuple[list[str], list[float]]:
        found = index.search(query, k=k)
        return found.ids, found.scores

    def theirs(query: str) -> tuple[list[str], list[float]]:
        terms = analyzer.query_terms(query) or [""]
        found = engine.retrieve([terms], k=k, show_progress=False, n_threads=0)
        return [ids[at] for at in found.documents[0].tolist()], found.scores[0].tolist()

    engines = {"lsr": ours, "bm25s numba": theirs}
    cpu = {name: np.full(len(queries), np.inf) for name in engines}
    wall = {name: np.full(len(queries), np.inf) for name in engines}
    apart = 0.0
    for turn in range(rounds + 1):
        for at, query in enumerate(queries):
            answers = []
            for name, ask in engines.items():
                found, cpu_seconds, wall_seconds = clocked(lambda ask=ask, query=query: ask(query))
                answers.append(found[1])
                if turn:  # the first round compiles, and fills the caches
                    cpu[name][at] = min(cpu[name][at], cpu_seconds)
                    wall[name][at] = min(wall[name][at], wall_seconds)
            mine, other = answers
            others = [score for score in other if score > 0]
            if len(mine) != len(others):
                raise SystemExit(f"{query!r}: {len(mine)} hits, bm25s has {len(others)}")
            apart = max([apart, *(abs(a - b) for a, b in zip(mine, others, strict=True))])
    return {
        "k": k,
        "largest_difference_of_scores": apart,
        **{
            name: {
                "cpu_us_median": float(np.median(cpu[name]) * 1e6),
                "wall_us_median": float(np.median(wall[name]) * 1e6),
                "wall_us_mean": float(np.mean(wall[name]) * 1e6),
            }
            for name in engines
        },
        "wall_ratio_of_medians": float(np.median(wall["lsr"]) / np.median(wall["bm25s numba"])),
        "cpu_ratio_of_medians": float(np.median(cpu["lsr"]) / np.median(cpu["bm25s numba"])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--documents", type=int, default=None)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    documents = [
        Document(f"{folder.name}-{number}", record.document.title, record.document.text)
        for folder in options.folders
        for number, record in enumerate(read_documents(str(folder)))
    ]
    random.Random(0).shuffle(documents)
    documents = documents[: options.documents]
    load_kernels()
    # Both compile and load what they build with before it counts.
    with tempfile.TemporaryDirectory() as work:
        build_ours(documents[:2000], Path(work) / "ours")
        build_theirs(documents[:2000], Path(work) / "theirs")
    with tempfile.TemporaryDirectory() as work:
        engine, cpu, wall = clocked(lambda: build_theirs(documents, Path(work) / "theirs"))
        print(json.dumps({"build": "bm25s, tokens and scores", "cpu_s": cpu, "wall_s": wall}))
        index, cpu, wall = clocked(lambda: build_ours(documents, Path(work) / "ours"))
        what = "lsr, with documents, ids, checksums, fsync"
        print(json.dumps({"build": what, "cpu_s": cpu, "wall_s": wall}))
        leg, ids = Bm25Leg(K1, B), [document.id for document in documents]
        engine = theirs_on_our_tokens(documents, leg)
        queries = some_queries(documents, options.queries)
        print(json.dumps({"documents": len(documents), "queries": len(queries)}))
        for k in (10, 100):
            print(json.dumps(search(index, engine, ids, queries, k, options.rounds)))


if __name__ == "__main__":
    main()
