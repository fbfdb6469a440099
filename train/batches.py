"""Batches: texts as tensors, with what teachers say of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .sampling import BatchPlan, Numbers, choose_candidates

if TYPE_CHECKING:
    from .model import SparseModel
    from .prepared import Prepared


class Batches:
    """The batches of a run from batch `start` on, made when they are asked for.

    Each is a dict: `queries` and `documents` (TokenBatch; documents query by query, `group` of
    each), `teacher` float32 (teachers, queries, group) or None, `duplicates` bool (queries,
    documents), `examples` (their numbers) and `epoch`. With several processes each takes its own
    share of every batch.
    """

    def __init__(
        self,
        prepared: Prepared,
        plan: BatchPlan,
        model: SparseModel,
        scores: npt.NDArray[np.float32] | None,
        *,
        group: int,
        seed: int,
        start: int = 0,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self.data = prepared
        self.plan = plan
        self.start = start
        self._model = model
        self._scores = scores if scores is not None and len(scores) else None
        self._group = group
        self._seed = seed
        self._share = share

    def __iter__(self) -> Iterator[dict[str, Any]]:
        rank, world = self._share
        for epoch, _, examples in self.plan.batches(self.start):
            yield self.make(examples[rank::world], epoch)

    def make(self, examples: Numbers, epoch: int) -> dict[str, Any]:
        """Return the batch of these examples, with the candidates that the epoch has for them."""
        import torch

        data, group = self.data, self._group
        places = np.concatenate([
            choose_candidates(data, int(one), group, seed=self._seed, epoch=epoch)
            for one in examples
        ])  # fmt: skip
        numbers = data.documents[places]
        teacher = None
        if self._scores is not None:
            teacher = torch.from_numpy(self._scores[:, places].reshape(-1, len(examples), group))
        return {
            "queries": self._model.collate("query", [data.query(int(one)) for one in examples]),
            "documents": self._model.collate(
                "document", [data.document(int(number)) for number in numbers]
            ),
            "teacher": teacher,
            "duplicates": torch.from_numpy(self._duplicates(examples, numbers)),
            "examples": examples,
            "epoch": epoch,
        }

    def _duplicates(
        self, examples: Numbers, numbers: npt.NDArray[np.int32]
    ) -> npt.NDArray[np.bool_]:
        """Return, for each query, which documents of the batch are among its relevant ones."""
        data = self.data
        found = np.zeros((len(examples), len(numbers)), bool)
        for at, example in enumerate(examples):
            start = int(data.indptr[example])
            relevant = data.documents[start : start + int(data.n_positives[example])]
            found[at] = np.isin(numbers, relevant)
        return found
