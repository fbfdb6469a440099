"""From hidden states to sparse weights on torch, for many texts at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lsr.head import Row, activate
from lsr.model_folder import Activation, Pooling

if TYPE_CHECKING:
    from torch import Tensor

    from lsr.splade_batches import Body

#: Hidden states of texts laid end to end, and the length of each text, to a row for each text.
Pool = Callable[["Tensor", Sequence[int]], list[Row]]

#: Terms whose logits are made at once; with a batch of tokens they stay in the cache.
CHUNK = 2048


#: A vocabulary smaller than this is not worth a coarse pass.
_WORTH = 4096


def make_pool(body: Body, pooling: Pooling, activation: Activation) -> Pool:
    """Return the function that pools the hidden states of this body, the fastest that is exact."""
    decoder, bias = body.decoder, body.bias
    if decoder is None or bias is None:
        return lambda logits, lengths: _pool_logits(logits, lengths, pooling, activation)
    whole = FloatHead(decoder, bias, pooling, activation)
    if pooling == "sum" or len(decoder) < _WORTH:
        return whole
    from lsr.coarse_head import CoarseHead, int8_pays

    if not int8_pays(decoder.shape[1]):
        return whole
    return CoarseHead(decoder, bias, _probe(body), activation)


def _probe(body: Body) -> Tensor:
    """Return the hidden states of a few texts of random terms, always the same ones."""
    import torch

    terms = np.random.default_rng(0).integers(0, body.vocab_size, (4, 32), np.int32)
    with torch.inference_mode():
        return body.hidden_states(list(terms))


class FloatHead:
    """The vocabulary head in float32, chunk by chunk of the vocabulary."""

    def __init__(
        self, decoder: Tensor, bias: Tensor, pooling: Pooling, activation: Activation
    ) -> None:
        self.decoder, self.bias = decoder, bias
        self.pooling: Pooling = pooling
        self.activation: Activation = activation

    def __call__(self, hidden: Tensor, lengths: Sequence[int]) -> list[Row]:
        """Return a row for each text of a batch laid end to end."""
        import torch

        pooled = torch.empty(len(lengths), len(self.decoder))
        for start in range(0, len(self.decoder), CHUNK):
            part = slice(start, start + CHUNK)
            logits = torch.addmm(self.bias[part], hidden, self.decoder[part].T)
            _pool_into(pooled[:, part], logits, lengths, self.pooling, self.activation)
        return _rows(pooled, self.pooling, self.activation)


def _pool_logits(
    logits: Tensor, lengths: Sequence[int], pooling: Pooling, activation: Activation
) -> list[Row]:
    pooled = logits.new_empty(len(lengths), logits.shape[1])
    _pool_into(pooled, logits, lengths, pooling, activation)
    return _rows(pooled, pooling, activation)


def _pool_into(
    pooled: Tensor,
    logits: Tensor,
    lengths: Sequence[int],
    pooling: Pooling,
    activation: Activation,
) -> None:
    import torch

    if pooling == "sum":
        logits = logits.relu_().log1p_()
        if activation == "log1p_relu":
            logits = logits.log1p_()
    for row, text in enumerate(torch.split(logits, list(lengths))):
        if pooling == "sum":
            torch.sum(text, 0, out=pooled[row])
        else:
            torch.amax(text, 0, out=pooled[row])


def _rows(pooled: Tensor, pooling: Pooling, activation: Activation) -> list[Row]:
    values = pooled.numpy()
    rows = []
    for row in values:
        terms = np.flatnonzero(row > 0)
        weights = row[terms] if pooling == "sum" else activate(row[terms], activation)
        rows.append(Row(terms, weights))
    return rows
