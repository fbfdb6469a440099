"""Build: a whole corpus into an index, with progress, checkpoints and resumption."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from lsr.errors import ConfigError
from lsr.rejects import Rejects

from .block_build import BlockWriter
from .calibration import keep_calibrated
from .index import Index
from .ingest import Action
from .segment_writer import WINDOW_POSTINGS
from .source import Source
from .transaction import Transaction

#: What a process with the model loaded holds before it has read a document, in bytes.
_BASE_MEMORY = 600_000_000
#: Bytes held for each posting of the window being written: the rows, their inversion, copies.
_POSTING_MEMORY = 24
_LEAST_WINDOW_POSTINGS = 500_000


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """How a corpus goes into an index.

    `batch` records are read and encoded at a time, and a checkpoint is written every
    `checkpoint` records. `memory` bounds what the process holds, in bytes; None sets no bound
    below what one full window of 262,144 rows takes. The models of a sparse leg and the libraries
    count as 600 MB, that of a dense leg by its weights and batches while documents are
    written. Not counted is what the lists of a dense leg of 50,000 rows and more take when they are
    made: some `dim / 2` bytes for each row, beside a sample of 65,536 vectors or more.
    """

    action: Action = "add"
    batch: int = 4096
    checkpoint: int = 8192
    memory: int | None = None
    threads: int | None = None
    resume: bool = False
    restart: bool = False

    def window_postings(self, dense: int = 0) -> int:
        """Return how many postings a segment may hold in memory before it writes them.

        `dense` is what the model of a dense leg takes. It never stops a build: where the budget
        has no room for it, windows are as small as they can be, and `least_memory` is held.
        """
        if self.memory is None:
            return WINDOW_POSTINGS
        if (self.memory - _BASE_MEMORY) // _POSTING_MEMORY < _LEAST_WINDOW_POSTINGS:
            least = self.least_memory()
            raise ConfigError(
                f"a memory budget of {self.memory:,} bytes is too small; the model and the "
                f"libraries alone take about {_BASE_MEMORY:,}",
                hint=f"give at least --memory {-(-least // 10**6)}MB",
            )
        fits = (self.memory - _BASE_MEMORY - dense) // _POSTING_MEMORY
        return min(max(fits, _LEAST_WINDOW_POSTINGS), WINDOW_POSTINGS)

    @staticmethod
    def least_memory(dense: int = 0) -> int:
        """Return about what a build holds at least, in bytes."""
        return _BASE_MEMORY + dense + _LEAST_WINDOW_POSTINGS * _POSTING_MEMORY

    def free_memory(self) -> int | None:
        """Return the bytes that are left for searching the finished index; None for no bound.

        A dense model is not counted here: what is searched are mapped files, which give way to it.
        """
        return None if self.memory is None else max(0, self.memory - _BASE_MEMORY)


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """How far a build is: documents written, of them in this run, seconds, and its source.

    `share` is how much of the source `source` (counted from 0) has been read, None if unknown.
    `blocked` is the part of the work done on the blocks of a segment, which come last but for
    the calibration, of which `calibrated` is the part done.
    """

    documents: int
    this_run: int
    seconds: float
    source: int
    share: float | None
    blocked: float | None = None
    calibrated: float | None = None


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build did; `peak_memory` is the process's largest resident size in bytes.

    `calibrated` is false when the memory budget was too small for it; searches are then exact.
    """

    documents: int
    resumed_documents: int
    rejected: int
    seconds: float
    documents_per_second: float
    peak_memory: int
    generation: int
    calibrated: bool


@dataclass(frozen=True, slots=True)
class _Position:
    """Where a build stands: in which source, after how many of its records and documents."""

    source: int = 0
    read: int = 0
    documents: int = 0


