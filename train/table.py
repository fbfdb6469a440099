"""Sides without a network: a text is its terms, each with the weight of a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from lsr.errors import ConfigError
from lsr.tokens import TextTokenizer
from lsr.train.encoded import Encoded, TokenBatch
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
        table = torch.ones(n_vocabulary) if weights is None else weights.detach().clone().float()
        check_table(table, n_vocabulary)
        table[self.special] = 0
        self.weight = nn.Parameter(table, requires_grad=settings.table == "learned")

    def table(self) -> Tensor:
        """Return the weight of each term, (vocabulary,)."""
        return functional.relu(self.weight)

    def forward(self, batch: TokenBatch) -> Encoded:
        """Return the vectors of the texts."""
        counts = term_counts(batch, len(self.weight), self.special)
        if self.settings.duplicates != "sum":
            counts = counts.clamp(max=1)
        base = counts * self.table()
        if self.settings.norm == "l2":
            return Encoded(functional.normalize(base, dim=1), base)
        return Encoded(base, base)


def check_table(table: Tensor, n_vocabulary: int) -> None:
    """Raise ConfigError unless there is a weight for each term, finite and not negative."""
    if table.shape != (n_vocabulary,):
        raise ConfigError(
            f"the query table has {table.numel()} weights; the model has {n_vocabulary} terms",
            hint="make the table with the model's own tokenizer",
        )
    wrong = ~torch.isfinite(table) | (table < 0)
    if bool(wrong.any()):
        term = int(wrong.nonzero()[0])
        raise ConfigError(
            f"the query table has weight {float(table[term])} for term {term}; "
            "a finite number of at least 0 is expected"
        )


def read_table_file(file: Path, tokenizer: TextTokenizer, n_vocabulary: int) -> Tensor:
    """Return the table in a JSON object of tokens and weights; tokens not in it weigh 1.

    Raises ConfigError when the file has a token that the tokenizer does not know, which means
    that it was made with another tokenizer.
    """
    try:
        weights = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read as JSON ({error})") from error
    if not isinstance(weights, dict):
        raise ConfigError(f"{file} is not a JSON object of tokens and weights")
    unknown = [token for token in weights if token not in tokenizer.vocabulary]
    if unknown:
        raise ConfigError(
            f"{file} has {len(unknown)} tokens that the model's tokenizer does not know, "
            f"{unknown[0]!r} first",
            hint="make the table with the model's own tokenizer",
        )
    table = torch.ones(n_vocabulary)
    for token, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise ConfigError(f"{file}: the weight of {token!r} is {weight!r}, not a number")
        table[tokenizer.vocabulary[token]] = weight
    return table
