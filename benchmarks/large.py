"""Search an index of ours, and SINDI over the same vectors, at a size that no copy fits.

    python benchmarks/large.py VECTORS INDEX --queries 100

VECTORS is a folder of docs.indptr.npy, docs.indices.npy, docs.data.npy and queries.npz; INDEX has
its rows under their numbers as ids. `lsr bench search` tunes every engine with builds kept on disk;
here SINDI is built once, in memory and unpruned, in a process of its own, and searched with every
query pruning, by a heap and by an array of all scores. Single queries, one thread, CPU time, the
least of three rounds of each query; the truth is our exact search. Writes Markdown tables.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lsr.eval.search_engine_sindi import SindiEngine, SindiSearcher, new_index
from lsr.eval.search_sets import Csr
from lsr.index.index import Index

ROUNDS = 3
RECALLS = (0.9, 0.95, 0.97, 0.99)


class Row(NamedTuple):
    """Microseconds of a setting, and what each query found (rows)."""

    k: int
    setting: str
    p50: float
    p99: float
    found: list[set[int]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("vectors", type=Path)
    parser.add_argument("index", type=Path)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("-k", type=int, action="append", default=None)
    given = parser.parse_args()
    ks = given.k or [10, 100]
    ours = list(of_ours(given.vectors, given.index, given.queries, ks))
    truth = {row.k: row.found for row in ours if row.setting == "exact"}
    show("lsr", ours, truth)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        about, theirs = pool.apply(of_sindi, (given.vectors, given.queries, ks))
    show("SINDI", theirs, truth)
    print(f"\nSINDI: {about}")
    show("lsr again", of_ours(given.vectors, given.index, given.queries, ks), truth)


def show(engine: str, rows: Sequence[Row] | Any, truth: dict[int, list[set[int]]]) -> None:
    print(f"\n| {engine} | k | recall | p50 us | p99 us |\n|---|---:|---:|---:|---:|")
    for row in rows:
        pairs = zip(row.found, truth[row.k], strict=True)
        recall = np.mean([len(one & best) / max(1, len(best)) for one, best in pairs])
        print(
            f"| {row.setting} | {row.k} | {recall:.4f} | {row.p50:,.0f} | {row.p99:,.0f} |",
            flush=True,
        )


def of_ours(vectors: Path, path: Path, n: int, ks: Sequence[int]) -> list[Row]:
    queries = queries_of(vectors, n)
    rows = []
    with Index.open(path, verify=False) as index:
        asked = [queries.vector(at) for at in range(queries.n_rows)]
        for k in ks:
            for recall in (None, *RECALLS):
                how: dict[str, Any] = {"exact": True} if recall is None else {"recall": recall}

                def search(at: int, k: int = k, how: dict[str, Any] = how) -> list[str]:
                    return index.search(asked[at], k=k, **how).ids

                name = "exact" if recall is None else f"recall={recall}"
                rows.append(timed(k, name, search, len(asked)))
    return rows


def of_sindi(vectors: Path, n: int, ks: Sequence[int]) -> tuple[str, list[Row]]:
    parts = [np.load(vectors / f"docs.{name}.npy", mmap_mode="r") for name in
             ("indptr", "indices", "data")]  # fmt: skip
    queries = queries_of(vectors, n)
    documents = Csr(*parts, queries.n_terms)
    engine = SindiEngine()
    build = engine.builds(documents, queries)[0]
    given = engine.given(documents, vectors)
    started, cpu = time.perf_counter(), time.process_time()
    index = new_index(build)
    index.build(*given)
    about = (
        f"built in {time.perf_counter() - started:,.0f} s, {time.process_time() - cpu:,.0f} CPU s, "
        f"largest memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:,.1f} GB"
    )
    searcher = SindiSearcher(index, queries)
    rows = []
    for k in ks:
        for setting in engine.settings(build, documents, k, thorough=True):
            ask = searcher.ask(setting.options, k)
            name = " ".join(f"{key}={value}" for key, value in setting.options.items())

            def rows_of(at: int, ask: Callable[[int], Any] = ask) -> list[int]:
                return list(searcher.rows(ask(at)))

            rows.append(timed(k, name, rows_of, queries.n_rows))
    return about, rows


def timed(k: int, name: str, search: Callable[[int], Sequence[Any]], n: int) -> Row:
    least = np.full(n, np.inf)
    found: list[set[int]] = [set() for _ in range(n)]
    for _ in range(ROUNDS):
        for at in range(n):
            started = time.process_time()
            hits = search(at)
            least[at] = min(least[at], time.process_time() - started)
            found[at] = set(map(int, hits))
    p50, p99 = np.percentile(least, (50, 99)) * 1e6
    return Row(k, name, float(p50), float(p99), found)


def queries_of(vectors: Path, n: int) -> Csr:
    with np.load(vectors / "queries.npz") as file:
        names = ("indptr", "indices", "data")
        indptr, terms, weights = (file[name] for name in names)
        n_terms = int(file["shape"][1])
    return Csr(indptr.astype(np.int64), terms, weights, n_terms).rows(0, min(n, len(indptr) - 1))


if __name__ == "__main__":
    main()
