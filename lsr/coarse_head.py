"""The vocabulary head with an int8 pass that proves most terms inactive before float32 runs.

A term is active in a text when its largest logit over the tokens, max_i h_i . e + b, is above
zero; in a trained model a few hundred of tens of thousands are. With h = mean + c * x and
e' = c * e (c a fixed scale for each channel) the logit is x . e' + (b + mean . e). Rounding x and
e' to multiples of one step each gives X and E in int8, whose products are exact in int32, and by
Cauchy-Schwarz

    |x . e' - X . E|  <=  |x| |e' - E| + |x - X| |E|.

A term whose coarse maximum stays below zero by more than this bound cannot be active. The others
are computed again in float32, so the outcome is that of float32 alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lsr.head import Row, activate
from lsr.model_folder import Activation

if TYPE_CHECKING:
    from torch import Tensor

#: Tokens and terms in one int8 product: few enough for its outcome to stay in a core's cache,
#: enough to keep the multiplier busy.
_TOKENS = 512
_CHUNK = 1536
#: Terms that are computed again at once.
_AGAIN = 8192
_LEVELS = 127


class CoarseHead:
    """Max pooling of the logits by an int8 pass and float32 for the terms that survive it.

    `decoder` (vocab, hidden), `bias` (vocab,), `probe` (tokens, hidden): hidden states from
    which the scale of each channel is taken. The probe changes the speed, never the outcome.
    """

    def __init__(
        self, decoder: Tensor, bias: Tensor, probe: Tensor, activation: Activation
    ) -> None:
        import torch

        self.decoder, self.bias = decoder, bias
        self.activation: Activation = activation
        with torch.inference_mode():
            self._mean = probe.mean(0)
            self._scale = probe.std(0).clamp_min(1e-3).sqrt()
            self._quantise()

    def _quantise(self) -> None:
        import torch

        size, width = self.decoder.shape
        self._levels = torch.empty(size, width, dtype=torch.int8)
        self._step, self._lost, self._kept = (torch.empty(size) for _ in range(3))
        for start in range(0, size, _AGAIN):
            part = slice(start, start + _AGAIN)
            scaled = self.decoder[part] * self._scale
            step = scaled.abs().amax(1, keepdim=True).clamp_min(1e-12) / _LEVELS
            levels = torch.round(scaled / step).clamp_(-_LEVELS, _LEVELS)
            self._levels[part] = levels.to(torch.int8)
            self._step[part] = step[:, 0]
            self._kept[part] = (levels * step).norm(dim=1)
            # What float32 itself may round off is counted as lost as well.
            self._lost[part] = (scaled - levels * step).norm(dim=1)
            self._lost[part] += scaled.norm(dim=1) * (width * 2.0**-22)
        self._offset = self.bias + self.decoder @ self._mean

    def __call__(self, hidden: Tensor, lengths: Sequence[int]) -> list[Row]:
        """Return a row for each text of a batch laid end to end."""
        import torch

        texts = torch.split(hidden, list(lengths))
        rows: list[Row] = []
        start = 0
        for stop in _blocks(lengths):
            alive = self._survivors(torch.cat(texts[start:stop]), lengths[start:stop])
            for text, terms in zip(texts[start:stop], alive, strict=True):
                rows.append(self._exact(text, torch.nonzero(terms)[:, 0]))
            start = stop
        return rows

    def _survivors(self, hidden: Tensor, lengths: Sequence[int]) -> Tensor:
        """Return (texts, vocab) bool, false only where the term is certainly inactive."""
        import torch

        scaled = (hidden - self._mean) / self._scale
        step = scaled.abs().max().clamp_min(1e-12) / _LEVELS
        levels = torch.round(scaled / step)
        longest = float(scaled.norm(dim=1).max())
        lost = float((scaled - levels * step).norm(dim=1).max())
        bound = self._lost * (longest * (1 + 1e-5)) + self._kept * (lost * (1 + 1e-5)) + 1e-4
        limit = -(self._offset + bound) / (self._step * step)
        limit = limit.floor_().clamp_(-(2.0**30), 2.0**30).to(torch.int32)

        texts = levels.clamp_(-_LEVELS, _LEVELS).to(torch.int8)
        alive = torch.empty(len(lengths), len(limit), dtype=torch.bool)
        best = torch.empty(len(lengths), _CHUNK, dtype=torch.int32)
        room = torch.empty(len(texts) * _CHUNK, dtype=torch.int32)
        for start in range(0, len(limit), _CHUNK):
            part = self._levels[start : start + _CHUNK]
            products = room[: len(texts) * len(part)].view(len(texts), len(part))
            torch._int_mm(texts, part.t(), out=products)
            largest = best[:, : len(part)]
            _largest_of_each(products, lengths, largest)
            torch.gt(largest, limit[start : start + _CHUNK], out=alive[:, start : start + _CHUNK])
        return alive

    def _exact(self, text: Tensor, terms: Tensor) -> Row:
        import torch

        pooled = torch.empty(len(terms))
        for start in range(0, len(terms), _AGAIN):
            part = terms[start : start + _AGAIN]
            logits = self.decoder.index_select(0, part) @ text.t()
            pooled[start : start + _AGAIN] = logits.amax(1) + self.bias[part]
        active = pooled > 0
        return Row(terms[active].numpy(), activate(pooled[active].numpy(), self.activation))


def _blocks(lengths: Sequence[int]) -> Iterator[int]:
    """Yield the ends of stretches of texts that have at most `_TOKENS` tokens, or one text."""
    tokens = 0
    for at, length in enumerate(lengths):
        if tokens and tokens + length > _TOKENS:
            yield at
            tokens = 0
        tokens += length
    if lengths:
        yield len(lengths)


def _largest_of_each(products: Tensor, lengths: Sequence[int], largest: Tensor) -> None:
    import torch

    if len(set(lengths)) == 1:
        torch.amax(products.view(len(lengths), lengths[0], -1), 1, out=largest)
        return
    # For few rows at a time numpy's loop is a quarter faster than torch's.
    whole, out, start = products.numpy(), largest.numpy(), 0
    for row, length in enumerate(lengths):
        np.maximum.reduce(whole[start : start + length], axis=0, out=out[row])
        start += length


def int8_pays(width: int) -> bool:
    """Return whether this machine multiplies int8 exactly, and faster than float32.

    Some processors saturate the sums of int8 products; there the bound would not hold. One with
    VNNI instructions is known to be fast, so that the choice does not hang on a busy moment.
    """
    import torch

    if not hasattr(torch, "_int_mm"):
        return False
    try:
        return _is_exact(width) and (_has_vnni() or _is_faster(width))
    except (RuntimeError, NotImplementedError):
        return False


def _is_exact(width: int) -> bool:
    import torch

    extreme = torch.full((64, width), _LEVELS, dtype=torch.int8)
    whole = width * _LEVELS**2
    for left, right in ((1, 1), (1, -1), (-1, -1)):
        products = torch._int_mm(extreme * left, (extreme * right).t())
        if not bool((products == left * right * whole).all()):
            return False
    odd = torch._int_mm(extreme[:7], extreme[:13].t())
    return odd.shape == (7, 13) and bool((odd == whole).all())


def _has_vnni() -> bool:
    import torch

    ask = getattr(torch.cpu, "_is_vnni_supported", None)
    return ask is not None and bool(ask())


def _is_faster(width: int) -> bool:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as when encoding
    try:
        tokens = torch.ones(_TOKENS, width, dtype=torch.int8)
        terms = torch.ones(_CHUNK, width, dtype=torch.int8)
        wide, tall = tokens.float(), terms.float()
        fast = _seconds(lambda: torch._int_mm(tokens, terms.t()))
        slow = _seconds(lambda: torch.mm(wide, tall.t()))
    finally:
        torch.set_num_threads(before)
    return fast < slow


def _seconds(work: Callable[[], object]) -> float:
    work()
    best = float("inf")
    for _ in range(5):
        # The time of this thread alone: others may keep the cores busy.
        start = time.thread_time()
        work()
        best = min(best, time.thread_time() - start)
    return best
