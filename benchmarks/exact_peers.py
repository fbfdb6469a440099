"""Exact top-k search, one query a call: lsr against the exact peers on the package index.

    python benchmarks/exact_peers.py --vectors FOLDER [-k 10] [--rounds 5] [--queries 300]

FOLDER holds docs.npz and queries.npz, each a CSR matrix (indptr, indices, data, shape). Each
engine runs in a process of its own, on one core and one thread; a round goes through all engines,
so that what else the machine does hits them alike. Times are the CPU time of the process for each
query, wall time beside it. `--batch` compares one thread with two on lsr's batch search instead.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Answer = tuple[list[int], list[float]]
Ask = Callable[[int], Answer]
ONE_THREAD = {
    name: "1"
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
}


class Csr(NamedTuple):
    indptr: npt.NDArray[np.int64]
    terms: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]
    n_terms: int

    @classmethod
    def load(cls, path: Path, most: int | None = None) -> Csr:
        """Read a matrix, its first `most` rows, without the zeros that float16 rounded to."""
        with np.load(path, allow_pickle=False) as file:
            stop = len(file["indptr"]) - 1 if most is None else most
            indptr = file["indptr"][: stop + 1].astype(np.int64)
            terms = file["indices"][: indptr[-1]].astype(np.int64)
            weights = file["data"][: indptr[-1]].astype(np.float32)
            n_terms = int(file["shape"][1])
        keep = weights > 0
        before = np.concatenate([[0], np.cumsum(keep)])
        return cls(before[indptr], terms[keep], weights[keep], n_terms)

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def scipy(self) -> Any:
        from scipy.sparse import csr_array

        shape = len(self), self.n_terms
        parts = self.weights, self.terms.astype(np.int32), self.indptr.astype(np.int32)
        return csr_array(parts, shape=shape)


# --- engines: each takes documents, queries, k and a folder, and returns what answers a query ---


def lsr_engine(documents: Csr, queries: Csr, k: int, folder: Path) -> Ask:
    """The search of the library on a segment as the store writes and opens it."""
    from lsr.index.search import search
    from lsr.index.warmup import warmup

    segments, vectors = lsr_segments(documents, folder), lsr_vectors(queries)
    warmup()
    each = list(vectors)

    def ask(query: int) -> Answer:
        found = search(segments, each[query], k)
        return found.rows.tolist(), found.scores.tolist()

    return ask


def lsr_vectors(matrix: Csr) -> Any:
    from lsr.sparse import SparseVectors

    return SparseVectors.from_arrays(
        matrix.indptr, matrix.terms, matrix.weights, vocab_size=matrix.n_terms
    )


def lsr_segments(documents: Csr, folder: Path) -> list[Any]:
    from lsr.index.columns import Fields
    from lsr.index.segment import Segment
    from lsr.index.segment_writer import SegmentWriter
    from lsr.index.store import LiveSegment
    from lsr.types import Document

    vectors = lsr_vectors(documents)
    writer = SegmentWriter(
        folder / "segment", vocab_size=documents.n_terms, fields=Fields(), passages=False
    )
    for start in range(0, len(documents), 8192):
        stop = min(start + 8192, len(documents))
        writer.append(
            [Document(f"{row:09}") for row in range(start, stop)], vectors.slice(start, stop)
        )
    writer.close()
    return [LiveSegment(Segment.open(folder / "segment"), None)]


def scipy_engine(documents: Csr, queries: Csr, k: int, folder: Path) -> Ask:
    """A row of queries times the documents' transpose, then argpartition."""
    by_term = documents.scipy().T.tocsr()
    asked = queries.scipy()
    rows = [asked[[query], :] for query in range(len(queries))]

    def ask(query: int) -> Answer:
        product = rows[query] @ by_term
        data, at = product.data, product.indices
        if len(data) > k:
            best = np.argpartition(data, len(data) - k)[len(data) - k :]
            data, at = data[best], at[best]
        order = np.argsort(-data)
        return at[order].tolist(), data[order].tolist()

    return ask


def sparse_dot_topn_engine(documents: Csr, queries: Csr, k: int, folder: Path) -> Ask:
    """Its product that keeps the top of each row, a row a call."""
    from scipy.sparse import csr_matrix
    from sparse_dot_topn import sp_matmul_topn

    by_term = csr_matrix(documents.scipy().T.tocsr())
    asked = csr_matrix(queries.scipy())
    rows = [asked[query] for query in range(len(queries))]

    def ask(query: int) -> Answer:
        found = sp_matmul_topn(rows[query], by_term, top_n=k, sort=True, n_threads=1)
        return found.indices.tolist(), found.data.tolist()

    return ask


