"""The BERT family on torch, over texts laid end to end, so that nothing is padded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lsr.bert import BertWeights, Linear, Norm
from lsr.tokens import Ids

if TYPE_CHECKING:
    from torch import Tensor


class PackedBert:
    """Hidden states of several texts in one matrix of tokens; shares the arrays of `weights`."""

    def __init__(self, weights: BertWeights) -> None:
        import torch

        def pair(part: Linear | Norm) -> tuple[Tensor, Tensor]:
            return torch.from_numpy(part[0]), torch.from_numpy(part[1])

        self._weights = weights
        self.vocab_size = len(weights.decoder)
        self._words = torch.from_numpy(weights.words)
        self._positions = torch.from_numpy(weights.positions)
        self._input_norm = pair(weights.input_norm)
        self._layers = [tuple(pair(part) for part in layer) for layer in weights.layers]
        self._transform = pair(weights.transform)
        self._transform_norm = pair(weights.transform_norm)
        self.decoder = torch.from_numpy(weights.decoder)
        self.bias = torch.from_numpy(weights.decoder_bias)

    def hidden_states(self, texts: Sequence[Ids]) -> Tensor:
        """Return (all tokens, hidden): the texts one after the other, as the decoder sees them."""
        import torch
        from torch.nn import functional

        lengths = [len(ids) for ids in texts]
        tokens = torch.from_numpy(np.concatenate(texts))
        places = torch.cat([self._positions[:length] for length in lengths])
        x = self._norm(functional.embedding(tokens, self._words) + places, self._input_norm)
        runs = _runs(lengths)
        for qkv, out, out_norm, up, down, down_norm in self._layers:
            attended = self._attention(functional.linear(x, *qkv), runs)
            x = self._norm(functional.linear(attended, *out).add_(x), out_norm)
            raised = self._activate(functional.linear(x, *up), self._weights.activation)
            x = self._norm(functional.linear(raised, *down).add_(x), down_norm)
        x = self._activate(functional.linear(x, *self._transform), self._weights.head_activation)
        return self._norm(x, self._transform_norm)

    def _attention(self, qkv: Tensor, runs: Sequence[tuple[int, int]]) -> Tensor:
        import torch
        from torch.nn import functional

        n_heads = self._weights.n_heads
        width = qkv.shape[1] // 3
        out = torch.empty(qkv.shape[0], width)
        start = 0
        for count, length in runs:
            stop = start + count * length
            parts = qkv[start:stop].view(count, length, 3, n_heads, -1)
            query, key, value = parts.permute(2, 0, 3, 1, 4)
            found = functional.scaled_dot_product_attention(query, key, value)
            out[start:stop].view(count, length, n_heads, -1).copy_(found.transpose(1, 2))
            start = stop
        return out

    def _norm(self, x: Tensor, norm: tuple[Tensor, Tensor]) -> Tensor:
        from torch.nn import functional

        return functional.layer_norm(x, x.shape[-1:], *norm, eps=self._weights.epsilon)

    def _activate(self, x: Tensor, kind: str) -> Tensor:
        from torch.nn import functional

        if kind == "relu":
            return functional.relu(x)
        return functional.gelu(x, approximate="tanh" if kind == "tanh" else "none")


def _runs(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Return (how many, which length) for each stretch of texts of equal length."""
    runs: list[tuple[int, int]] = []
    for length in lengths:
        if runs and runs[-1][1] == length:
            runs[-1] = (runs[-1][0] + 1, length)
        else:
            runs.append((1, length))
    return runs
