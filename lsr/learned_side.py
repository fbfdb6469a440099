"""Sides with more than a vocabulary head: literal residuals, token weights, windows and norms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from lsr.added_terms import document_tokenizer
from lsr.errors import ModelError
from lsr.head import Row, keep_largest
from lsr.model_folder import LearnedSide
from lsr.tokens import Ids, read_json
from lsr.weights import WeightFiles

if TYPE_CHECKING:
    from torch import Tensor

    from lsr.splade_batches import Body

#: Terms whose logits are made at once.
_CHUNK = 2048
#: A bias that no logit outweighs; lsr.train has the same.
_NEVER = -1e4


class LearnedNetwork:
    """A side that `sparse_head.json` describes; its network runs on torch."""

    can_skip_torch = False

    def __init__(self, side: LearnedSide) -> None:
        self.side = side
        self._config = read_json(side.folder / "config.json")
        self.tokenizer = document_tokenizer(side.kind, side.folder, length=side.max_seq_length)
        text = self._config.get("text_config") or self._config
        self.vocab_size = int(text.get("vocab_size") or 0)
        if self.tokenizer.size > self.vocab_size:
            raise ModelError(
                f"{side.folder}: the tokenizer has {self.tokenizer.size} tokens but the model "
                f"has a vocabulary of {self.vocab_size}",
                hint="the tokenizer files belong to another model; fetch the whole model again",
            )

    @cached_property
    def _body(self) -> Body:
        from lsr.bert import is_bert, read_bert

        if is_bert(self._config):
            from lsr.bert_torch import PackedBert

            return PackedBert(read_bert(self._config, WeightFiles(self.side.folder)))
        from lsr.masked_lm import MaskedLM

        return MaskedLM(self.side.folder, self._config)

    @cached_property
    def _projection(self) -> tuple[Tensor, Tensor]:
        """The vocabulary projection; the bias keeps what is no term out of every vector."""
        body = self._body
        if body.decoder is None or body.bias is None:
            raise ModelError(f"{self.side.folder}: its logits are not hidden states times a matrix")
        bias = body.bias.clone()
        bias[sorted(self.tokenizer.special_ids)] = _NEVER
        bias[self.tokenizer.size :] = _NEVER
        return body.decoder, bias

    @cached_property
    def _tensors(self) -> dict[str, Tensor]:
        import torch

        files = WeightFiles(self.side.tensors.parent, self.side.tensors.name)
        prefix = f"{self.side.extras}."
        return {
            name.removeprefix(prefix): torch.from_numpy(np.array(files.tensor(name)))
            for name in files.names
            if name.startswith(prefix)
        }

    def encode_few(self, texts: Sequence[str], *, max_active: int | None = None) -> list[Row]:
        """Return a row for each text, on one thread."""
        return self.encode(texts, threads=1, max_active=max_active)

    def encode(
        self,
        texts: Sequence[str],
        *,
        threads: int,
        max_active: int | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> list[Row]:
        """Return a row for each text; the outcome does not depend on the number of threads."""
        from lsr.splade_batches import encode_in_batches

        rows = encode_in_batches(
            texts, self.tokenizer, self.vectors, _rows, threads=threads, on_progress=on_progress
        )
        return [keep_largest(row, max_active) for row in rows]

    def vectors(self, batch: Sequence[Ids]) -> Tensor:
        """Return the vectors of a batch, float32 (texts, vocabulary)."""
        from torch.nn import functional

        from lsr.head_parts import focus, prune

        side = self.side
        filled = [ids if len(ids) else np.zeros(1, np.int32) for ids in batch]
        hidden = self._body.hidden_states(filled)
        if side.kind in ("mlp", "expmlp"):
            weights = self._token_weights(hidden, filled)
        else:
            weights = self._network_weights(hidden, filled)
        weights = focus(prune(weights, side.prune), side.window)
        return functional.normalize(weights, dim=1) if side.norm == "l2" else weights

    def _token_weights(self, hidden: Tensor, batch: Sequence[Ids]) -> Tensor:
        from lsr.head_parts import activate, token_weights

        side = self.side
        scores = self._linear("token", hidden).squeeze(1)
        weights = activate(scores, side.activation, side.logs)
        shape = len(batch), self.vocab_size
        vectors = token_weights(weights, self._places(batch), shape, add=side.duplicates == "sum")
        vectors[:, sorted(self.tokenizer.special_ids)] = 0
        return vectors

    def _network_weights(self, hidden: Tensor, batch: Sequence[Ids]) -> Tensor:
        import torch

        from lsr.head_parts import literal_residual

        side = self.side
        lengths = [len(ids) for ids in batch]
        ends = torch.tensor(lengths).cumsum(0)
        first, last = hidden[ends - torch.tensor(lengths)], hidden[ends - 1]
        weights = self._pooled(hidden, lengths, last if side.pooling == "last" else first)
        if side.quality:
            weights = weights * torch.sigmoid(self._linear("quality", first))
        if side.scope == "input" or side.literal:
            inputs = torch.zeros(weights.numel(), dtype=torch.bool)
            inputs[self._places(batch)] = True
            inputs = inputs.view(weights.shape)
            inputs[:, sorted(self.tokenizer.special_ids)] = False
            if side.scope == "input":
                weights = weights * inputs
            if side.literal:
                state = last if side.pooling == "last" else first
                opposed = self._linear("literal.linear", state.relu().log1p())
                weights = weights + literal_residual(opposed, inputs)
        return weights

    def _pooled(self, hidden: Tensor, lengths: list[int], row: Tensor) -> Tensor:
        import torch
        from torch.nn import functional

        from lsr.head_parts import activate

        side, (decoder, bias) = self.side, self._projection
        if side.kind == "clsmlm" or side.pooling in ("last", "cls"):
            logits = torch.addmm(bias, row, decoder.T)
            return activate(logits, side.activation, side.logs)
        factor = None
        if side.importance:
            factor = functional.softplus(self._linear("importance", hidden)).log1p()
        pooled = torch.empty(len(lengths), self.vocab_size)
        for start in range(0, self.vocab_size, _CHUNK):
            part = slice(start, start + _CHUNK)
            weights = torch.addmm(bias[part], hidden, decoder[part].T)
            weights = activate(weights, side.activation, side.logs)
            if factor is not None:
                weights = weights * factor
            for text, own in enumerate(torch.split(weights, lengths)):
                pooled[text, part] = own.sum(0) if side.pooling == "sum" else own.amax(0)
        return pooled

    def _linear(self, name: str, states: Tensor) -> Tensor:
        from torch.nn import functional

        weight, bias = self._tensors.get(f"{name}.weight"), self._tensors.get(f"{name}.bias")
        if weight is None or bias is None:
            raise ModelError(f"{self.side.tensors} has no tensor {self.side.extras}.{name}.weight")
        return functional.linear(states, weight, bias)

    def _places(self, batch: Sequence[Ids]) -> Tensor:
        import torch

        texts = np.repeat(np.arange(len(batch)), [len(ids) for ids in batch])
        return torch.from_numpy(texts * self.vocab_size + np.concatenate(batch))


def _rows(vectors: Tensor, _: Sequence[Ids]) -> list[Row]:
    rows = []
    for vector in vectors.numpy():
        terms = np.flatnonzero(vector > 0)
        rows.append(Row(terms, vector[terms]))
    return rows
