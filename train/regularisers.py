"""What keeps vectors short: one family, the squared mean weight of each term times a factor."""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: An idf below this counts as this: 1 / idf^2 of a term in every document would be everything.
IDF_FLOOR = 0.05


def flops(
    weights: Tensor,
    factors: Tensor | None = None,
    *,
    l0_threshold: int = 0,
    unbiased: bool = False,
) -> Tensor:
    """Return sum over terms of factor times the squared mean weight; `weights` (n, vocabulary).

    `factors` (vocabulary,) is 1 when left out (SPLADE); see `idf_factors` and `df_factors`.
    Vectors with at most `l0_threshold` terms add nothing but count in n (arXiv:2504.14839).
    The plain estimate grows as n shrinks; `unbiased` takes the mean over pairs of different
    vectors, whose expectation is that of the whole collection at every n; one vector has no
    pairs and gets the plain estimate.
    """
    if l0_threshold:
        long = (weights.detach() > 0).sum(1, keepdim=True) > l0_threshold
        weights = weights * long
    n = len(weights)
    if unbiased and n > 1:
        squares = (weights.sum(0).square() - weights.square().sum(0)) / (n * (n - 1))
    else:
        squares = weights.mean(0).square()
    return (squares if factors is None else squares * factors).sum()


def l1(weights: Tensor, *, l0_threshold: int = 0) -> Tensor:
    """Return the mean over vectors of the sum of their weights; `weights` (n, vocabulary)."""
    sums = weights.abs().sum(1)
    if l0_threshold:
        sums = sums * ((weights.detach() > 0).sum(1) > l0_threshold)
    return sums.mean()


def joint(queries: Tensor, documents: Tensor, factors: Tensor | None = None) -> Tensor:
    """Return sum over terms of mean query weight times mean document weight.

    That is the multiplications one pair of query and document is expected to cost, with weights
    in the place of counts; a term may be frequent on one side alone.
    """
    products = queries.mean(0) * documents.mean(0)
    return (products if factors is None else products * factors).sum()


def idf_factors(idf: Tensor) -> Tensor:
    """Return 1 / idf^2 for each term: FLOPS on weights that idf has been multiplied into.

    With it, vectors D = idf * w under a binary query have the loss, and the gradients, of raw
    vectors w under a query table of idf with plain FLOPS (arXiv:2411.04403). Idf below
    `IDF_FLOOR` counts as that.
    """
    return idf.clamp(min=IDF_FLOOR).pow(-2)


def df_factors(shares: Tensor, *, alpha: float, beta: float, n_documents: int) -> Tensor:
    """Return the squared activation of each term's document frequency (DF-FLOPS, arXiv:2505.15070).

    `shares` (vocabulary,) are document frequencies over the number of documents. The activation
    1 / (1 + (x^log_alpha(2) - 1)^beta) is 1/2 at alpha, 1 at 1, and goes to 0 for rare terms;
    a share of 0 counts as one document.
    """
    x = shares.double().clamp(1 / max(n_documents, 2), 1.0)
    inner = (x.pow(math.log(2) / math.log(alpha)) - 1).clamp(min=0)
    return (1 / (1 + inner.pow(beta))).square().to(torch.float32)
