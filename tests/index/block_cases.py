"""Vectors with topics, as texts have them, and how well a search by blocks finds among them."""

from __future__ import annotations

import numpy as np

from lsr.index.blocks import BlockSettings
from lsr.index.knobs import BlockKnobs
from lsr.index.search import search
from lsr.index.warmup import MemoryLive
from lsr.sparse import SparseVector, SparseVectors

VOCAB = 300
PRUNED = BlockSettings(postings=40, share=0, rows=5, small=1)
KNOBS = BlockKnobs(lists=8, skip_ratio=0.4, small=0)


def topical(n: int, seed: int, vocab_size: int = VOCAB, length: int = 24) -> SparseVectors:
    """Return vectors whose terms are unevenly frequent and come together, as those of texts do."""
    rng = np.random.default_rng(seed)
    background = 1 / np.arange(1, vocab_size + 1) ** 0.7
    topics = rng.gamma(0.15, 1.0, (20, vocab_size)) * background + background / 30
    topics /= topics.sum(axis=1, keepdims=True)
    terms = np.empty((n, length), np.uint32)
    for row in range(n):
        drawn = rng.choice(vocab_size, length, replace=False, p=topics[rng.integers(20)])
        terms[row] = np.sort(drawn)
    weights = rng.gamma(2, 0.4, (n, length)).astype(np.float32) + np.float32(0.01)
    return SparseVectors.from_arrays(
        np.arange(n + 1) * length, terms.reshape(-1), weights.reshape(-1), vocab_size=vocab_size
    )


def query_of(vectors: SparseVectors, row: int, terms: int = 10) -> SparseVector:
    heaviest = np.sort(np.argsort(-vectors[row].weights)[:terms])
    return SparseVector(vectors[row].terms[heaviest], vectors[row].weights[heaviest])


def recall(live: MemoryLive, queries: list[SparseVector], knobs: BlockKnobs, k: int = 10) -> float:
    hits = []
    for query in queries:
        least = search([live], query, k).scores[-1]
        hits.append(np.count_nonzero(search([live], query, k, knobs=knobs).scores >= least) / k)
    return float(np.mean(hits))
