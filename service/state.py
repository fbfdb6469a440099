"""State: what the requests of one process share, from its start to its end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from lsr.errors import LsrError

from .access_log import AccessLog
from .auth import KeyFile
from .lanes import Lanes
from .metrics import Metrics
from .options import Options
from .problems import Problem
from .queue import Queue
from .shelf import Served, Shelf

log = logging.getLogger(__name__)

#: Requests with documents that are read and checked at a time; each may be as large as a body.
MOST_WRITES = 4
_LINE_THREADS = 2
#: What a process logs and counts in this time it loses when it is killed.
_TELL_SECONDS = 0.2


class State:
    """Indexes, threads, keys, counts. `open` makes it ready; `close` ends it."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.settings = options.settings
        self.keys = None if self.settings.keys is None else KeyFile(self.settings.keys)
        self.metrics = Metrics(self._figures)
        self.access_log = AccessLog(enabled=self.settings.access_log)
        self.lanes = Lanes(
            options.threads,
            on_encoded=self.metrics.encoded,
        )
        self.line_threads = ThreadPoolExecutor(_LINE_THREADS, thread_name_prefix="lsr-lines")
        self.writes = 0
        self.in_flight = 0
        self.stopping = False
        self._shelf: Shelf | None = None
        self._queues: dict[str, Queue] = {}
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def is_ready(self) -> bool:
        """Whether the indexes are open and the kernels warm."""
        return self._shelf is not None and not self.stopping

    @property
    def shelf(self) -> Shelf:
        """The indexes. Raises Problem 503 as long as they are being opened."""
        if self._shelf is None:
            raise Problem(
                503,
                "the service is starting: its indexes are being opened",
                hint="GET /readyz tells when it is ready",
                headers={"Retry-After": "1"},
            )
        return self._shelf

    def open(self) -> None:
        """Open the indexes and warm the kernels and encoders; takes seconds, in any thread."""
        from lsr.index.warmup import warmup

        options = self.options
        shelf = Shelf(
            options.indexes, verify=options.verify, model=options.model, dense=options.dense
        )
        warmup()
        for served in shelf:
            served.warm()
        self._queues = {
            served.name: Queue(served.path, most_bytes=self.settings.max_queue) for served in shelf
        }
        self._shelf = shelf

    def queue(self, served: Served) -> Queue:
        """Return where the writes of an index wait."""
        return self._queues[served.name]

    def start_telling(self) -> None:
        """Write the log and the metrics from now on."""
        self._tasks.append(asyncio.create_task(self._tell_for_ever()))

    def start_refreshing(self) -> None:
        """Look for new commits from now on."""
        self._tasks.append(asyncio.create_task(self._refresh_for_ever()))

    async def refresh(self, served: Served) -> None:
        """Read the newest commit of an index, if there is one, off the event loop."""
        try:
            await asyncio.get_running_loop().run_in_executor(self.line_threads, served.refresh)
        except LsrError as error:
            log.error("%s: the newest commit cannot be read: %s", served.name, error.message)

    async def close(self) -> None:
        """End the threads, after what is in flight."""
        self.stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.to_thread(self.lanes.close)
        self.line_threads.shutdown()
        self.tell()

    def tell(self) -> None:
        """Write what was logged and counted since the last time."""
        self.metrics.in_flight.set(self.in_flight)
        self.metrics.waiting.set(len(self.lanes))
        self.metrics.flush()
        self.access_log.flush()

    async def _tell_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_TELL_SECONDS)
            try:
                self.tell()
            except OSError as error:
                log.error("the access log cannot be written: %s", error)

    async def _refresh_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self.settings.refresh_ms / 1e3)
            for served in self.shelf:
                if served.is_behind():
                    await self.refresh(served)

    def _figures(self) -> Iterator[tuple[str, Mapping[str, float]]]:
        for served in self._shelf or ():
            segments = served.index.snapshot.segments
            live = sum(one.n_live for one in segments)
            yield (
                served.name,
                {
                    "documents": live,
                    "deleted": sum(one.segment.n_documents for one in segments) - live,
                    "segments": len(segments),
                    "generation": served.index.generation,
                    "queued": len(self.queue(served).waiting()),
                },
            )


def deadline_in(milliseconds: int) -> float:
    """Return the time after so many milliseconds on the clock of `time.monotonic`."""
    return time.monotonic() + milliseconds / 1e3
