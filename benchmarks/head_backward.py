"""Backward pass of the vocabulary head at several lengths and shares of active terms.

    OMP_NUM_THREADS=1 python benchmarks/head_backward.py

Seconds of processor time for 32 texts, 30,522 terms: gathered (`gather_sums`), multiplied
(`multiply_sums`), and by index_add, which neither path uses. A star marks what training takes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor

from lsr.train.head import DENSE, gather_sums, multiply_sums

TEXTS, TERMS = 32, 30_522


def main() -> None:
    print("| width | tokens a text | active | gathered | multiplied | index_add |")
    print("|---:|---:|---:|---:|---:|---:|")
    for width, length, share in product((128, 768), (2, 8, 32, 128), (0.006, 0.1, 0.35, 1.0)):
        cells = [f"{run:.3f} s" for run in times(width, length, share)]
        cells[share >= DENSE * length] += " *"
        print(f"| {width} | {length} | {share:.1%} | {' | '.join(cells)} |", flush=True)


def times(width: int, length: int, share: float) -> list[float]:
    torch.manual_seed(0)
    tokens = TEXTS * length
    hidden, weight = torch.randn(tokens, width), torch.randn(TERMS, width)
    texts, terms = (torch.rand(TEXTS, TERMS) < share).nonzero(as_tuple=True)
    found = (texts * length + torch.randint(length, (len(texts),))).int()
    values = torch.randn(len(texts))
    flat = texts * TERMS + terms

    def gathered() -> tuple[Tensor, Tensor]:
        short = terms.int()
        return (
            gather_sums(weight, short, found, values, tokens),
            gather_sums(hidden, found, short, values, TERMS),
        )

    def multiplied() -> tuple[Tensor, Tensor]:
        return multiply_sums(hidden, weight, values, flat, found, texts=TEXTS)

    def added() -> tuple[Tensor, Tensor]:
        d_hidden, d_weight = torch.zeros_like(hidden), torch.zeros_like(weight)
        for start in range(0, len(values), 65_536):
            part = slice(start, start + 65_536)
            factors = values[part, None]
            d_hidden.index_add_(0, found[part], factors * weight[terms[part]])
            d_weight.index_add_(0, terms[part], factors * hidden[found[part]])
        return d_hidden, d_weight

    return [seconds(run) for run in (gathered, multiplied, added)]


def seconds(run: Callable[[], object]) -> float:
    run()
    taken = []
    for _ in range(3):
        start = time.process_time()
        run()
        taken.append(time.process_time() - start)
    return sorted(taken)[1]


if __name__ == "__main__":
    main()
