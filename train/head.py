"""The vocabulary head: hidden states to pooled logits, never tokens x vocabulary at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

#: Terms whose logits exist at a time.
CHUNK = 4096
#: Above this share of active terms a chunk's backward pass multiplies dense matrices.
DENSE_SHARE = 0.35


def max_logits(hidden: Tensor, weight: Tensor, bias: Tensor, lengths: Sequence[int]) -> Tensor:
    """Return the largest logit of each term over each text's tokens, 0 where none is positive.

    `hidden` (tokens, width) holds the texts one after the other, `lengths` says how many tokens
    each has; `weight` (vocabulary, width), `bias` (vocabulary,). The result is (texts,
    vocabulary). Relu and logarithms are monotone, so they may follow instead of precede the
    maximum; and only the token that has the maximum gets a gradient, the first one of equals.
    Memory is that of the result and of `CHUNK` terms for all tokens, in both directions.
    """
    pooled: Tensor = _MaxLogits.apply(hidden, weight, bias, tuple(lengths))  # type: ignore[no-untyped-call]
    return pooled


class _MaxLogits(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, hidden: Tensor, weight: Tensor, bias: Tensor, lengths: tuple[int, ...]
    ) -> Tensor:
        pooled = hidden.new_empty(len(lengths), len(weight))
        texts: list[Tensor] = []
        terms: list[Tensor] = []
        tokens: list[Tensor] = []
        starts = [0]
        for length in lengths:
            starts.append(starts[-1] + length)
        for start in range(0, len(weight), CHUNK):
            part = slice(start, start + CHUNK)
            logits = torch.addmm(bias[part], hidden, weight[part].T)
            for text, length in enumerate(lengths):
                own = logits[starts[text] : starts[text] + length]
                best = own.amax(0)
                pooled[text, part] = best
                active = (best > 0).nonzero().squeeze(1)
                tokens.append(own[:, active].argmax(0) + starts[text])
                terms.append(active + start)
                texts.append(active.new_full((len(active),), text))
        pooled.clamp_(min=0)
        where = torch.cat(texts), torch.cat(terms), torch.cat(tokens)
        ctx.save_for_backward(hidden, weight, *where)
        return pooled

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, texts, terms, tokens = ctx.saved_tensors
        values = gradient[texts, terms]
        d_hidden = torch.zeros_like(hidden)
        d_weight = torch.zeros_like(weight)
        d_bias = weight.new_zeros(len(weight))
        d_bias.index_add_(0, terms, values)
        d_hidden.index_add_(0, tokens, values[:, None] * weight[terms])
        d_weight.index_add_(0, terms, values[:, None] * hidden[tokens])
        return d_hidden, d_weight, d_bias, None
