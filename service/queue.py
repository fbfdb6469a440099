"""Queue: writes that were accepted, durable on disk beside the index until a commit has them.

    DIR/queue/0000000000000007.ndjson    a request: a header line, then its documents, a line each
    DIR/queue/0000000000000006.applied   empty: the last one that was committed
    DIR/queue/0000000000000006.done      what became of its lines, for the process that waits

Any process appends; one, the writer, takes. The manifest says, in the same step that publishes
a commit, which request was the last in it: a crash in between neither loses nor repeats one.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout
from xxhash import xxh3_64_hexdigest

from lsr.errors import LockedError
from lsr.index import disk

from .problems import Problem
from .schemas import Action

log = logging.getLogger(__name__)

FOLDER = "queue"
#: Where the manifest keeps the number of the last request that was committed.
SETTING = "queue"

_FORMAT = 1
_REQUEST, _APPLIED, _DONE, _DAMAGED = ".ndjson", ".applied", ".done", ".damaged"
_LOCK_SECONDS = 10.0
_STALE_SECONDS = 600.0


class Line(NamedTuple):
    """A document line: its number in the request, and its bytes, which are good JSON."""

    number: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Write:
    """An accepted request. `waits` when somebody waits for its commit, `now` to commit at once."""

    action: Action
    lines: Sequence[Line]
    waits: bool = False
    now: bool = False
    number: int = 0


class Outcome(NamedTuple):
    """What became of a request: the commit's generation, and (line, id, status, error) of each."""

    generation: int
    items: list[tuple[int, str, str, str | None]]


