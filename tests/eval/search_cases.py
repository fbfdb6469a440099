"""Small sets of vectors for the tests of the search benchmark."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lsr.sparse import SparseVectors


def random_rows(n: int, terms: int, vocabulary: int, seed: int) -> SparseVectors:
    """Return rows whose terms are the more frequent the smaller their number."""
    random = np.random.default_rng(seed)
    chance = 1 / np.arange(1, vocabulary + 1)
    rows = [
        random.choice(vocabulary, terms, replace=False, p=chance / chance.sum()) for _ in range(n)
    ]
    weights = random.gamma(2.0, 0.5, n * terms) + 0.01
    indptr = np.arange(n + 1) * terms
    return SparseVectors.from_arrays(
        indptr, np.concatenate(rows), weights, vocab_size=vocabulary, sort=True
    )


def save(path: Path, rows: SparseVectors) -> None:
    np.savez(
        path,
        indptr=rows.indptr,
        indices=rows.terms.astype(np.int32),
        data=rows.weights,
        shape=np.array([len(rows), rows.vocab_size]),
    )


def toy_set(folder: Path, n_documents: int = 300, n_queries: int = 12) -> Path:
    """Write docs.npz and queries.npz; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    save(folder / "docs.npz", random_rows(n_documents, 15, 120, seed=1))
    save(folder / "queries.npz", random_rows(n_queries, 5, 120, seed=2))
    return folder
