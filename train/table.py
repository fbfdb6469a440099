"""Sides without a network: a text is its terms, each with the weight of a table."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from lsr.train.encoded import TokenBatch
from lsr.train.settings_model import SideSettings


def term_counts(batch: TokenBatch, n_vocabulary: int, special: Sequence[int]) -> Tensor:
    """Return how often each term stands in each text, float32 (n, vocabulary)."""
    counts = torch.zeros(len(batch.input_ids), n_vocabulary, device=batch.input_ids.device)
    counts.scatter_add_(1, batch.input_ids, batch.attention_mask.to(counts.dtype))
    counts[:, list(special)] = 0
    return counts


class StaticSide(nn.Module):
    """1, or a weight, for each term of the text; special tokens have none.

    A learned table is used through relu, so that a weight can vanish but not turn negative.
    """

    def __init__(
        self,
        settings: SideSettings,
        n_vocabulary: int,
        special: Sequence[int],
        weights: Tensor | None,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.special = list(special)
        table = torch.ones(n_vocabulary) if weights is None else weights.clone().float()
        table[self.special] = 0
        self.weight = nn.Parameter(table, requires_grad=settings.table == "learned")

    def table(self) -> Tensor:
        """Return the weight of each term, (vocabulary,)."""
        return functional.relu(self.weight)

    def forward(self, batch: TokenBatch) -> Tensor:
        """Return the vectors of the texts, (n, vocabulary)."""
        counts = term_counts(batch, len(self.weight), self.special)
        if self.settings.duplicates != "sum":
            counts = counts.clamp(max=1)
        return counts * self.table()
