"""Kernels that keep the best of what was scored."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .arguments import Hits, Rows
from .jit import inner, kernel


@inner
def better(score: np.float32, rank: np.uint32, than_score: np.float32, than_rank: np.uint32) -> Any:
    """Order of hits: the higher score is better; at equal scores the smaller rank of the id."""
    return score > than_score or (score == than_score and rank < than_rank)


@inner
def keep_best(
    scores: npt.NDArray[np.float32],
    ranks: npt.NDArray[np.uint32],
    rows: npt.NDArray[np.int64],
    size: int,
    k: int,
) -> None:
    """Bring the k best of `size` > k hits to the front, the worst of them last (quickselect)."""
    low, high = 0, size - 1
    while low < high:
        middle = (low + high) // 2
        score, rank = scores[middle], ranks[middle]
        left, right = low, high
        while left <= right:
            while better(scores[left], ranks[left], score, rank):
                left += 1
            while better(score, rank, scores[right], ranks[right]):
                right -= 1
            if left <= right:
                scores[left], scores[right] = scores[right], scores[left]
                ranks[left], ranks[right] = ranks[right], ranks[left]
                rows[left], rows[right] = rows[right], rows[left]
                left += 1
                right -= 1
        if k - 1 <= right:
            high = right
        elif k - 1 >= left:
            low = left
        else:
            break


@inner
def finish(
    scores: npt.NDArray[np.float32],
    ranks: npt.NDArray[np.uint32],
    rows: npt.NDArray[np.int64],
    size: int,
    k: int,
) -> int:
    """Keep the k best of the hits and sort them, best first (shell sort); return how many."""
    if size > k:
        keep_best(scores, ranks, rows, size, k)
        size = k
    gap = 1
    while gap < size // 3:
        gap = 3 * gap + 1
    while gap > 0:
        for start in range(gap, size):
            score, rank, row = scores[start], ranks[start], rows[start]
            at = start
            while at >= gap and better(score, rank, scores[at - gap], ranks[at - gap]):
                scores[at], ranks[at], rows[at] = scores[at - gap], ranks[at - gap], rows[at - gap]
                at -= gap
            scores[at], ranks[at], rows[at] = score, rank, row
        gap //= 3
    return size


@kernel
def best_rows(
    listed: npt.NDArray[np.int64],
    listed_scores: npt.NDArray[np.float32],
    rows: Rows,
    k: int,
    threshold: np.float32,
    hits: Hits,
) -> int:
    """Find the k best documents among the listed rows (ascending) and their scores.

    The other arrays and the answer are those of `accumulate`.
    """
    documents, scores = rows.documents, hits.scores
    size = 0
    at = 0
    while at < listed.shape[0]:
        row, score = listed[at], listed_scores[at]
        document = np.int64(documents[row]) if documents.shape[0] else row
        at += 1
        while documents.shape[0] and at < listed.shape[0] and documents[listed[at]] == document:
            if listed_scores[at] > score:
                row, score = listed[at], listed_scores[at]
            at += 1
        if score >= threshold and score > 0:
            scores[size], hits.ranks[size], hits.rows[size] = score, rows.id_rank[document], row
            size += 1
            if size == scores.shape[0]:
                keep_best(scores, hits.ranks, hits.rows, size, k)
                size, threshold = k, scores[k - 1]
    return finish(scores, hits.ranks, hits.rows, size, k)
