"""Sampling: which examples make a batch, and which of their documents come along."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lsr.errors import DataError

from .settings_run import DataSettings

if TYPE_CHECKING:
    from .prepared import Prepared

Numbers = npt.NDArray[np.int64]

#: Examples that wait for a batch they fit into, before they are left out of the epoch.
_WAITING = 4096


class BatchPlan:
    """The batches of every epoch, the same for the same seed.

    No batch holds the same query twice, or two queries with a relevant document in common: the
    one's relevant document would be the other's negative. Examples of similar length meet,
    within stretches of `bucket_batches` batches, so that little is padded. What is left at the
    end of an epoch and fills no batch is left out, unless there is no full batch at all.
    """

    def __init__(
        self, prepared: Prepared, settings: DataSettings, batch_size: int, seed: int
    ) -> None:
        if not len(prepared):
            raise DataError("there are no examples to learn from")
        self._data = prepared
        self._settings = settings
        self._size = batch_size
        self._seed = seed
        self._known: tuple[int, list[Numbers]] = (-1, [])

    def epoch(self, number: int) -> list[Numbers]:
        """Return the batches of an epoch, each the numbers of its examples."""
        if self._known[0] != number:
            generator = np.random.default_rng((self._seed, number))
            order = self._order(generator)
            batches = list(self._batches(order, generator))
            self._known = (number, batches)
        return self._known[1]

    def batches(self, start: int = 0) -> Iterator[tuple[int, int, Numbers]]:
        """Yield (epoch, place in the epoch, batch) for ever, from batch `start` of the run on."""
        epoch = 0
        while True:
            found = self.epoch(epoch)
            for at, batch in enumerate(found[start:], start):
                yield epoch, at, batch
            start = max(0, start - len(found))
            epoch += 1

    def _order(self, generator: np.random.Generator) -> Numbers:
        """Return the examples of an epoch in random order, as often as their source's weight."""
        chosen = []
        for number, source in enumerate(self._settings.sources):
            mine = np.flatnonzero(self._data.source == number)
            whole, part = divmod(source.weight, 1.0)
            extra = generator.choice(mine, round(part * len(mine)), replace=False)
            chosen.append(np.concatenate([*[mine] * int(whole), extra]))
        every = np.concatenate(chosen) if chosen else np.arange(len(self._data))
        return generator.permutation(every).astype(np.int64)

    def _batches(self, order: Numbers, generator: np.random.Generator) -> Iterator[Numbers]:
        if self._settings.batch_by == "source":
            of = self._data.source[order]
            parts = [order[of == number] for number in range(len(self._settings.sources))]
            found = [batch for part in parts for batch in self._cut(part, generator)]
            places = generator.permutation(len(found))
            yield from (found[at] for at in places)
        else:
            yield from self._cut(order, generator)

    def _cut(self, order: Numbers, generator: np.random.Generator) -> Iterator[Numbers]:
        stretch = self._size * self._settings.bucket_batches
        waiting: list[int] = []
        made = 0
        for start in range(0, len(order), stretch):
            numbers = order[start : start + stretch]
            by_length = numbers[np.argsort(self._data.lengths[numbers], kind="stable")]
            found, waiting = self._compose([*waiting, *by_length.tolist()])
            for at in generator.permutation(len(found)):
                yield found[at]
            made += len(found)
            waiting = waiting[:_WAITING]
        if waiting and not made:
            yield np.array(self._distinct(waiting), np.int64)

    def _compose(self, numbers: list[int]) -> tuple[list[Numbers], list[int]]:
        """Return full batches of examples that go together, and the examples that are left.

        What does not go into a batch is the first to be tried for the next one.
        """
        found: list[Numbers] = []
        held: list[int] = []
        rest = iter(numbers)
        while True:
            batch: list[int] = []
            taken: set[int] = set()
            passed: list[int] = []
            tried = 0
            for number in chain(held, rest):
                tried += 1
                marks = self._marks(number)
                if taken & marks:
                    passed.append(number)
                    continue
                batch.append(number)
                taken |= marks
                if len(batch) == self._size:
                    break
            if len(batch) < self._size:
                return found, batch + passed
            held = passed + held[tried:]
            found.append(np.array(batch, np.int64))

    def _distinct(self, numbers: list[int]) -> list[int]:
        kept: list[int] = []
        taken: set[int] = set()
        for number in numbers:
            marks = self._marks(number)
            if not taken & marks:
                kept.append(number)
                taken |= marks
        return kept

    def _marks(self, number: int) -> set[int]:
        """Return what no other example of a batch may share: the query, and what answers it."""
        data = self._data
        start = int(data.indptr[number])
        relevant = data.documents[start : start + int(data.n_positives[number])]
        return {-1 - int(data.query_hash[number]), *relevant.tolist()}


def choose_candidates(
    prepared: Prepared, example: int, group: int, *, seed: int, epoch: int
) -> Numbers:
    """Return the places of `group` candidates of an example: a relevant one, then negatives.

    Chosen anew in each epoch, the same for the same seed. Places count within the candidates of
    all examples, as `Prepared.documents` does.
    """
    start, stop = int(prepared.indptr[example]), int(prepared.indptr[example + 1])
    positives = int(prepared.n_positives[example])
    generator = np.random.default_rng((seed, epoch, example))
    first = start + int(generator.integers(positives))
    negatives = generator.choice(stop - start - positives, group - 1, replace=False)
    found: Numbers = np.concatenate([[first], start + positives + np.sort(negatives)])
    return found.astype(np.int64)
