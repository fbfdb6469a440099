"""Residuals for terms that stand in the text: PROSPER's, and one by their frequency."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from lsr.frequency import saturation
from lsr.head_parts import literal_residual


class LiteralResidual(nn.Module):
    """W = w + I * (max_j w'_j - w'), w' = FC(log(1 + relu(h))) (arXiv:2510.18527, 8 and 9).

    I marks the terms of the text, h is the hidden state of one token of it. The residual is never
    negative, and zero outside the text and at the largest w'; so the layer learns which terms of
    a text to lift less. It has width x vocabulary weights, as many as the vocabulary projection.
    """

    def __init__(self, width: int, n_vocabulary: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, n_vocabulary)

    def forward(self, state: Tensor, inputs: Tensor) -> Tensor:
        """Return the residual (n, vocabulary) of states (n, width) and `inputs` (n, vocabulary)."""
        opposed = self.linear(functional.relu(state).log1p()).float()
        return literal_residual(opposed, inputs)


class FrequencyResidual(nn.Module):
    """W = w + relu(a) * tf / (tf + k1 (1 - b + b length / 100)), a learned for each term.

    What max pooling cannot say: how often a term stands in a text, and how long the text is. The
    weights begin at zero; `build_model` sets them to a share of idf. One number for each term.
    """

    def __init__(self, n_vocabulary: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n_vocabulary))

    def forward(self, counts: Tensor) -> Tensor:
        """Return the residual (n, vocabulary) of texts with `counts` (n, vocabulary) of terms."""
        residual: Tensor = self.weight.relu() * saturation(counts, counts.sum(1, keepdim=True))
        return residual