def sparse_dot_topn_batch_engine(documents: Csr, queries: Csr, k: int, folder: Path) -> Ask:
    """The same, all queries in one call, which the first query pays for: only the mean counts."""
    from scipy.sparse import csr_matrix
    from sparse_dot_topn import sp_matmul_topn

    by_term = csr_matrix(documents.scipy().T.tocsr())
    asked = csr_matrix(queries.scipy())
    answers: list[Answer] = []

    def ask(query: int) -> Answer:
        if query == 0:
            found = sp_matmul_topn(asked, by_term, top_n=k, sort=True, n_threads=1)
            spans = [slice(*found.indptr[at : at + 2]) for at in range(len(queries))]
            answers[:] = [(found.indices[one].tolist(), found.data[one].tolist()) for one in spans]
        return answers[query]

    return ask


def splade_index(documents: Csr, queries: Csr, k: int) -> tuple[Any, list[Any]]:
    """An index of splade-index with the numba backend, and the queries as its encoder gives them.

    The library takes texts and a sentence-transformers model, not vectors: one that hands out
    the given vectors stands in for it, and costs next to nothing.
    """
    import torch
    from splade_index import SPLADE

    class Given:
        def encode_query(self, texts: list[str], **ignored: object) -> list[Any]:
            return [tensors[int(text)] for text in texts]

    tensors = [
        torch.sparse_coo_tensor(
            torch.from_numpy(queries.terms[start:stop])[None],
            torch.from_numpy(queries.weights[start:stop]),
            (queries.n_terms,),
            is_coalesced=True,
            check_invariants=False,
        )
        for start, stop in zip(queries.indptr[:-1], queries.indptr[1:], strict=True)
    ]
    by_term = documents.scipy().tocsc()
    index = SPLADE(backend="numba")
    index.scores = {
        "data": by_term.data,
        "indices": by_term.indices.astype(np.int32),
        "indptr": by_term.indptr.astype(np.int32),
        "num_docs": len(documents),
    }
    index.model = Given()
    index.corpus = index.document_ids = np.arange(len(documents))
    index.unique_token_ids_set = set(np.flatnonzero(np.diff(by_term.indptr)).tolist())
    return index, tensors


def splade_index_engine(documents: Csr, queries: Csr, k: int, folder: Path) -> Ask:
    """Its `retrieve`, as its users call it."""
    index, _ = splade_index(documents, queries, k)

    def ask(query: int) -> Answer:
        found = index.retrieve([str(query)], k=k, n_threads=1, show_progress=False)
        return found.doc_ids[0].tolist(), found.scores[0].tolist()

    return ask


def splade_index_kernel_engine(documents: Csr, queries: Csr, k: int, folder: Path) -> Ask:
    """Its compiled function alone, which a user does not call: the least it could take."""
    from splade_index.numba import retrieve_utils

    index, _ = splade_index(documents, queries, k)
    kernel, scores = retrieve_utils._retrieve_internal_jitted_parallel, index.scores
    each = [
        (queries.terms[start:stop].astype(np.int32), queries.weights[start:stop])
        for start, stop in zip(queries.indptr[:-1], queries.indptr[1:], strict=True)
    ]
    types = np.dtype("float32"), np.dtype("int32")

    def ask(query: int) -> Answer:
        terms, weights = each[query]
        bounds = np.array([0, len(terms)], np.int32)
        found, rows = kernel(
            terms,
            weights,
            bounds,
            k,
            True,
            *types,
            scores["data"],
            scores["indptr"],
            scores["indices"],
            scores["num_docs"],
        )
        return rows[0].tolist(), found[0].tolist()

    return ask


ENGINES = {
    "lsr": (lsr_engine, "lsr-engine"),
    "splade-index": (splade_index_engine, "splade-index"),
    "splade-index, kernel alone": (splade_index_kernel_engine, "splade-index"),
    "scipy": (scipy_engine, "scipy"),
    "sparse_dot_topn": (sparse_dot_topn_engine, "sparse-dot-topn"),
    "sparse_dot_topn, one batch": (sparse_dot_topn_batch_engine, "sparse-dot-topn"),
}

#: Engines whose first query pays for all.
ONE_CALL = {"sparse_dot_topn, one batch"}


# --- a worker: one engine in a process of its own ---


