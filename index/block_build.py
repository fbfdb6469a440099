"""Making blocks of a segment's rows, by many threads, in bounded memory, always the same."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from threading import local
from typing import Any

import numpy as np
import numpy.typing as npt

from .blocks import BLOCK_ARRAYS, Blocks, BlockSettings
from .windows import frozen

#: The rows as CSR: `indptr` int64 (n_rows+1,), `terms` uint16|uint32, `weights` float32.
Forward = tuple[npt.NDArray[np.int64], npt.NDArray[Any], npt.NDArray[np.float32]]

#: Postings that are held in memory at a time while blocks are made, at 8 bytes each.
HELD_POSTINGS = 64_000_000

#: Bytes that a posting takes while it is held, and its share of what the threads hold.
_POSTING_MEMORY = 16
#: Heaviest terms by which a row is assigned to a cluster.
_HEAVY = 15
#: What one task blocks: about so many postings and lists.
_TASK_POSTINGS, _TASK_LISTS = 20_000, 2_000
#: Rows that are counted between two reports of progress.
_CHUNK = 1 << 18
#: Part of the work that is done when the lists are counted.
_COUNTED = 0.1


def make_blocks(
    forward: Forward,
    vocab_size: int,
    settings: BlockSettings,
    *,
    threads: int | None = None,
    held: int = HELD_POSTINGS,
    progress: Callable[[float], None] | None = None,
) -> Iterator[Blocks]:
    """Yield the blocks of runs of consecutive lists, in order; each counts from 0.

    The same for every number of `threads` (one for each core when None). Reads the forward
    index a few times from start to end, and at random; holds 8 bytes for each of at most `held`
    postings (or of the longest list), 4 for each row and some 50 MB a thread. `progress` is
    told the part that is done.
    """
    from . import pruning  # kernels take a while to load, and these are seldom needed

    say = progress or (lambda share: None)
    indptr, terms, weights = (frozen(array) for array in forward)
    bits = frozen(weights.view(np.uint32))
    n_rows, cap = len(indptr) - 1, settings.cap(len(indptr) - 1)
    lengths, largest = np.zeros(vocab_size, np.int64), np.zeros(vocab_size, np.uint32)
    floors, heavy = np.zeros(n_rows, np.uint32), np.empty(_HEAVY, np.uint32)
    rows = (indptr, terms, bits)
    for start, stop in _chunks(n_rows):
        pruning.measure_rows(*rows, start, stop, lengths, largest, floors, heavy)
        say(_COUNTED * stop / n_rows / 2)
    least = _least(terms, bits, lengths, largest, cap)
    kept = np.zeros(vocab_size, np.int64)
    for start, stop in _chunks(n_rows):
        pruning.count_kept(*rows, start, stop, least, kept)
        say(_COUNTED * (1 + stop / n_rows) / 2)
    total, done = max(1, int(kept.sum())), 0
    workers = _Workers(
        (indptr, terms, weights, frozen(floors).view(np.float32), _HEAVY),
        frozen(largest).view(np.float32),
        settings,
        cap,
    )
    with ThreadPoolExecutor(threads or os.cpu_count() or 1, "lsr-blocks") as pool:
        for first, last in _runs(kept, held, vocab_size):
            lists = np.zeros(last - first + 1, np.int64)
            np.cumsum(kept[first:last], out=lists[1:])
            ends = np.zeros(vocab_size, np.int64)
            ends[first:last] = lists[:-1]
            listed = np.empty(lists[-1], np.uint32), np.empty(lists[-1], np.uint32)
            for start, stop in _chunks(n_rows):
                pruning.collect_kept(*rows, start, stop, least, first, last, ends, *listed)
            tasks = list(_runs(kept[first:last], _TASK_POSTINGS, _TASK_LISTS))
            for (low, high), found in zip(
                tasks, _in_order(pool, workers, first, lists, listed, tasks), strict=True
            ):
                yield found
                done += int(lists[high] - lists[low])
                say(_COUNTED + (1 - _COUNTED) * done / total)


@dataclass(frozen=True, slots=True)
class BlockWriter:
    """Makes the blocks of segments as they are closed: how, and with what."""

    settings: BlockSettings = field(default_factory=BlockSettings)
    threads: int | None = None
    memory: int | None = None
    progress: Callable[[float], None] | None = None

    def write(
        self, forward: Forward, vocab_size: int, put: Callable[[str, npt.NDArray[Any]], None]
    ) -> bool:
        """Write the blocks of rows, array by array, by name; return false if they get none."""
        if len(forward[0]) - 1 < self.settings.small:
            return False
        held = HELD_POSTINGS if self.memory is None else max(1, self.memory // _POSTING_MEMORY)
        counts = Counts()
        for name in BLOCK_ARRAYS:
            bound = name.partition(".")[2] in _BOUNDS
            put(name, np.zeros(1 if bound else 0, np.int64))
        made = make_blocks(
            forward,
            vocab_size,
            self.settings,
            threads=self.threads,
            held=min(held, HELD_POSTINGS),
            progress=self.progress,
        )
        for part in made:
            for name, array in zip(BLOCK_ARRAYS, counts.shift(part), strict=True):
                put(name, array)
        return True


def gathered(parts: Sequence[Blocks]) -> Blocks:
    """Return all the runs that `make_blocks` yields as one, in memory; there is at least one."""
    counts = Counts()
    runs = [counts.shift(part) for part in parts]
    joined = (np.concatenate(arrays) for arrays in zip(*runs, strict=True))
    zero = np.zeros(1, np.int64)
    return Blocks(
        *(
            np.concatenate([zero, array]) if name in _BOUNDS else array
            for name, array in zip(Blocks._fields, joined, strict=True)
        )
    )


#: The arrays that begin with a 0 and then tell ends.
_BOUNDS = frozenset(["lists", "parts", "starts", "terms_of", "entries_of"])


class Counts:
    """Where the next run of blocks begins, so that runs can be written one after another."""

    def __init__(self) -> None:
        self._at = dict.fromkeys(_BOUNDS, 0)

    def shift(self, part: Blocks) -> list[npt.NDArray[Any]]:
        """Return a run's arrays in the order of `Blocks`, counted on from those before."""
        shifted: list[npt.NDArray[Any]] = []
        for name, array in part._asdict().items():
            if name not in _BOUNDS:
                shifted.append(array)
                continue
            shifted.append(array + self._at[name])
            self._at[name] = int(shifted[-1][-1]) if len(array) else self._at[name]
        return shifted


