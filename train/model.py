"""The model that is trained: one object for every method, put together from a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lsr.errors import ConfigError, ModelError
from lsr.tokens import TextTokenizer
from lsr.train.backbone import Backbone, special_ids
from lsr.train.encoded import Encoded, Side, TokenBatch
from lsr.train.recipe import Recipe
from lsr.train.saving import read_table, save_model
from lsr.train.settings_model import ModelSettings, SideSettings
from lsr.train.sides import NetworkSide
from lsr.train.table import StaticSide

__all__ = ["Encoded", "Side", "SparseModel", "TokenBatch", "build_model", "load_model"]

_NO_DECAY = ("bias", "norm")


def build_model(recipe: Recipe, *, idf: Tensor | None = None) -> SparseModel:
    """Return the untrained model of a recipe, its networks as their folders have them.

    `idf` (vocabulary,) is what a query table begins with. Raises ConfigError when the recipe
    needs it and it is missing or of another vocabulary, ModelError when a folder is no model.
    """
    return SparseModel(recipe.model, idf=idf)


def load_model(folder: str | Path, recipe: Recipe, *, idf: Tensor | None = None) -> SparseModel:
    """Return the model that `save` wrote to a folder, for a recipe with the same sides."""
    settings = recipe.model.model_copy(update={"init": str(folder), "head_scale": 1.0})
    model = SparseModel(settings, idf=read_table(Path(folder)) if idf is None else idf)
    return model


class SparseModel(nn.Module):
    """Query side and document side over one vocabulary.

    `encode` is the forward pass of either; `save` writes a folder that `lsr` and
    sentence-transformers load.
    """

    def __init__(self, settings: ModelSettings, *, idf: Tensor | None = None) -> None:
        super().__init__()
        self.settings = settings
        body = Backbone(settings.init, causal=settings.document.kind == "causal")
        self.folder = body.folder
        self.n_vocabulary = body.n_vocabulary
        self.pad = body.pad
        networks = {"document": body}
        if settings.query.kind in ("mlm", "clsmlm", "causal"):
            own = Backbone(settings.query_init or settings.init)
            networks["query"] = body if settings.shared else own
        self.tokenizers = {
            "query": self._tokenizer(settings.query, settings.query_length),
            "document": self._tokenizer(settings.document, settings.document_length),
        }
        self.special = special_ids(self.tokenizer, self.n_vocabulary)
        for network in networks.values():
            network.mask(self.special)
        self.document = NetworkSide(settings.document, body)
        self.query = self._query_side(networks, idf)

    @property
    def tokenizer(self) -> TextTokenizer:
        """The tokenizer of documents."""
        return self.tokenizers["document"]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def collate(self, side: Side, texts: Sequence[str]) -> TokenBatch:
        """Return texts as a batch for `encode`, padded to the longest of them."""
        return self.pack([row.tolist() for row in self.tokenizers[side].encode(list(texts))])

    def pack(self, rows: Sequence[Sequence[int]]) -> TokenBatch:
        """Return lists of term ids as a batch for `encode`, padded to the longest of them."""
        longest = max((len(row) for row in rows), default=0) or 1
        ids = torch.full((len(rows), longest), self.pad)
        mask = torch.zeros(len(rows), longest, dtype=torch.long)
        for at, row in enumerate(rows):
            ids[at, : len(row)] = torch.tensor(row, dtype=torch.long)
            mask[at, : len(row)] = 1
        return TokenBatch(ids, mask)

    def encode(self, side: Side, batch: TokenBatch) -> Encoded:
        """Return the vectors of the texts of a batch, with gradients."""
        module = self.query if side == "query" else self.document
        encoded: Encoded | Tensor = module(batch)
        return encoded if isinstance(encoded, Encoded) else Encoded(encoded, encoded)

    def forward(self, side: Side, batch: TokenBatch) -> Encoded:
        """Return `encode`; wrappers such as DDP call the model itself."""
        return self.encode(side, batch)

    def parameter_groups(
        self, lr: float, table_lr: float, weight_decay: float
    ) -> list[dict[str, Any]]:
        """Return what an optimiser takes: weights, biases and norms (no decay), the query table."""
        decayed, plain, table = [], [], []
        for name, parameter in self.named_parameters():
            if not parameter.requires_grad:
                continue
            if isinstance(self.query, StaticSide) and parameter is self.query.weight:
                table.append(parameter)
            elif parameter.ndim < 2 or any(part in name.lower() for part in _NO_DECAY):
                plain.append(parameter)
            else:
                decayed.append(parameter)
        groups = [
            {"params": decayed, "lr": lr, "weight_decay": weight_decay},
            {"params": plain, "lr": lr, "weight_decay": 0.0},
            {"params": table, "lr": table_lr, "weight_decay": 0.0},
        ]
        return [group for group in groups if group["params"]]

    def save(self, folder: str | Path) -> None:
        """Write the model to a new folder, in a layout that sentence-transformers loads."""
        save_model(self, Path(folder))

    def _tokenizer(self, side: SideSettings, length: int) -> TextTokenizer:
        special = side.kind not in ("binary", "table")
        return TextTokenizer(self.folder, length=length, special=special)

    def _query_side(self, networks: dict[str, Backbone], idf: Tensor | None) -> nn.Module:
        settings = self.settings.query
        if settings.kind in ("binary", "table"):
            if settings.table in ("idf", "learned"):
                idf = _checked(idf, self.n_vocabulary)
            return StaticSide(settings, self.n_vocabulary, self.special, idf)
        if networks["query"] is networks["document"] and settings == self.settings.document:
            return self.document
        return NetworkSide(settings, networks["query"])


def _checked(idf: Tensor | None, n_vocabulary: int) -> Tensor:
    if idf is None:
        raise ConfigError("the query table begins with idf, and no idf was given")
    if idf.shape != (n_vocabulary,):
        raise ConfigError(
            f"the idf table has {idf.numel()} weights; the model has {n_vocabulary} terms"
        )
    if not bool(torch.isfinite(idf).all()) or bool((idf < 0).any()):
        raise ModelError("the idf table holds a weight that is negative or not finite")
    return idf