def build(
    index: Index,
    sources: Sequence[Source],
    settings: BuildSettings,
    *,
    rejects: Rejects,
    progress: Callable[[BuildProgress], None] | None = None,
) -> BuildReport:
    """Put all that `sources` hold into `index` and commit it, as one; return a report.

    A build that is stopped by a bad record, an interrupt or a crash leaves the index as it was,
    and its finished part beside it: the same call with `resume` goes on from the last
    checkpoint, with `restart` begins again. Raises ConfigError when an unfinished build is there
    and neither is asked for.
    """
    started = time.perf_counter()
    dense = dense_memory(index, settings.threads)
    transaction = index.transaction()
    transaction.window_postings = settings.window_postings(dense)
    told = BuildProgress(0, 0, 0.0, 0, None)

    def note(now: BuildProgress) -> None:
        nonlocal told
        told = now
        if progress is not None:
            progress(now)

    def blocked(share: float) -> None:
        note(replace(told, seconds=time.perf_counter() - started, blocked=share))

    def calibrating(share: float) -> None:
        note(replace(told, seconds=time.perf_counter() - started, calibrated=share))

    transaction.block_writer = BlockWriter(
        threads=settings.threads, memory=settings.free_memory(), progress=blocked
    )
    try:
        begun = _begin(transaction, sources, settings)
        done = _write_all(index, transaction, sources, settings, begun, rejects, note, started)
        transaction.merge("all" if index.generation == 0 else "auto")
        calibrated = keep_calibrated(transaction, settings.free_memory(), calibrating)
    except BaseException:
        index.abandon()
        raise
    generation = index.commit()
    seconds = time.perf_counter() - started
    return BuildReport(
        documents=done.documents,
        resumed_documents=begun.documents,
        rejected=rejects.count,
        seconds=seconds,
        documents_per_second=(done.documents - begun.documents) / seconds,
        peak_memory=peak_memory(),
        generation=generation,
        calibrated=calibrated,
    )


def dense_memory(index: Index, threads: int | None = None) -> int:
    """Return about how many bytes the model of the dense leg takes in a build; 0 without one.

    Loads the model, and has it encode with so many threads unless its leg says how many.
    """
    leg = index.dense_leg()
    if leg is None:
        return 0
    if leg.threads is None:
        leg.threads = threads
    return leg.memory()


def peak_memory() -> int:
    """Return the largest resident size that this process has had, in bytes."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows has no such count
        return 0
    # Linux counts in kibibytes, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _write_all(
    index: Index,
    transaction: Transaction,
    sources: Sequence[Source],
    settings: BuildSettings,
    begun: _Position,
    rejects: Rejects,
    progress: Callable[[BuildProgress], None] | None,
    started: float,
) -> _Position:
    ingest = index.ingest(transaction, threads=settings.threads)
    documents = begun.documents
    encoded, unsaved = 0.0, 0

    def report(more: float) -> None:
        nonlocal encoded
        encoded += more
        if progress is not None:
            total = documents + int(encoded)
            seconds = time.perf_counter() - started
            share = sources[number].share_read()
            progress(BuildProgress(total, total - begun.documents, seconds, number, share))

    for number in range(begun.source, len(sources)):
        source = sources[number]
        skip = begun.read if number == begun.source else 0
        for batch in source.batches(skip=skip, size=settings.batch, rejects=rejects):
            written = ingest.write(
                batch.records,
                batch.vectors,
                action=settings.action,
                rejects=rejects,
                on_encoded=report,
            )
            documents, encoded = documents + written, 0.0
            report(0)
            unsaved += len(batch.records)
            if unsaved >= settings.checkpoint:
                at = _Position(number, batch.read, documents)
                transaction.seal(_state(sources, settings, at))
                unsaved = 0
    return _Position(len(sources), 0, documents)


def _state(sources: Sequence[Source], settings: BuildSettings, at: _Position) -> dict[str, Any]:
    return {
        "sources": [source.name for source in sources],
        "reading": [source.reading for source in sources],
        "action": settings.action,
        "position": asdict(at),
    }


def _begin(
    transaction: Transaction, sources: Sequence[Source], settings: BuildSettings
) -> _Position:
    """Return where to start, taking over or throwing away an unfinished build."""
    journal = transaction.journal
    if journal is None:
        return _Position()
    at = _Position(**journal["position"])
    if settings.restart:
        transaction.discard()
        return _Position()
    if not settings.resume:
        raise ConfigError(
            f"an unfinished build of {at.documents:,} documents is in this index",
            hint="add --resume to go on with it, or --restart to begin again",
        )
    names = [source.name for source in sources]
    if journal["sources"] != names or journal["action"] != settings.action:
        raise ConfigError(
            f"the unfinished build here was {journal['action']} of "
            f"{', '.join(journal['sources'])}; this is {settings.action} of {', '.join(names)}",
            hint="resume with the same sources, or add --restart to begin again",
        )
    for source, begun in zip(sources, journal.get("reading", ()), strict=False):
        if source.reading != begun:
            raise ConfigError(
                f"the unfinished build here read {source.name} with {begun or 'defaults'}; "
                f"this is with {source.reading or 'defaults'}",
                hint="give the same options to go on, or add --restart to begin again",
            )
    transaction.resume()
    return at
