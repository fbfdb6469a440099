"""What happens between logits and the weights of a vector, on torch, with gradients or without."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

ActivationName = Literal["relu", "softplus", "identity"]


def activate(logits: Tensor, activation: ActivationName, logs: int) -> Tensor:
    """Return relu, softplus or identity of the logits, then log(1 + x) as often as `logs` says.

    All of these are monotone, so they commute with a maximum. Values below zero, which only
    identity leaves, go through the logarithms as -log(1 - x).
    """
    if activation == "identity":
        for _ in range(logs):
            logits = logits.sign() * logits.abs().log1p()
        return logits
    weights = functional.relu(logits) if activation == "relu" else functional.softplus(logits)
    for _ in range(logs):
        weights = weights.log1p()
    return weights


def literal_residual(opposed: Tensor, inputs: Tensor) -> Tensor:
    """Return I * (max_j w'_j - w'), the literal residual of PROSPER (arXiv:2510.18527, 9).

    `opposed` (n, vocabulary) is w'; `inputs` bool (n, vocabulary) marks the terms of the texts.
    """
    return torch.where(inputs, opposed.max(1, keepdim=True).values - opposed, 0.0)


def focus(weights: Tensor, window: int) -> Tensor:
    """Return the vectors with all but their `window` largest weights set to zero; 0 keeps all.

    `weights` (n, vocabulary). A vector with no more terms than that is left as it is, and outside
    the window no gradient flows. Of equal weights at the edge any may stay (arXiv:2510.18527, 10).
    """
    if window <= 0 or window >= weights.shape[1]:
        return weights
    kept = weights.detach().topk(window, dim=1).indices
    return torch.zeros_like(weights).scatter(1, kept, weights.gather(1, kept))


def prune(weights: Tensor, share: float) -> Tensor:
    """Return the vectors without weights of at most `share` of their largest; 0 keeps all."""
    if share <= 0:
        return weights
    return torch.where(weights > share * weights.amax(1, keepdim=True), weights, 0.0)


def token_weights(weights: Tensor, places: Tensor, shape: tuple[int, int], *, add: bool) -> Tensor:
    """Return (n, vocabulary) from a weight for each token: the sum or the largest of a term's.

    `weights` (tokens,); `places` int64 (tokens,) is text * vocabulary + term of each token.
    """
    flat = weights.new_zeros(shape[0] * shape[1])
    if add:
        return flat.index_add(0, places, weights).view(shape)
    return flat.scatter_reduce(0, places, weights, "amax", include_self=False).view(shape)