class _Workers:
    """Blocks tasks of lists, in any thread; each thread keeps its arrays."""

    def __init__(
        self,
        rows: tuple[Any, ...],
        largest: npt.NDArray[np.float32],
        settings: BlockSettings,
        cap: int,
    ) -> None:
        self._rows = rows
        self._largest = largest
        self._how = cap, settings.rows, settings.energy, settings.seed
        self._local = local()

    def __call__(
        self,
        first_term: int,
        bounds: npt.NDArray[np.int64],
        kept_rows: npt.NDArray[np.uint32],
        kept_bits: npt.NDArray[np.uint32],
    ) -> Blocks:
        from . import blocking

        indptr, terms, *_ = self._rows
        n_lists, size = len(bounds) - 1, len(kept_rows)
        room = int((indptr[kept_rows.astype(np.int64) + 1] - indptr[kept_rows]).sum())
        # Every block has a row, and every part a block.
        counts, part_terms, part_entries = (np.empty(size, np.int64) for _ in range(3))
        lists, blocks = np.empty(n_lists, np.int64), np.empty(size, np.int64)
        scales, rows = np.empty(size, np.float32), np.empty(size, np.uint32)
        found_terms, ends = np.empty(room, terms.dtype), np.empty(room, np.uint16)
        entries, written = np.empty(room, np.uint16), np.zeros(5, np.int64)
        kernel: Any = blocking.block_lists
        kernel(
            *self._rows,
            first_term,
            bounds,
            kept_rows,
            kept_bits,
            *self._how,
            *self._scratch(),
            lists,
            counts,
            part_terms,
            part_entries,
            blocks,
            scales,
            rows,
            found_terms,
            ends,
            entries,
            written,
        )
        n_parts, n_blocks, n_rows, n_terms, n_entries = written.tolist()
        return Blocks(
            lists,
            self._largest[first_term : first_term + n_lists],
            counts[:n_parts].copy(),
            blocks[:n_blocks].copy(),
            scales[:n_blocks].copy(),
            rows[:n_rows].copy(),
            part_terms[:n_parts].copy(),
            part_entries[:n_parts].copy(),
            found_terms[:n_terms].copy(),
            ends[:n_terms].copy(),
            entries[:n_entries].copy(),
        )

    def _scratch(self) -> tuple[Any, ...]:
        found: tuple[Any, ...] | None = getattr(self._local, "arrays", None)
        if found is None:
            size = len(self._largest)
            kinds = np.int32, np.int32, np.float64
            found = self._local.arrays = tuple(np.zeros(size, kind) for kind in kinds)
        return found


