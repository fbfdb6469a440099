"""Sides with a network: a masked or causal language model and its vocabulary head."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from lsr.head_parts import activate, focus, prune, token_weights
from lsr.train.backbone import Backbone, Hidden
from lsr.train.encoded import Encoded, TokenBatch
from lsr.train.head import max_logits, pool_weights
from lsr.train.literal import FrequencyResidual, LiteralResidual
from lsr.train.settings_model import SideSettings
from lsr.train.table import term_counts


def extras_of(settings: SideSettings) -> tuple[bool, bool, bool, bool, bool]:
    """Return what a side learns beside its network: residuals, importance, quality, token weights.

    Sides that share their network share these, too, when both have the same.
    """
    token = settings.kind in ("mlp", "expmlp")
    frequency = settings.frequency > 0
    return settings.literal, settings.importance, settings.quality, token, frequency


class Extras(nn.Module):
    """What a side learns beside its network; shared by both sides when their weights are."""

    def __init__(self, settings: SideSettings, width: int, n_vocabulary: int) -> None:
        super().__init__()
        literal, importance, quality, token, frequency = extras_of(settings)
        self.literal = LiteralResidual(width, n_vocabulary) if literal else None
        self.importance = nn.Linear(width, 1) if importance else None
        self.quality = nn.Linear(width, 1) if quality else None
        self.token = nn.Linear(width, 1) if token else None
        if self.token is not None:  # every term begins with a weight of about one, none is dead
            nn.init.normal_(self.token.weight, std=0.02)
            nn.init.ones_(self.token.bias)
        self.frequency = FrequencyResidual(n_vocabulary) if frequency else None


class NetworkSide(nn.Module):
    """Pools the logits of a language model over the positions of each text."""

    def __init__(
        self, settings: SideSettings, backbone: Backbone, extras: Extras, special: Sequence[int]
    ) -> None:
        super().__init__()
        self.settings = settings
        self.backbone = backbone
        self.extras = extras
        self.special = list(special)

    def forward(self, batch: TokenBatch) -> Encoded:
        """Return the vectors of the texts."""
        settings, extras = self.settings, self.extras
        hidden: Hidden = self.backbone(batch.input_ids, batch.attention_mask)
        base = self._pool(hidden)
        if extras.quality is not None:
            base = base * torch.sigmoid(extras.quality(hidden.rows(last=False)).float())
        weights = base
        if settings.scope == "input" or extras.literal is not None:
            inputs = term_counts(batch, self.backbone.n_vocabulary, self.special) > 0
            if settings.scope == "input":
                weights = base = base * inputs
            if extras.literal is not None:
                state = hidden.rows(last=settings.pooling == "last")
                weights = base + extras.literal(state, inputs)
        if extras.frequency is not None:
            weights = base + extras.frequency(
                term_counts(batch, self.backbone.n_vocabulary, self.special)
            )
        return Encoded(_finish(weights, settings, used=not self.training), base)

    def _pool(self, hidden: Hidden) -> Tensor:
        settings, body = self.settings, self.backbone
        head = hidden.states, body.decoder, body.bias, hidden.lengths
        into = partial(activate, activation=settings.activation, logs=settings.logs)
        if settings.kind == "clsmlm" or settings.pooling in ("last", "cls"):
            rows = hidden.rows(last=settings.pooling == "last")
            return into(functional.linear(rows, body.decoder, body.bias).float())
        if self.extras.importance is not None:
            importance = functional.softplus(self.extras.importance(hidden.states).float()).log1p()
            return pool_weights(
                *head, pooling=_max_or_sum(settings), activate=into, importance=importance
            )
        if settings.pooling == "sum":
            return pool_weights(*head, pooling="sum", activate=into)
        return into(max_logits(*head, all_terms=settings.activation != "relu"))


class TokenSide(nn.Module):
    """A weight for each token of the text, and nothing else; its tokenizer adds terms for expMLP.

    The weight is a linear layer on what the vocabulary projection would see: the language
    model's last hidden state through its transform.
    """

    def __init__(
        self, settings: SideSettings, backbone: Backbone, extras: Extras, special: Sequence[int]
    ) -> None:
        super().__init__()
        self.settings = settings
        self.backbone = backbone
        self.extras = extras
        self.special = list(special)

    def forward(self, batch: TokenBatch) -> Encoded:
        """Return the vectors of the texts."""
        hidden: Hidden = self.backbone(batch.input_ids, batch.attention_mask)
        if self.extras.token is None:
            raise TypeError("a side of tokens has a layer for their weights")
        scores = self.extras.token(hidden.states).squeeze(1).float()
        weights = activate(scores, self.settings.activation, self.settings.logs)
        shape = len(batch.input_ids), self.backbone.n_vocabulary
        places = hidden.texts() * shape[1] + hidden.terms
        add = self.settings.duplicates == "sum"
        vectors = token_weights(weights, places, shape, add=add)
        vectors = vectors.index_fill(1, torch.tensor(self.special, device=vectors.device), 0.0)
        finished = _finish(vectors, self.settings, used=not self.training)
        return Encoded(finished, vectors)


def _finish(weights: Tensor, settings: SideSettings, *, used: bool) -> Tensor:
    """Return what scores are made of; weights are pruned in use, not while the side trains."""
    if used:
        weights = prune(weights, settings.prune)
    weights = focus(weights, settings.window)
    return functional.normalize(weights, dim=1) if settings.norm == "l2" else weights


def _max_or_sum(settings: SideSettings) -> Literal["max", "sum"]:
    return "sum" if settings.pooling == "sum" else "max"
