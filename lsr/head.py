"""From hidden states to sparse weights: the plain form of the vocabulary head, in numpy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lsr.model_folder import Activation, Pooling
from lsr.sparse import SparseVectors

Array = npt.NDArray[np.float32]

#: Logits held at once; the matrix of tokens x vocabulary is never made whole.
_LOGITS = 1 << 21


class Row(NamedTuple):
    """The active terms of one text, ascending, and their weights."""

    terms: npt.NDArray[np.int64]
    weights: Array


def pool_text(
    hidden: Array, decoder: Array, bias: Array, *, pooling: Pooling, activation: Activation
) -> Row:
    """Return the sparse vector of one text from its hidden states (tokens, hidden).

    `decoder` (vocab, hidden) and `bias` (vocab,) give the logits. With max pooling the raw
    logits are pooled first: relu and log1p are monotone, so it is the same.
    """
    step = max(256, _LOGITS // max(1, len(hidden)))
    pooled = np.empty(len(decoder), np.float32)
    for start in range(0, len(decoder), step):
        part = slice(start, start + step)
        logits = hidden @ decoder[part].T
        if pooling == "max":
            pooled[part] = logits.max(axis=0) + bias[part]
        else:
            pooled[part] = activate(logits + bias[part], activation).sum(axis=0)
    if pooling == "max":
        pooled = activate(pooled, activation)
    terms = np.flatnonzero(pooled > 0)
    return Row(terms, pooled[terms])


def activate(logits: Array, activation: Activation) -> Array:
    """Return log(1 + relu(x)), taken twice over the logarithm for `log1p_relu`."""
    weights = np.log1p(np.maximum(logits, np.float32(0)))
    return np.log1p(weights) if activation == "log1p_relu" else weights


def keep_largest(row: Row, count: int | None) -> Row:
    """Return the row with at most `count` terms, those with the largest weights."""
    if count is None or len(row.terms) <= count:
        return row
    best = np.sort(np.argsort(-row.weights, kind="stable")[:count])
    return Row(row.terms[best], row.weights[best])


def stack(rows: list[Row], vocab_size: int) -> SparseVectors:
    """Return the rows as one batch."""
    if not rows:
        return SparseVectors.empty(vocab_size)
    indptr = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row.terms) for row in rows], out=indptr[1:])
    return SparseVectors.from_arrays(
        indptr,
        np.concatenate([row.terms for row in rows]),
        np.concatenate([row.weights for row in rows]),
        vocab_size=vocab_size,
    )