class Queue:
    """The queue of one index. Safe to use from many threads and processes."""

    def __init__(self, index: Path, *, most_bytes: int) -> None:
        self.folder = index / FOLDER
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._file_lock = FileLock(
            str(self.folder / "lock"), timeout=_LOCK_SECONDS, thread_local=False
        )

    def make(self) -> None:
        """Make the folder of the queue, durably, if it is not there."""
        if not self.folder.is_dir():
            disk.make_folder(self.folder, exist_ok=True)
            disk.sync_folder(self.folder.parent)

    def append(self, write: Write) -> int:
        """Put a request on the disk and return its number; it survives whatever comes then.

        Raises Problem 429 when so much waits already that the writer is far behind.
        """
        self.make()
        body = b"".join(line.payload + b"\n" for line in write.lines)
        header = {
            "format": _FORMAT,
            "action": write.action,
            "waits": write.waits,
            "now": write.now,
            "lines": [line.number for line in write.lines],
            "xxh3": xxh3_64_hexdigest(body),
        }
        unique = f"{os.getpid()}-{threading.get_ident()}-{time.monotonic_ns()}.tmp"
        partial = self.folder / unique
        disk.write_new(partial, json.dumps(header).encode() + b"\n" + body)
        try:
            with self._locked():
                files = self._files()
                waiting = sum(size for _, kind, size in files if kind == _REQUEST)
                if waiting + len(body) > self._most_bytes:
                    raise Problem(
                        429,
                        f"{waiting:,} bytes of documents wait to be indexed already",
                        hint="send them again a little later",
                        headers={"Retry-After": "5"},
                    )
                number = 1 + max((number for number, _, _ in files), default=0)
                with disk.reported(partial, "rename"):
                    partial.rename(self._path(number, _REQUEST))
        finally:
            partial.unlink(missing_ok=True)
        disk.sync_folder(self.folder)
        return number

    def waiting(self, after: int = 0) -> list[int]:
        """Return the numbers of the requests that wait, in order."""
        found = (number for number, kind, _ in self._files() if kind == _REQUEST)
        return sorted(number for number in found if number > after)

    def read(self, number: int) -> Write | None:
        """Return a request; None for one that is damaged, which is then set aside."""
        path = self._path(number, _REQUEST)
        first, _, body = disk.read_bytes(path).partition(b"\n")
        try:
            header: dict[str, Any] = json.loads(first)
            payloads = body.split(b"\n")[:-1]
            if header["format"] != _FORMAT or header["xxh3"] != xxh3_64_hexdigest(body):
                raise ValueError("its checksum is another")
            pairs = zip(header["lines"], payloads, strict=True)
            lines = [Line(int(at), payload) for at, payload in pairs]
            waits, now = bool(header["waits"]), bool(header["now"])
            return Write(header["action"], lines, waits, now, number)
        except (ValueError, KeyError, TypeError) as error:
            log.error("%s is damaged (%s); it is set aside", path, error)
            self.set_aside(number)
            return None

    def set_aside(self, number: int) -> None:
        """Take a request that cannot be carried out out of the way, and keep it."""
        with self._locked():
            self._path(number, _REQUEST).rename(self._path(number, _DAMAGED))

    def applied(self, number: int) -> None:
        """Remove the requests up to that number: a commit has them."""
        with self._locked():
            files = self._files()
            done = [n for n, kind, _ in files if kind in (_REQUEST, _APPLIED) and n < number]
            # The last stays, without content, so that numbers go on from it.
            disk.overwrite(self._path(number, _APPLIED), b"")
            disk.sync_folder(self.folder)
            for old in done:
                for kind in (_REQUEST, _APPLIED):
                    self._path(old, kind).unlink(missing_ok=True)
            self._path(number, _REQUEST).unlink(missing_ok=True)

    def tell(self, number: int, outcome: Outcome) -> None:
        """Leave what became of a request to the process that waits for it."""
        partial = self._path(number, _DONE + ".tmp")
        disk.overwrite(partial, json.dumps(outcome).encode())
        partial.rename(self._path(number, _DONE))

    def outcome(self, number: int) -> Outcome | None:
        """Return what became of a request, once; None as long as it waits."""
        path = self._path(number, _DONE)
        try:
            found = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        path.unlink(missing_ok=True)
        generation, items = found
        return Outcome(generation, [tuple(item) for item in items])

    def sweep(self) -> None:
        """Remove what processes that were killed have left."""
        now = time.time()
        for path in list(self.folder.iterdir()) if self.folder.is_dir() else ():
            if path.suffix in (_DONE, ".tmp"):
                try:
                    if now - path.stat().st_mtime > _STALE_SECONDS:
                        path.unlink(missing_ok=True)
                except FileNotFoundError:
                    continue

    def take_over(self) -> FileLock:
        """Return the lock of the one writer, held. Raises LockedError when another has it."""
        self.make()
        lock = FileLock(str(self.folder / "writer.lock"), thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise LockedError(
                f"{self.folder} is served by another process that writes",
                hint="stop that one, or serve this index with --read-only",
            ) from error
        return lock

    def _path(self, number: int, kind: str) -> Path:
        return self.folder / f"{number:016d}{kind}"

    def _files(self) -> list[tuple[int, str, int]]:
        """Return number, kind and size of each file that has a number."""
        found = []
        try:
            with os.scandir(self.folder) as entries:
                for entry in entries:
                    stem, dot, kind = entry.name.partition(".")
                    if stem.isdigit() and dot and not kind.endswith("tmp"):
                        try:
                            found.append((int(stem), dot + kind, entry.stat().st_size))
                        except FileNotFoundError:
                            continue
        except FileNotFoundError:
            return []
        return found

    def _locked(self) -> _Both:
        return _Both(self._lock, self._file_lock)


class _Both:
    """Holds the lock of the threads, then that of the processes."""

    def __init__(self, threads: threading.Lock, processes: FileLock) -> None:
        self._threads, self._processes = threads, processes

    def __enter__(self) -> None:
        self._threads.acquire()
        try:
            self._processes.acquire()
        except BaseException:
            self._threads.release()
            raise

    def __exit__(self, *_: object) -> None:
        self._processes.release()
        self._threads.release()
