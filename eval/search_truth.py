"""Exact answers by plain addition in float64, and recall against them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .search_sets import Csr, SearchSet

#: Scores this close, relative to the k-th, are ties: float32 sums differ by as much.
TIE = 2e-6
_WINDOW = 65_536


class Truth(NamedTuple):
    """For each query the documents that count as hits: the best k, and all that tie with the k-th.

    Rows of query q are `rows[indptr[q]:indptr[q + 1]]`; `needed[q]` is how many hits there are to
    find: k, or fewer where fewer documents share a term with the query.
    """

    indptr: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    needed: npt.NDArray[np.int64]

    def recall(self, query: int, rows: Iterable[int], k: int) -> float:
        """Return the share of the needed hits among the first k rows, each counted once.

        >>> truth = Truth(np.array([0, 3]), np.array([4, 7, 9]), np.array([2]))  # 7 and 9 tie
        >>> truth.recall(0, [9, 9, 1], k=2), truth.recall(0, [4, 9, 1], k=2)
        (0.5, 1.0)
        """
        needed = int(self.needed[query])
        if not needed:
            return 1.0
        good = self.rows[self.indptr[query] : self.indptr[query + 1]].tolist()
        found = len(set(list(rows)[:k]).intersection(good))
        return min(found, needed) / needed

    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""
        partial = path.with_name(f"{path.stem}.part.npz")
        np.savez(partial, indptr=self.indptr, rows=self.rows, needed=self.needed)
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> Truth:
        with np.load(path, allow_pickle=False) as file:
            return cls(file["indptr"], file["rows"], file["needed"])


def truth_path(found: SearchSet, k: int) -> Path:
    """Return where the truth of a set for k is kept."""
    return found.folder / f"truth-{k}-of-{found.queries.n_rows}.npz"


def make_truth(found: SearchSet, ks: Sequence[int], say: Callable[[str], None]) -> None:
    """Write the truth of a set for each k where it is not there already."""
    missing = [k for k in ks if not truth_path(found, k).is_file()]
    if not missing:
        return
    say(f"exact answers of {found.queries.n_rows:,} queries")
    for k, truth in find_truth(found.documents, found.queries, missing).items():
        truth.save(truth_path(found, k))


def find_truth(documents: Csr, queries: Csr, ks: Sequence[int]) -> dict[int, Truth]:
    """Return the Truth for each k; memory is that of one window of documents."""
    most = max(ks)
    best: list[tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]] = [
        (np.empty(0), np.empty(0, np.int64)) for _ in range(queries.n_rows)
    ]
    each = [queries.vector(query) for query in range(queries.n_rows)]
    for start in range(0, documents.n_rows, _WINDOW):
        window = documents.rows(start, min(start + _WINDOW, documents.n_rows))
        by_term = window.scipy().tocsc()
        for query, vector in enumerate(each):
            scores = _scores(by_term, vector.terms.tolist(), vector.weights, window.n_rows)
            rows = np.flatnonzero(scores > 0)
            both = np.concatenate([best[query][0], scores[rows]])
            named = np.concatenate([best[query][1], rows + start])
            keep = _with_ties(both, most)
            best[query] = both[keep], named[keep]
    return {k: _truth(best, k) for k in ks}


def _scores(
    by_term: Any, terms: Sequence[int], weights: npt.NDArray[np.float32], n_rows: int
) -> npt.NDArray[np.float64]:
    spans = [slice(by_term.indptr[term], by_term.indptr[term + 1]) for term in terms]
    if not spans:
        return np.zeros(n_rows)
    rows = np.concatenate([by_term.indices[span] for span in spans])
    products = np.concatenate(
        [
            by_term.data[span].astype(np.float64) * weight
            for span, weight in zip(spans, weights.astype(np.float64), strict=True)
        ]
    )
    added: npt.NDArray[np.float64] = np.bincount(rows, products, n_rows).astype(np.float64)
    return added


def _with_ties(scores: npt.NDArray[np.float64], k: int) -> npt.NDArray[np.bool_]:
    if len(scores) <= k:
        return np.ones(len(scores), bool)
    last = np.partition(scores, len(scores) - k)[len(scores) - k]
    tied: npt.NDArray[np.bool_] = scores >= last * (1 - TIE)
    return tied


def _truth(best: Sequence[tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]], k: int) -> Truth:
    rows = [named[_with_ties(scores, k)] for scores, named in best]
    indptr = np.zeros(len(best) + 1, np.int64)
    np.cumsum([len(some) for some in rows], out=indptr[1:])
    needed = np.array([min(k, len(scores)) for scores, _ in best], np.int64)
    return Truth(indptr, np.concatenate(rows) if rows else np.empty(0, np.int64), needed)