def work(options: argparse.Namespace) -> None:
    """Answer the commands on stdin, a line each: `round` times all queries, `top` returns hits."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not come between the answers
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {options.core})
    documents = Csr.load(options.vectors / "docs.npz")
    queries = Csr.load(options.vectors / "queries.npz", options.queries)
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        ask = ENGINES[options.worker][0](documents, queries, options.k, Path(folder))
        hits = [ask(query) for query in range(len(queries))]
        build = time.process_time() - started
        print(json.dumps({"build": build}), file=answers, flush=True)
        for line in sys.stdin:
            found: Any = hits if line.strip() == "top" else timed(ask, len(queries))
            print(json.dumps(found), file=answers, flush=True)


def timed(ask: Ask, n_queries: int) -> dict[str, list[float]]:
    cpu, wall = [], []
    for query in range(n_queries):
        before, began = time.process_time_ns(), time.perf_counter_ns()
        ask(query)
        wall.append((time.perf_counter_ns() - began) / 1e3)
        cpu.append((time.process_time_ns() - before) / 1e3)
    return {"cpu": cpu, "wall": wall}


class Worker:
    def __init__(self, name: str, options: argparse.Namespace) -> None:
        command = [
            sys.executable,
            __file__,
            "--worker",
            name,
            "--vectors",
            options.vectors,
            "-k",
            options.k,
            "--queries",
            options.queries,
            "--core",
            options.core,
        ]
        self.name = name
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **ONE_THREAD},
        )

    def read(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with code {self.process.wait()}")
        return json.loads(line)

    def ask(self, command: str) -> Any:
        assert self.process.stdin is not None
        print(command, file=self.process.stdin, flush=True)
        return self.read()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


# --- the table ---


def agreement(ours: list[Answer], theirs: list[Answer], k: int) -> float:
    """Return the share of queries with the same scores; documents may differ where they tie."""
    same = 0
    for (_, left), (_, right) in zip(ours, theirs, strict=True):
        left, right = left[:k], right[: len(left)]  # some pad with documents of score 0
        same += len(left) == len(right) and bool(np.allclose(left, right, rtol=1e-4))
    return same / len(ours)


def compare(options: argparse.Namespace) -> None:
    names = [name for name in ENGINES if not options.only or name in options.only]
    workers, builds = [], []
    for name in names:  # one after another: they build on the same core
        workers.append(Worker(name, options))
        builds.append(workers[-1].read()["build"])
    rounds: dict[str, list[Any]] = {name: [] for name in names}
    for _ in range(options.rounds):
        for worker in workers:
            rounds[worker.name].append(worker.ask("round"))
    tops = {worker.name: worker.ask("top") for worker in workers}
    for worker in workers:
        worker.close()
    base = float(np.median([np.mean(one["cpu"]) for one in rounds[names[0]]]))
    print(
        f"{options.vectors.name}, k = {options.k}, {options.queries} queries, one a call, one "
        f"thread; us of CPU time a query, median of {options.rounds} rounds (least to most)\n"
    )
    print(
        "| engine | mean | p50 | p90 | p99 | wall mean | times "
        f"{names[0]} | same top-{options.k} | ready after CPU s |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name, build in zip(names, builds, strict=True):
        means = np.array([np.mean(one["cpu"]) for one in rounds[name]])
        spots = np.median([np.percentile(one["cpu"], (50, 90, 99)) for one in rounds[name]], axis=0)
        wall = float(np.median([np.mean(one["wall"]) for one in rounds[name]]))
        each = " | ".join("-" if name in ONE_CALL else f"{spot:.0f}" for spot in spots)
        same = agreement(tops[names[0]], tops[name], options.k)
        spread = f"{np.median(means):.0f} ({means.min():.0f}-{means.max():.0f})"
        print(
            f"| {name} {version(ENGINES[name][1])} | {spread} | {each} | {wall:.0f} "
            f"| {np.median(means) / base:.2f} | {same:.1%} | {build:.1f} |"
        )
    print(f"\nPython {sys.version.split()[0]}, numpy {version('numpy')}, numba {version('numba')}")


def batch(options: argparse.Namespace) -> None:
    """Print the queries a second of batch search with one thread and with two."""
    from lsr.index.search import search_many
    from lsr.index.warmup import warmup

    documents = Csr.load(options.vectors / "docs.npz")
    vectors = lsr_vectors(Csr.load(options.vectors / "queries.npz", options.queries))
    warmup()
    with tempfile.TemporaryDirectory() as folder:
        segments = lsr_segments(documents, Path(folder))
        rates: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(options.rounds + 1):
            for threads, rate in rates.items():
                started = time.perf_counter()
                search_many(segments, vectors, options.k, threads=threads)
                rate.append(len(vectors) / (time.perf_counter() - started))
    print("| threads | queries/s, median of rounds (least to most) |\n|---|---|")
    for threads, found in rates.items():
        kept = found[1:]
        print(f"| {threads} | {np.median(kept):.0f} ({min(kept):.0f}-{max(kept):.0f}) |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--vectors", type=Path, required=True)
    parser.add_argument("-k", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--core", type=int, default=(os.cpu_count() or 1) - 1)
    parser.add_argument("--only", nargs="*", choices=list(ENGINES))
    parser.add_argument("--batch", action="store_true")
    parser.add_argument("--worker", choices=list(ENGINES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options)
    elif options.batch:
        batch(options)
    else:
        compare(options)


if __name__ == "__main__":
    main()
