"""From logits to weights."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from lsr.train.settings_model import ActivationName


def activate(logits: Tensor, activation: ActivationName, logs: int) -> Tensor:
    """Return relu, softplus or identity of the logits, then log(1 + x) as often as `logs` says.

    All of these are monotone (identity: only without logs), so they commute with a maximum.
    Values below zero, which only identity leaves, pass through the logarithms by their size.
    """
    if activation == "relu":
        weights = functional.relu(logits)
    elif activation == "softplus":
        weights = functional.softplus(logits)
    else:
        weights = logits
    for _ in range(logs):
        weights = weights.abs().log1p() * weights.sign() if activation == "identity" else (
            weights.log1p()
        )  # fmt: skip
    return weights
