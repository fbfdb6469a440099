"""Losses that order the candidates of a query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from lsr.errors import ConfigError

#: Keeps scores that are all alike from being divided by zero.
_TINY = 1e-6


def own_scores(queries: Tensor, documents: Tensor, group: int) -> Tensor:
    """Return (n_queries, group): each query with its own documents, the positive first."""
    blocks = documents.view(len(queries), group, documents.shape[1])
    return torch.bmm(blocks, queries.unsqueeze(2)).squeeze(2)


def infonce(scores: Tensor, positives: Tensor, *, excluded: Tensor | None = None) -> Tensor:
    """Return the mean cross-entropy of the positive among all candidates.

    `scores` (n_queries, n_candidates), already divided by the temperature; `positives` int64
    (n_queries,) are columns; `excluded` bool, same shape as scores, are no candidates.
    """
    if excluded is not None:
        keep = functional.one_hot(positives, scores.shape[1]).bool()
        scores = scores.masked_fill(excluded & ~keep, -torch.inf)
    return functional.cross_entropy(scores, positives)


def marginmse(scores: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean squared error of (positive - negative) margins; both (n_queries, group)."""
    margins = scores[:, :1] - scores[:, 1:]
    wanted = teacher[:, :1] - teacher[:, 1:]
    return functional.mse_loss(margins, wanted)


def kl(scores: Tensor, teacher: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Return the mean over queries of KL(softmax(teacher) || softmax(scores)).

    Both (n_queries, group), divided by the temperature.
    """
    student = functional.log_softmax(scores / temperature, 1)
    wanted = functional.log_softmax(teacher / temperature, 1)
    return functional.kl_div(student, wanted, log_target=True, reduction="batchmean")


def combine_teachers(
    scores: Tensor,
    *,
    normalise: Literal["minmax", "standard", "none"] = "minmax",
    scale: float = 1.0,
    weights: Sequence[float] | None = None,
) -> Tensor:
    """Return one score for each candidate from those of several teachers (arXiv:2411.04403).

    `scores` (n_teachers, n_queries, group) raw. Each teacher's scores of a query go to [0, 1]
    (`minmax`; all equal gives zeros) or to mean 0 and deviation 1 (`standard`), are weighted,
    added, and multiplied by `scale`, without which a softmax over them would be nearly flat.
    """
    if weights is None:
        shares = scores.new_full((len(scores),), 1 / len(scores))
    else:
        if len(weights) != len(scores):
            raise ConfigError(
                f"rank.ensemble.weights has {len(weights)} values for {len(scores)} teachers"
            )
        shares = scores.new_tensor(list(weights))
        shares = shares / shares.sum()
    if normalise == "minmax":
        low, high = scores.amin(2, keepdim=True), scores.amax(2, keepdim=True)
        scores = (scores - low) / (high - low + _TINY)
    elif normalise == "standard":
        centred = scores - scores.mean(2, keepdim=True)
        scores = centred / (centred.square().mean(2, keepdim=True).sqrt() + _TINY)
    return scale * torch.einsum("t,tqc->qc", shares, scores)


def term_mse(weights: Tensor, inputs: Tensor, recalled: Tensor) -> Tensor:
    """Return DeepCT's loss: squared error of each term of a document on query term recall.

    `weights` (n, vocabulary); `inputs` bool marks the terms of the documents; `recalled` bool
    those in the document's query. Over many queries of a document the target is the share of
    them that hold the term (arXiv:1910.10687).
    """
    errors = (weights - recalled.to(weights.dtype)).square() * inputs
    return errors.sum() / inputs.sum().clamp(min=1)


def term_likelihood(weights: Tensor, terms: Tensor) -> Tensor:
    """Return the mean negative log-likelihood of a text's terms under its partner's weights.

    `weights` (n, vocabulary), of which a softmax over the vocabulary makes a distribution of
    terms; `terms` bool (n, vocabulary) are those of the partners. Partners without terms count
    nothing. TILDE's loss is the sum for queries given documents and the reverse (SIGIR 2021).
    """
    likelihood = functional.log_softmax(weights, 1) * terms
    counts = terms.sum(1)
    return -(likelihood.sum(1) / counts.clamp(min=1)).sum() / (counts > 0).sum().clamp(min=1)
