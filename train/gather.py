"""Vectors of all processes together, so that losses see the batch of every device."""

from __future__ import annotations

import torch
from torch import Tensor, distributed

from .encoded import Encoded
from .objective import Candidates


def gather(
    queries: Encoded, documents: Encoded, candidates: Candidates
) -> tuple[Encoded, Encoded, Candidates]:
    """Return vectors and candidates of all processes, in order of rank.

    Gradients flow into the process's own part only; the others have theirs. Every process must
    have the same number of queries.
    """
    n = len(queries.vectors)
    duplicates = candidates.duplicates
    if duplicates is not None:
        own = torch.zeros(
            n, distributed.get_world_size() * duplicates.shape[1], dtype=torch.bool
        ).to(duplicates.device)
        start = distributed.get_rank() * duplicates.shape[1]
        own[:, start : start + duplicates.shape[1]] = duplicates
        duplicates = _rows(own.to(torch.uint8)).bool()
    teacher = candidates.teacher
    if teacher is not None:
        teacher = _rows(teacher.transpose(0, 1).contiguous()).transpose(0, 1)
    return (
        _encoded(queries),
        _encoded(documents),
        candidates._replace(teacher=teacher, duplicates=duplicates),
    )


def _encoded(encoded: Encoded) -> Encoded:
    vectors = _rows(encoded.vectors)
    base = vectors if encoded.base is encoded.vectors else _rows(encoded.base)
    inputs = None if encoded.inputs is None else _rows(encoded.inputs.to(torch.uint8)).bool()
    reverse = None if encoded.reverse is None else _rows(encoded.reverse)
    return Encoded(vectors, base, inputs, reverse)


def _rows(own: Tensor) -> Tensor:
    parts = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, own.contiguous())
    parts[distributed.get_rank()] = own
    return torch.cat(parts)
