"""Writer: the one process that commits what the queues of the indexes hold."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from filelock import FileLock

from lsr.config import ServeSettings
from lsr.errors import ConfigError, DataError, LsrError
from lsr.index.index import Index
from lsr.index.merge import Size, plan
from lsr.index.transaction import Transaction
from lsr.rejects import Rejects
from lsr.sparse import SparseVectors
from lsr.types import Record

from .documents import Row, read_id, read_row
from .queue import SETTING, Outcome, Queue, Write

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.02
_RETRY_SECONDS = 1.0
_SWEEP_SECONDS = 60.0
#: A commit takes this many lines at most, so that nobody waits for a huge one.
_MOST_LINES = 20_000

#: Told what happened: "commit" or "merge", the name of the index, seconds, documents.
Tell = Callable[[str, str, float, int], None]


@dataclass(slots=True)
class _Taken:
    """A request as it is carried out: the status of each line is filled in."""

    write: Write
    items: list[tuple[int, str, str, str | None]]


class Writer:
    """Commits the queue of one index, and merges its segments in between.

    `run` goes on until `stop` is set, then commits what waits. It holds the index's own lock only
    while it commits, so other programs can write in between.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        settings: ServeSettings,
        *,
        verify: bool = True,
        model: str | None = None,
        dense: str | None = None,
        tell: Tell | None = None,
    ) -> None:
        self.name = name
        self._settings = settings
        self._index = Index.open(path, encoder=model, dense=dense, verify=verify)
        self._queue = Queue(path, most_bytes=settings.max_queue)
        self._tell = tell or (lambda what, name, seconds, documents: None)
        self._swept = 0.0

    def run(self, stop: threading.Event) -> None:
        """Commit what comes until `stop` is set, and what waits by then."""
        lock = self._take_over(stop)
        if lock is None:
            return
        try:
            self._settle()
            while not stop.is_set():
                if not self._turn(stop):
                    stop.wait(_LOOK_SECONDS)
            self._commit(self._queue.waiting())
        except LsrError as error:
            log.error("%s: %s", self.name, error.message)
        finally:
            self._index.close()
            lock.release()

    def commit_now(self) -> int:
        """Commit everything that waits; return the generation. For tests and tools."""
        self._settle()
        while waiting := self._queue.waiting():
            self._commit(waiting)
        return self._index.generation

    def _take_over(self, stop: threading.Event) -> FileLock | None:
        told = False
        while not stop.is_set():
            try:
                return self._queue.take_over()
            except LsrError as error:
                if not told:
                    log.warning("%s; waiting for it to end", error.message)
                    told = True
                stop.wait(_RETRY_SECONDS)
        return None

    def _settle(self) -> None:
        """Remove what a commit has already: a crash may have come in between."""
        self._index.refresh()
        applied = self._index.snapshot.manifest.settings.get(SETTING, 0)
        if applied:
            self._queue.applied(int(applied))

    def _turn(self, stop: threading.Event) -> bool:
        """Do what is due; return whether there was something."""
        if time.monotonic() - self._swept > _SWEEP_SECONDS:
            self._queue.sweep()
            self._swept = time.monotonic()
        waiting = self._queue.waiting()
        if not waiting:
            return False
        try:
            self._gather(waiting, stop)
            self._commit(self._queue.waiting())
            self._merge()
        except LsrError as error:
            # Locked by another writer, or a full disk: nothing is lost, it is tried again.
            log.error("%s: cannot commit: %s (tried again)", self.name, error.message)
            stop.wait(_RETRY_SECONDS)
        return True

    def _gather(self, waiting: Sequence[int], stop: threading.Event) -> None:
        """Wait for more to come, as long as the first may wait for its commit."""
        due = time.monotonic() + self._settings.commit_ms / 1e3
        looked = 0
        while time.monotonic() < due and not stop.is_set():
            new = [number for number in waiting if number > looked]
            writes = [self._queue.read(number) for number in new]
            if any(write is not None and write.now for write in writes):
                return
            looked = max(waiting, default=looked)
            stop.wait(_LOOK_SECONDS)
            waiting = self._queue.waiting()

    def _commit(self, numbers: Sequence[int]) -> None:
        """Commit requests, in order, as one; a request that cannot go in is set aside."""
        writes: list[Write] = []
        lines = 0
        for number in numbers:
            write = self._queue.read(number)
            if write is not None:
                writes.append(write)
                lines += len(write.lines)
            if lines >= _MOST_LINES:
                break
        if not writes:
            return
        started = time.monotonic()
        try:
            taken = self._apply(writes)
        except (DataError, ConfigError) as error:
            if len(writes) > 1:
                for write in writes:
                    self._commit([write.number])
                return
            log.error("%s: request %d is set aside: %s", self.name, numbers[0], error.message)
            self._queue.set_aside(writes[0].number)
            items: list[tuple[int, str, str, str | None]] = [
                (line.number, "", "rejected", error.message) for line in writes[0].lines
            ]
            taken = [_Taken(writes[0], items)]
        else:
            self._queue.applied(writes[-1].number)
        self._report(taken, time.monotonic() - started)

    def _report(self, taken: Sequence[_Taken], seconds: float) -> None:
        documents = 0
        for one in taken:
            for line, identity, status, error in one.items:
                if status == "rejected":
                    log.warning(
                        "%s: request %d line %d (%s) rejected: %s",
                        self.name, one.write.number, line, identity, error,
                    )  # fmt: skip
            documents += len(one.items)
            if one.write.waits:
                self._queue.tell(one.write.number, Outcome(self._index.generation, one.items))
        self._tell("commit", self.name, seconds, documents)

    def _apply(self, writes: Sequence[Write]) -> list[_Taken]:
        """Carry out requests in one transaction; return the status of their lines."""
        transaction = self._index.transaction()
        try:
            if transaction.journal is not None:
                raise LsrError(
                    "the index holds an unfinished build",
                    hint="finish it with `lsr add DIR SOURCE --resume`, or drop it with --restart",
                )
            taken: list[_Taken] = []
            for action, group in groupby(writes, key=lambda write: write.action):
                members = [_Taken(write, []) for write in group]
                if action == "delete":
                    self._delete(transaction, members)
                else:
                    self._put(transaction, members, "add" if action == "create" else "upsert")
                taken += members
            transaction.settings = {**transaction.settings, SETTING: writes[-1].number}
        except BaseException:
            self._index.abandon()
            raise
        self._index.commit()
        return taken

    def _delete(self, transaction: Transaction, members: Sequence[_Taken]) -> None:
        for member in members:
            for line in member.write.lines:
                identity = read_id(line.payload)
                status = "deleted" if transaction.delete([identity]) else "absent"
                member.items.append((line.number, identity, status, None))

    def _put(self, transaction: Transaction, members: Sequence[_Taken], action: Any) -> None:
        """Write documents; runs of those that bring vectors and of those that do not."""
        ingest = self._index.ingest(transaction)
        rows: list[tuple[Record, Row]] = []
        for member in members:
            source = str(member.write.number)
            for line in member.write.lines:
                row = read_row(self._index, line.payload)
                rows.append((Record(row.document, source, line.number), row))
        rejects = _Kept()
        for _, group in groupby(rows, key=lambda pair: pair[1].vector is not None):
            run = list(group)
            given = [row.vector for _, row in run if row.vector is not None]
            vectors = _stacked(given, self._index.settings.vocab_size) if given else None
            records = [record for record, _ in run]
            ingest.write(records, vectors, action=action, rejects=rejects)
        by_source = {str(member.write.number): member for member in members}
        for record, _ in rows:
            reason = rejects.reasons.get((record.source, record.line))
            status = "indexed" if reason is None else "rejected"
            item = (record.line, record.document.id, status, reason)
            by_source[record.source].items.append(item)

    def _merge(self) -> None:
        """Merge segments where the policy wants it, while searches go on."""
        segments = self._index.snapshot.segments
        if not plan([Size(live.segment.n_documents, live.n_live) for live in segments], "auto"):
            return
        started = time.monotonic()
        self._index.merge("auto")
        self._tell("merge", self.name, time.monotonic() - started, 0)


class _Kept(Rejects):
    """Keeps the reason of each rejected line."""

    def __init__(self) -> None:
        super().__init__("skip")
        self.reasons: dict[tuple[str, int], str] = {}

    def reject(self, source: str, line: int, reason: str, raw: str | bytes = "") -> None:
        """Keep the reason."""
        super().reject(source, line, reason, raw)
        self.reasons[source, line] = reason


def _stacked(vectors: Sequence[Any], vocab_size: int) -> SparseVectors:
    rows: list[Mapping[int, float]] = [
        dict(zip(one.terms.tolist(), one.weights.tolist(), strict=True)) for one in vectors
    ]
    return SparseVectors.from_dicts(rows, vocab_size=vocab_size)
