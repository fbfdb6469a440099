"""The BERT family on torch, over texts laid end to end, so that nothing is padded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lsr.bert import BertBody, BertWeights, Linear, Norm
from lsr.tokens import Ids

if TYPE_CHECKING:
    from torch import Tensor


class PackedBody:
    """Token states of several texts in one matrix; shares the arrays of `body`."""

    def __init__(self, body: BertBody) -> None:
        import torch

        self._body = body
        self._words = torch.from_numpy(body.words)
        self._positions = torch.from_numpy(body.positions)
        self._input_norm = _pair(body.input_norm)
        self._layers = [tuple(_pair(part) for part in layer) for layer in body.layers]

    def token_states(self, texts: Sequence[Ids]) -> Tensor:
        """Return (all tokens, hidden): the texts one after the other, after the last layer."""
        import torch
        from torch.nn import functional

        lengths = [len(ids) for ids in texts]
        tokens = torch.from_numpy(np.concatenate(texts))
        places = torch.cat([self._positions[:length] for length in lengths])
        epsilon = self._body.epsilon
        x = _norm(functional.embedding(tokens, self._words) + places, self._input_norm, epsilon)
        runs = _runs(lengths)
        for qkv, out, out_norm, up, down, down_norm in self._layers:
            attended = self._attention(functional.linear(x, *qkv), runs)
            x = _norm(functional.linear(attended, *out).add_(x), out_norm, epsilon)
            raised = _activate(functional.linear(x, *up), self._body.activation)
            x = _norm(functional.linear(raised, *down).add_(x), down_norm, epsilon)
        return x

    def _attention(self, qkv: Tensor, runs: Sequence[tuple[int, int]]) -> Tensor:
        import torch
        from torch.nn import functional

        n_heads = self._body.n_heads
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


class PackedBert:
    """Hidden states of several texts in one matrix of tokens; shares the arrays of `weights`."""

    def __init__(self, weights: BertWeights) -> None:
        import torch

        self._body = PackedBody(weights.body)
        self._epsilon = weights.body.epsilon
        self._activation = weights.head_activation
        self._transform = _pair(weights.transform)
        self._transform_norm = _pair(weights.transform_norm)
        self.vocab_size = len(weights.decoder)
        self.decoder = torch.from_numpy(weights.decoder)
        self.bias = torch.from_numpy(weights.decoder_bias)

    def hidden_states(self, texts: Sequence[Ids]) -> Tensor:
        """Return (all tokens, hidden): the texts one after the other, as the decoder sees them."""
        from torch.nn import functional

        x = functional.linear(self._body.token_states(texts), *self._transform)
        return _norm(_activate(x, self._activation), self._transform_norm, self._epsilon)


def _pair(part: Linear | Norm) -> tuple[Tensor, Tensor]:
    import torch

    return torch.from_numpy(part[0]), torch.from_numpy(part[1])


def _norm(x: Tensor, norm: tuple[Tensor, Tensor], epsilon: float) -> Tensor:
    from torch.nn import functional

    return functional.layer_norm(x, x.shape[-1:], *norm, eps=epsilon)


def _activate(x: Tensor, kind: str) -> Tensor:
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
