"""GradCache: the loss of a large batch in the memory of a small one (arXiv:2101.06983).

All vectors are made without gradients, a part of the texts at a time; every loss, regularisers
included, sees all of them at once and gives the gradient of each vector; then each part is
encoded again, with gradients, and goes backward from those of its vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from lsr.train.encoded import Encoded, Side, TokenBatch

Encode = Callable[[Side, TokenBatch], Encoded]


def split(batch: TokenBatch, size: int) -> list[TokenBatch]:
    """Return parts of at most `size` texts, in order, each padded to its own longest text."""
    parts = []
    for start in range(0, len(batch.input_ids), size):
        rows = slice(start, start + size)
        mask = batch.attention_mask[rows]
        longest = max(1, int(mask.any(0).nonzero().max()) + 1) if bool(mask.any()) else 1
        parts.append(TokenBatch(batch.input_ids[rows, :longest], mask[:, :longest]))
    return parts


def cached_backward(
    encode: Encode,
    queries: Sequence[TokenBatch],
    documents: Sequence[TokenBatch],
    loss_of: Callable[[Encoded, Encoded], Tensor],
    *,
    backward: Callable[[Tensor], None] = torch.Tensor.backward,
) -> Tensor:
    """Add to every parameter the gradient of the loss of all parts together; return the loss.

    `loss_of` gets the vectors of all queries and of all documents. `backward` goes backward from
    its loss; give the one of a gradient scaler here. Dropout is the same in both passes, so the
    outcome is that of one batch but for rounding. Memory: that of the largest part, and vectors
    and gradients of all texts, 8 bytes for each text and term.
    """
    sides: list[tuple[Side, Sequence[TokenBatch]]] = [("query", queries), ("document", documents)]
    states: dict[Side, list[list[Tensor]]] = {}
    whole: dict[Side, Encoded] = {}
    for side, parts in sides:
        found = []
        states[side] = []
        for part in parts:
            states[side].append(_random_states())
            with torch.no_grad():
                found.append(encode(side, part))
        whole[side] = _joined(found)
    loss = loss_of(whole["query"], whole["document"])
    backward(loss)
    for side, parts in sides:
        _again(encode, side, parts, states[side], whole[side])
    return loss.detach()


def _again(
    encode: Encode,
    side: Side,
    parts: Sequence[TokenBatch],
    states: Sequence[list[Tensor]],
    whole: Encoded,
) -> None:
    """Encode the parts of a side once more, and go backward from the gradients of its vectors."""
    start = 0
    for part, state in zip(parts, states, strict=True):
        rows = slice(start, start + len(part.input_ids))
        start = rows.stop
        with _random(state):
            encoded = encode(side, part)
        tensors, gradients = [], []
        pairs = [(encoded.vectors, whole.vectors)]
        if whole.base is not whole.vectors:
            pairs.append((encoded.base, whole.base))
        if encoded.reverse is not None and whole.reverse is not None:
            pairs.append((encoded.reverse, whole.reverse))
        for tensor, leaf in pairs:
            if tensor.requires_grad and leaf.grad is not None:
                tensors.append(tensor)
                gradients.append(leaf.grad[rows])
        if tensors:
            torch.autograd.backward(tensors, gradients)


def _joined(parts: Sequence[Encoded]) -> Encoded:
    vectors = torch.cat([part.vectors for part in parts]).requires_grad_()
    same = all(part.base is part.vectors for part in parts)
    base = vectors if same else torch.cat([part.base for part in parts]).requires_grad_()
    inputs = [part.inputs for part in parts if part.inputs is not None]
    reverse = [part.reverse for part in parts if part.reverse is not None]
    return Encoded(
        vectors,
        base,
        torch.cat(inputs) if inputs else None,
        torch.cat(reverse).requires_grad_() if reverse else None,
    )


def _random_states() -> list[Tensor]:
    states = [torch.get_rng_state()]
    if torch.cuda.is_available():
        states += torch.cuda.get_rng_state_all()
    return states


@contextmanager
def _random(states: list[Tensor]) -> Iterator[None]:
    """Draw as from `states` meanwhile, and go on afterwards as if nothing had been drawn."""
    with torch.random.fork_rng():
        torch.set_rng_state(states[0])
        if len(states) > 1:
            torch.cuda.set_rng_state_all(states[1:])
        yield
