"""The model that is trained: one object for every method, put together from a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from lsr.added_terms import document_tokenizer
from lsr.errors import ConfigError, ModelError
from lsr.tokens import TextTokenizer
from lsr.train.backbone import Backbone, special_ids
from lsr.train.encoded import Encoded, Side, TokenBatch
from lsr.train.recipe import Recipe
from lsr.train.saving import read_extras, read_table, save_model, start_of
from lsr.train.settings_loss import RankSettings
from lsr.train.settings_model import ModelSettings, SideSettings
from lsr.train.sides import Extras, NetworkSide, TokenSide, extras_of
from lsr.train.table import StaticSide, read_table_file, term_counts

__all__ = ["Encoded", "Side", "SparseModel", "TokenBatch", "build_model", "load_model"]

_NO_DECAY = ("bias", "norm")


def build_model(recipe: Recipe, *, idf: Tensor | None = None) -> SparseModel:
    """Return the untrained model of a recipe, its networks as their folders have them.

    `idf` (vocabulary,) is what a query table begins with. Raises ConfigError when the recipe
    needs it and it is missing or of another vocabulary, ModelError when a folder is no model.
    New layers are drawn from torch's generator: seed it first.
    """
    model = SparseModel(recipe.model, idf=idf)
    model.prepare_losses(recipe.rank)
    residual = model.document.extras.frequency
    if residual is not None:
        if idf is None:
            raise ConfigError("the frequency residual begins with idf, and no idf was given")
        with torch.no_grad():
            residual.weight.copy_(recipe.model.document.frequency * model.of_terms(idf))
    return model


def load_model(folder: str | Path, recipe: Recipe) -> SparseModel:
    """Return the model that `save` wrote to a folder, for a recipe with the same sides.

    Weights are equal bit for bit. Raises ModelError when the folder has other sides.
    """
    place = Path(folder)
    settings = recipe.model.model_copy(update=start_of(place))
    if settings.query.table == "file":  # the folder has it, scaled
        query = settings.query.model_copy(update={"table": "idf", "table_file": None})
        settings = settings.model_copy(update={"query": query})
    model = SparseModel(settings, idf=read_table(place))
    model.prepare_losses(recipe.rank)
    read_extras(model, place)
    return model


class SparseModel(nn.Module):
    """Query side and document side over one vocabulary.

    `encode` is the forward pass of either; `save` writes a folder that `lsr` loads, and
    sentence-transformers too where it has the parts.
    """

    def __init__(self, settings: ModelSettings, *, idf: Tensor | None = None) -> None:
        super().__init__()
        if settings.document.kind == "csr":
            raise ConfigError("csr codes come from dense vectors; see lsr.train.csr")
        self.settings = settings
        self.keeps_inputs = self.reads_queries = False
        body = Backbone(settings.init, causal=settings.document.kind == "causal")
        self.folder = body.folder
        self.n_vocabulary = body.n_vocabulary
        self.pad = body.pad
        self.tokenizers = {
            "query": self._tokenizer(settings.query, settings.query_length),
            "document": self._tokenizer(settings.document, settings.document_length),
        }
        if self.tokenizer.size > self.n_vocabulary:
            raise ModelError(
                f"{body.folder}: the tokenizer has {self.tokenizer.size} tokens but the model "
                f"has a vocabulary of {self.n_vocabulary}"
            )
        self.special = special_ids(self.tokenizer, self.n_vocabulary)
        body.prepare(self.special, settings.head_scale)
        self.document = self._network_side(settings.document, body, None)
        self.query = self._query_side(body, idf)

    @property
    def tokenizer(self) -> TextTokenizer:
        """The tokenizer of documents."""
        return self.tokenizers["document"]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def prepare_losses(self, rank: RankSettings) -> None:
        """Let `encode` keep what these losses need beside the vectors."""
        self.reads_queries = rank.document_likelihood > 0
        self.keeps_inputs = bool(rank.term_mse or rank.likelihood or self.reads_queries)
        if self.reads_queries:  # the network has its [CLS]; a bag of terms is none the wiser
            self.tokenizers["query"].special = True

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
        encoded: Encoded = module(batch)
        if self.keeps_inputs:
            inputs = term_counts(batch, self.n_vocabulary, self.special) > 0
            encoded = encoded._replace(inputs=inputs)
        if self.reads_queries and self.training and side == "query":
            encoded = encoded._replace(reverse=self.document(batch).vectors)
        return encoded

    def forward(self, side: Side, batch: TokenBatch) -> Encoded:
        """Return `encode`; wrappers such as DDP call the model itself."""
        return self.encode(side, batch)

    def parameter_groups(
        self, lr: float, table_lr: float, weight_decay: float
    ) -> list[dict[str, Any]]:
        """Return what an optimiser takes: weights, biases and norms (no decay), one for each term.

        Those are the query table and the frequency residual, which learn with `table_lr`.
        """
        decayed, plain, table = [], [], []
        frequency = self.document.extras.frequency
        residual = None if frequency is None else frequency.weight
        for name, parameter in self.named_parameters():
            if not parameter.requires_grad:
                continue
            if parameter is residual or (
                isinstance(self.query, StaticSide) and parameter is self.query.weight
            ):
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

    def of_terms(self, weights: Tensor) -> Tensor:
        """Return weights of tokens as (vocabulary,): rows that no token has weigh nothing."""
        if len(weights) != self.tokenizer.size:
            return weights
        return functional.pad(weights, (0, self.n_vocabulary - len(weights)))

    def save(self, folder: str | Path, *, half: bool = False) -> None:
        """Write the model to a new folder, in a layout that sentence-transformers loads.

        `half` stores the networks as float16. Parts that others have no modules for go into
        `sparse_head.json` and a file of tensors, which `lsr` reads.
        """
        save_model(self, Path(folder), half=half)

    def _tokenizer(self, side: SideSettings, length: int) -> TextTokenizer:
        special = side.kind not in ("binary", "table")
        return document_tokenizer(side.kind, self.folder, length=length, special=special)

    def _network_side(
        self, settings: SideSettings, body: Backbone, extras: Extras | None
    ) -> NetworkSide | TokenSide:
        if extras is None:
            extras = Extras(settings, body.width, body.n_vocabulary)
        kind = TokenSide if settings.kind in ("mlp", "expmlp") else NetworkSide
        return kind(settings, body, extras, self.special)

    def _query_side(self, body: Backbone, idf: Tensor | None) -> nn.Module:
        settings = self.settings.query
        if settings.kind in ("binary", "table"):
            table = None
            if settings.table == "file":
                table = read_table_file(
                    Path(str(settings.table_file)), self.tokenizer, self.n_vocabulary
                )
            elif settings.table != "none":
                if idf is None:
                    raise ConfigError("the query table begins with idf, and no idf was given")
                table = self.of_terms(idf)
            if table is not None:
                table = table * self.settings.table_scale
            return StaticSide(settings, self.n_vocabulary, self.special, table)
        if self.settings.shared:
            if settings == self.settings.document:
                return self.document
            same = extras_of(settings) == extras_of(self.settings.document)
            return self._network_side(settings, body, self.document.extras if same else None)
        own = Backbone(self.settings.query_init or self.settings.init, causal=body.causal)
        if own.n_vocabulary != self.n_vocabulary:
            raise ModelError(
                f"{own.folder} has {own.n_vocabulary} terms, {self.folder} {self.n_vocabulary}; "
                "both sides must share one vocabulary"
            )
        own.prepare(self.special, self.settings.head_scale)
        return self._network_side(settings, own, None)
