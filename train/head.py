"""The vocabulary head: hidden states to pooled logits, never tokens x vocabulary at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

#: Terms and (about) tokens of a tile; its logits, 8 MB, stay near the processor.
TERMS = 2048
TOKENS = 1024

#: Active terms by logits, from which the backward pass multiplies matrices instead of gathering:
#: 35 % of the terms of texts of seven tokens, all of those of texts of twenty. What is gathered
#: grows with the active terms, a product with the tokens (benchmarks/head_backward.py).
DENSE = 1 / 20


def max_logits(
    hidden: Tensor, weight: Tensor, bias: Tensor, lengths: Sequence[int], *, all_terms: bool = False
) -> Tensor:
    """Return the largest logit of each term over each text's tokens, 0 where none is positive.

    `hidden` (tokens, width) holds the texts one after the other, `lengths` says how many tokens
    each has; `weight` (vocabulary, width), `bias` (vocabulary,). The result is float32 (texts,
    vocabulary). Activations are monotone, so they may follow instead of precede the maximum; and
    only the token that has the maximum gets a gradient, the first one of equals. With `all_terms`
    logits that are not positive are returned as well, and have gradients. Memory beyond the
    result is a tile of logits, and 16 bytes for each active term of each text.
    """
    pooled: Tensor = _MaxLogits.apply(  # type: ignore[no-untyped-call]
        hidden, weight, bias, tuple(lengths), all_terms
    )
    return pooled


class _MaxLogits(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor,
        lengths: tuple[int, ...],
        all_terms: bool,
    ) -> Tensor:
        pooled = hidden.new_empty(len(lengths), len(weight), dtype=torch.float32)
        floor = -torch.inf if all_terms else 0.0
        flat: list[Tensor] = []
        tokens: list[Tensor] = []
        buffer = hidden.new_empty(0)
        for texts in _tiles(lengths):
            first, stop = sum(lengths[: texts.start]), sum(lengths[: texts.stop])
            states = hidden[first:stop]
            for start in range(0, len(weight), TERMS):
                part = slice(start, start + TERMS)
                matrix = weight[part].to(hidden.dtype)
                size = len(states) * len(matrix)
                buffer = buffer if buffer.numel() >= size else hidden.new_empty(size)
                logits = buffer[:size].view(len(states), len(matrix))
                torch.mm(states, matrix.T, out=logits)
                at = first
                rows = torch.split(logits, list(lengths[texts.start : texts.stop]))
                for text, own in zip(texts, rows, strict=True):
                    best = own.amax(0).float().add_(bias[part])
                    pooled[text, part] = best
                    active = (best > floor).nonzero().squeeze(1)
                    tokens.append((own[:, active].argmax(0) + at).int())
                    flat.append(active + (text * len(weight) + start))
                    at += len(own)
        if not all_terms:
            pooled.clamp_(min=0)
        ctx.save_for_backward(hidden, weight, torch.cat(flat), torch.cat(tokens))
        return pooled

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, flat, tokens = ctx.saved_tensors
        values = gradient.flatten()[flat].float()
        terms = (flat % len(weight)).int()
        if len(flat) >= DENSE * len(hidden) * len(weight):
            entries = values, flat, tokens
            d_hidden, d_weight = multiply_sums(hidden, weight, *entries, texts=len(gradient))
        else:
            d_hidden = gather_sums(weight, terms, tokens, values, len(hidden))
            d_weight = gather_sums(hidden, tokens, terms, values, len(weight))
        d_bias = torch.zeros(len(weight), device=values.device)
        d_bias.index_add_(0, terms, values)
        return d_hidden.to(hidden.dtype), d_weight.to(weight.dtype), d_bias, None, None


def gather_sums(rows: Tensor, source: Tensor, target: Tensor, factors: Tensor, n: int) -> Tensor:
    """Return (n, width): for each target the sum of factor times row over its sources.

    `source` and `target` int32 (entries,), `factors` (entries,). Nothing of entries x width
    exists meanwhile, which is why this beats index_add at any share of active terms.
    """
    order = torch.argsort(target, stable=True)
    ends = torch.bincount(target, minlength=n).cumsum(0)
    starts = functional.pad(ends[:-1], (1, 0))
    return functional.embedding_bag(
        source[order], rows.float(), starts.int(), mode="sum", per_sample_weights=factors[order]
    )


def multiply_sums(
    hidden: Tensor, weight: Tensor, factors: Tensor, flat: Tensor, tokens: Tensor, *, texts: int
) -> tuple[Tensor, Tensor]:
    """Return what `gather_sums` makes of both sides, by products of matrices, tile by tile.

    Entry i says that text `flat[i] // vocabulary` has its maximum of term `flat[i] % vocabulary`
    at `tokens[i]`, and that its gradient is `factors[i]`. Memory beyond the results is 12 bytes for
    each text and term, and a tile of tokens x terms.
    """
    shape = texts, len(weight)
    rows = tokens.new_zeros(texts * len(weight), dtype=torch.int64).index_copy_(
        0, flat, tokens.long()
    )
    values = factors.new_zeros(texts * len(weight)).index_copy_(0, flat, factors)
    rows, values = rows.view(shape), values.view(shape)
    states, matrix = hidden.float(), weight.float()
    d_hidden, d_weight = torch.zeros_like(states), torch.empty_like(matrix)
    width = max(256, TERMS * TOKENS // max(1, len(hidden)))
    for start in range(0, len(weight), width):
        part = slice(start, start + width)
        # Added, since a term that is not active points at a token that may be another text's.
        logits = states.new_zeros(len(hidden), len(matrix[part]))
        logits.scatter_add_(0, rows[:, part], values[:, part])
        d_hidden.addmm_(logits, matrix[part])
        torch.mm(logits.T, states, out=d_weight[part])
    return d_hidden, d_weight


def pool_weights(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    lengths: Sequence[int],
    *,
    pooling: Literal["max", "sum"],
    activate: Callable[[Tensor], Tensor],
    importance: Tensor | None = None,
) -> Tensor:
    """Return weights that are activated at each token, then summed or maximised over a text.

    For what does not commute with the maximum: sums (SPLADE v1), and positions that count for
    more or less, `importance` (tokens, 1) (EPIC). The backward pass makes the logits of each
    chunk of terms again instead of keeping them.
    """

    def chunk(states: Tensor, matrix: Tensor, part: Tensor, factor: Tensor | None) -> Tensor:
        weights = activate(torch.addmm(part, states, matrix.T).float())
        if factor is not None:
            weights = weights * factor
        texts = torch.split(weights, list(lengths))
        return torch.stack([one.sum(0) if pooling == "sum" else one.amax(0) for one in texts])

    width = max(256, TERMS * TOKENS // max(1, len(hidden)))
    parts = [slice(start, start + width) for start in range(0, len(weight), width)]
    columns: list[Tensor] = [
        checkpoint(chunk, hidden, weight[part], bias[part], importance, use_reentrant=False)
        for part in parts
    ]
    return torch.cat(columns, 1)


def _tiles(lengths: Sequence[int]) -> Iterator[range]:
    """Yield ranges of texts that together have about `TOKENS` tokens."""
    start = tokens = 0
    for text, length in enumerate(lengths):
        if tokens and tokens + length > TOKENS:
            yield range(start, text)
            start, tokens = text, 0
        tokens += length
    if lengths:
        yield range(start, len(lengths))
