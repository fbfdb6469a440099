"""Lanes: the threads that encode and search, off the event loop, with texts encoded together."""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

from lsr.sparse import SparseVector

from .searching import Timings, out_of_time
from .shelf import Served

#: Jobs that a thread takes at a time; their texts are encoded in one call, which costs a third.
MOST_TOGETHER = 16
#: A thread gathers answers for this long before it wakes the event loop.
_ANSWER_SECONDS = 0.002


@dataclass(slots=True, eq=False)
class Job:
    """Work for a thread: `work` gets the vector of `text` if there is one.

    `deadline` is on the clock of `time.monotonic`; a job that waited past it is not begun.
    """

    work: Callable[[SparseVector | None], Any]
    timings: Timings = field(default_factory=Timings)
    served: Served | None = None
    text: str | None = None
    deadline: float = math.inf
    loop: asyncio.AbstractEventLoop | None = None
    future: asyncio.Future[Any] | None = None
    submitted: float = 0.0
    vector: SparseVector | None = None
    result: Any = None
    error: Exception | None = None


class Lanes:
    """A fixed number of threads and the queue before them.

    A thread that is free takes an equal share of what waits, so that under load the texts of many
    requests are encoded in one call, and alone a request waits for nobody.
    """

    def __init__(
        self,
        threads: int,
        *,
        on_encoded: Callable[[int], None] | None = None,
    ) -> None:
        self._on_encoded = on_encoded or (lambda texts: None)
        self._waiting: SimpleQueue[Job | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._serve, name=f"lsr-lane-{at}", daemon=True)
            for at in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def __len__(self) -> int:
        return self._waiting.qsize()

    async def run(self, job: Job) -> Any:
        """Return what the job's work returns, or raise what it raises; Problem 408 when late."""
        job.loop = asyncio.get_running_loop()
        job.future = job.loop.create_future()
        job.submitted = time.perf_counter()
        self._waiting.put(job)
        left = job.deadline - time.monotonic()
        if left == math.inf:
            return await job.future
        timer = job.loop.call_later(max(0.0, left), _expire, job.future)
        try:
            return await job.future
        finally:
            timer.cancel()

    def close(self) -> None:
        """Finish what waits and end the threads."""
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        while (first := self._waiting.get()) is not None:
            share = -(-(1 + self._waiting.qsize()) // len(self._threads))
            self._do([first, *self._more(min(share, MOST_TOGETHER) - 1)])

    def _more(self, most: int) -> list[Job]:
        """Return jobs that wait, unless other threads are quicker."""
        taken: list[Job] = []
        with contextlib.suppress(Empty):
            while len(taken) < most:
                job = self._waiting.get_nowait()
                if job is None:  # the end, for another thread
                    self._waiting.put(None)
                    break
                taken.append(job)
        return taken

    def _do(self, jobs: list[Job]) -> None:
        now, begun = time.monotonic(), time.perf_counter()
        wanted = []
        for job in jobs:
            if job.future is None or job.future.done() or now > job.deadline:
                job.error = out_of_time()
                _answer([job])
                continue
            job.timings.add("queue", begun - job.submitted)
            wanted.append(job)
        self._encode([job for job in wanted if job.text is not None])
        answered = time.perf_counter()
        done: list[Job] = []
        for job in wanted:
            if job.error is None:
                try:
                    job.result = job.work(job.vector)
                except Exception as error:
                    job.error = error
            done.append(job)
            # Waking the event loop costs as much as a search: answers go to it together.
            if time.perf_counter() - answered > _ANSWER_SECONDS:
                _answer(done)
                done, answered = [], time.perf_counter()
        _answer(done)

    def _encode(self, jobs: list[Job]) -> None:
        """Give each job the vector of its text, those of one index in one call."""
        by_index: dict[Served, list[Job]] = {}
        for job in jobs:
            if job.served is None or job.text is None:
                continue
            job.vector = job.served.known_vector(job.text)
            if job.vector is None:
                by_index.setdefault(job.served, []).append(job)
        for served, group in by_index.items():
            started = time.perf_counter()
            texts = list(dict.fromkeys(job.text or "" for job in group))
            try:
                vectors = served.encode(texts)
            except Exception as error:  # each of them answers for itself
                for job in group:
                    job.error = error
                continue
            spent = time.perf_counter() - started
            found = dict(zip(texts, vectors, strict=True))
            for job in group:
                job.vector = found[job.text or ""]
                job.timings.add("encode", spent)
            self._on_encoded(len(texts))


def _expire(future: asyncio.Future[Any]) -> None:
    if not future.done():
        future.set_exception(out_of_time())


def _answer(jobs: list[Job]) -> None:
    """Hand results and errors to the event loop that waits for them."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Job]] = {}
    for job in jobs:
        if job.loop is not None:
            by_loop.setdefault(job.loop, []).append(job)
    for loop, group in by_loop.items():
        # A loop that was closed meanwhile has nobody who waits for the answer.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle, group)


def _settle(jobs: list[Job]) -> None:
    for job in jobs:
        if job.future is None or job.future.done():
            continue
        if job.error is None:
            job.future.set_result(job.result)
        else:
            job.future.set_exception(job.error)
