"""Encode collections into one set of real vectors that `lsr bench search` takes.

python benchmarks/passages.py OUT COLLECTION [COLLECTION ...]; lsr bench search OUT

A COLLECTION is a BEIR folder. Each corpus becomes OUT/parts/NAME.parquet, as do the queries of
those that have any; what was stopped goes on where it was. Then docs.*.npy (mapped in place by the
benchmark) and queries.npz are put together, the queries in a seeded order.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lsr.sparse import SparseVectors
from lsr.vector_files import read_vectors

ENDINGS = ("", ".gz", ".zst")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("collections", nargs="+", type=Path)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--threads", default="2")
    parser.add_argument("--queries", type=int, default=1000, help="how many to draw")
    given = parser.parse_args()
    parts = given.out / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    documents, queries = [], []
    for collection in given.collections:
        asked = [collection / f"queries.jsonl{ending}" for ending in ENDINGS]
        encode = ["--model", given.model, "--threads", given.threads, "--resume"]
        documents.append(encoded(collection, parts / f"{collection.name}.parquet", encode))
        for source in filter(Path.is_file, asked):
            target = parts / f"{collection.name}.queries.parquet"
            queries.append(encoded(source, target, [*encode, "--side", "query"]))
    n_rows, nnz = write_documents(given.out, documents)
    n_queries = write_queries(given.out / "queries.npz", queries, given.queries)
    print(f"{n_rows:,} documents of {nnz / n_rows:.1f} terms, {n_queries:,} queries: {given.out}")


def encoded(source: Path, target: Path, options: list[str]) -> Path:
    if not target.is_file():
        command = [sys.executable, "-m", "lsr", "encode", str(source), "--out", str(target)]
        subprocess.run([*command, *options], check=True)
    return target


def batches(files: list[Path], side: str) -> Iterator[SparseVectors]:
    for file in files:
        for batch in read_vectors(file, side="queries" if side == "queries" else "documents"):
            yield batch.vectors


def write_documents(out: Path, files: list[Path]) -> tuple[int, int]:
    counts, terms, weights = [np.zeros(1, np.int64)], [], []
    for vectors in batches(files, "documents"):
        counts.append(np.diff(vectors.indptr))
        terms.append(vectors.terms.astype(np.int32))
        weights.append(vectors.weights)
    indptr = np.cumsum(np.concatenate(counts))
    np.save(out / "docs.indptr.npy", indptr)
    np.save(out / "docs.indices.npy", np.concatenate(terms))
    np.save(out / "docs.data.npy", np.concatenate(weights))
    return len(indptr) - 1, int(indptr[-1])


def write_queries(target: Path, files: list[Path], wanted: int) -> int:
    rows = [vector for vectors in batches(files, "queries") for vector in vectors]
    rows = [vector for vector in rows if len(vector.terms)]
    order = np.random.default_rng(7).permutation(len(rows))[:wanted]
    drawn = [rows[at] for at in order]
    indptr = np.cumsum([0, *(len(vector.terms) for vector in drawn)])
    terms = np.concatenate([vector.terms for vector in drawn]).astype(np.int32)
    weights = np.concatenate([vector.weights for vector in drawn])
    np.savez(target, indptr=indptr, indices=terms, data=weights)
    return len(drawn)


if __name__ == "__main__":
    main()
