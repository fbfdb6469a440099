"""What goes into a model and what comes out of it."""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import Tensor

Side = Literal["query", "document"]


class TokenBatch(NamedTuple):
    """Texts as term ids: `input_ids` int64 (n, length) and `attention_mask` (n, length), 1 or 0."""

    input_ids: Tensor
    attention_mask: Tensor


class Encoded(NamedTuple):
    """The vectors of n texts, all float32 (n, vocabulary).

    `vectors` are what scores are made of, `base` is what regularisers see: the same tensor unless
    the side has a literal residual, a window or a norm. `inputs` (bool) marks the terms of the
    texts themselves; it is there when the recipe has a loss that needs it, as is `reverse`, what
    the document side makes of queries.
    """

    vectors: Tensor
    base: Tensor
    inputs: Tensor | None = None
    reverse: Tensor | None = None
