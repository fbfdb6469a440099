"""Backward pass of the vocabulary head at several shares of active terms: gathered, dense, added.

    OMP_NUM_THREADS=1 python benchmarks/head_backward.py

Seconds of processor time for 32 texts of 128 tokens, width 128, 30,522 terms.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from lsr.train.head import gather_sums

TEXTS, LENGTH, WIDTH, TERMS, CHUNK = 32, 128, 128, 30_522, 2048


def main() -> None:
    torch.manual_seed(0)
    tokens = TEXTS * LENGTH
    hidden, weight = torch.randn(tokens, WIDTH), torch.randn(TERMS, WIDTH)
    print("| active | gathered | dense | index_add |\n|---:|---:|---:|---:|")
    for share in (0.006, 0.02, 0.1, 0.35, 0.5, 1.0):
        texts, terms = (torch.rand(TEXTS, TERMS) < share).nonzero(as_tuple=True)
        found = texts * LENGTH + torch.randint(LENGTH, (len(texts),))
        values = torch.randn(len(texts))

        def gathered(terms: Tensor = terms, found: Tensor = found, values: Tensor = values) -> None:
            gather_sums(weight, terms.int(), found.int(), values, tokens)
            gather_sums(hidden, found.int(), terms.int(), values, TERMS)

        def dense(terms: Tensor = terms, found: Tensor = found, values: Tensor = values) -> None:
            d_hidden, d_weight = torch.zeros_like(hidden), torch.empty_like(weight)
            for start in range(0, TERMS, CHUNK):
                part = slice(start, min(start + CHUNK, TERMS))
                own = (terms >= part.start) & (terms < part.stop)
                gradient = torch.zeros(tokens, part.stop - part.start)
                gradient[found[own], terms[own] - start] = values[own]
                d_hidden.addmm_(gradient, weight[part])
                torch.mm(gradient.T, hidden, out=d_weight[part])

        def added(terms: Tensor = terms, found: Tensor = found, values: Tensor = values) -> None:
            d_hidden, d_weight = torch.zeros_like(hidden), torch.zeros_like(weight)
            for start in range(0, len(values), 65_536):
                part = slice(start, start + 65_536)
                factors = values[part, None]
                d_hidden.index_add_(0, found[part], factors * weight[terms[part]])
                d_weight.index_add_(0, terms[part], factors * hidden[found[part]])

        cells = [f"{seconds(run):.3f} s" for run in (gathered, dense, added)]
        print(f"| {share:.1%} | {' | '.join(cells)} |")


def seconds(run: Callable[[], None]) -> float:
    run()
    times = []
    for _ in range(3):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return sorted(times)[1]


if __name__ == "__main__":
    main()