def _in_order(
    pool: ThreadPoolExecutor,
    workers: _Workers,
    first: int,
    lists: npt.NDArray[np.int64],
    listed: tuple[Any, Any],
    tasks: Sequence[tuple[int, int]],
) -> Iterator[Blocks]:
    """Yield what the tasks make, in order; only a few are ahead of what was taken."""
    waiting: list[Future[Blocks]] = []
    try:
        for low, high in tasks:
            bounds = lists[low : high + 1] - lists[low]
            span = slice(int(lists[low]), int(lists[high]))
            parts = (array[span] for array in listed)
            waiting.append(pool.submit(workers, first + low, bounds, *parts))
            if len(waiting) > 4 * pool._max_workers:
                yield waiting.pop(0).result()
        while waiting:
            yield waiting.pop(0).result()
    finally:
        for task in waiting:
            task.cancel()


def _least(
    terms: npt.NDArray[Any],
    bits: npt.NDArray[np.uint32],
    lengths: npt.NDArray[np.int64],
    largest: npt.NDArray[np.uint32],
    cap: int,
) -> npt.NDArray[np.uint32]:
    """Return for each term a weight, in bits, that at least `cap` postings reach, or few more."""
    from . import pruning

    long = np.flatnonzero(lengths > cap)
    slots = np.full(len(lengths), -1, np.int32)
    slots[long] = np.arange(len(long))
    histograms = np.zeros((len(long), pruning.BUCKETS), np.int64)
    pruning.count_weights(terms, bits, slots, largest, histograms)
    least = np.zeros(len(lengths), np.uint32)
    if len(long):
        bucket = (np.cumsum(histograms, axis=1) >= cap).argmax(axis=1)
        top = (largest[long] >> pruning.BUCKET_SHIFT).astype(np.int64)
        floor = np.maximum(top - bucket, 0) << pruning.BUCKET_SHIFT
        least[long] = np.where(bucket == pruning.BUCKETS - 1, 0, floor)
    return least


def _chunks(n_rows: int) -> Iterator[tuple[int, int]]:
    return pairwise([*range(0, n_rows, _CHUNK), n_rows])


def _runs(kept: npt.NDArray[np.int64], postings: int, most: int) -> Iterator[tuple[int, int]]:
    """Yield runs of lists with at most so many postings together, and at most `most` lists."""
    ends = np.cumsum(kept)
    first = 0
    while first < len(kept):
        before = int(ends[first - 1]) if first else 0
        last = int(np.searchsorted(ends, before + postings, side="right"))
        last = min(max(last, first + 1), first + most, len(kept))
        yield first, last
        first = last
