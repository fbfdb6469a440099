"""Engines in processes of their own: asked with a limit of time, and kept or closed by memory."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lsr.errors import LsrError

_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "RAYON_NUM_THREADS",
)
_LOOK = 0.05


class EngineFailed(LsrError):
    """An engine said no, died or took too long; the message is the reason in the report."""


class Declined(EngineFailed):
    """An engine said no to one question; its process lives and takes others."""


class Child:
    """A worker process. It ends when this object is closed, whatever it is doing."""

    def __init__(self, told: Mapping[str, Any], limit: float) -> None:
        # A file, because nobody reads a pipe of errors while the worker is busy.
        self._errors = tempfile.TemporaryFile(  # noqa: SIM115
            "w+", encoding="utf-8", errors="replace"
        )
        threads = str(len(told["cores"]))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lsr.eval.search_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **dict.fromkeys(_THREADS, threads)},
            text=True,
            start_new_session=True,  # Ctrl-C at the terminal is for the parent, which ends all
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._limit = limit
        self.peak_anonymous = 0.0
        threading.Thread(target=self._listen, daemon=True).start()
        try:
            self.ask(told)
        except BaseException:
            self.close()
            raise

    def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Return the worker's answer; raise EngineFailed where there is none in time."""
        what = question.get("do", "start")
        stdin = self._process.stdin
        try:
            if stdin is None:
                raise BrokenPipeError
            stdin.write(json.dumps(question) + "\n")
            stdin.flush()
        except BrokenPipeError:
            raise EngineFailed(self._how_it_ended()) from None
        line = self._wait(what)
        if not line:
            raise EngineFailed(self._how_it_ended())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise Declined(answer["error"])
        return answer

    def close(self) -> None:
        """End the process and take back what it held."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue  # a question that it did not live to read
        self._errors.close()

    def _wait(self, what: str) -> str:
        end = time.monotonic() + self._limit
        watched = what == "build"
        while (left := end - time.monotonic()) > 0:
            try:
                return self._lines.get(timeout=min(left, _LOOK) if watched else left)
            except queue.Empty:
                if watched:
                    self.peak_anonymous = max(self.peak_anonymous, _anonymous(self._process.pid))
        self._process.kill()
        raise EngineFailed(f"took longer than {self._limit:g} s")

    def _listen(self) -> None:
        stdout = self._process.stdout
        for line in stdout or ():
            self._lines.put(line)
        self._lines.put("")

    def _how_it_ended(self) -> str:
        code = self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().strip().splitlines()
        last = f": {said[-1]}" if said else ""
        if code < 0:
            return f"the process died of {signal.Signals(-code).name}{last}"
        return f"the process ended with code {code}{last}"


def _anonymous(pid: int) -> float:
    """Return the memory of a process that is no view of a file, in megabytes; 0 if unknown."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    except OSError:
        return 0.0
    found = (line for line in lines if line.startswith("RssAnon:"))
    return next((int(line.split()[1]) * 1024 / 1e6 for line in found), 0.0)


class Pool:
    """Open workers, the one that was idle longest closed first when memory runs short."""

    def __init__(self, megabytes: float) -> None:
        self._megabytes = megabytes
        self._open: OrderedDict[Hashable, tuple[Child, float]] = OrderedDict()

    def get(self, key: Hashable, expected: float, make: Callable[[], Child]) -> Child:
        """Return the worker of a key, made now if need be, of about `expected` megabytes."""
        if key not in self._open:
            while self._open and self._used() + expected > self._megabytes:
                self.drop(next(iter(self._open)))
            self._open[key] = make(), expected
        self._open.move_to_end(key)
        return self._open[key][0]

    def fits(self, sizes: Iterable[float]) -> bool:
        """Return whether workers of these sizes can all be open at once."""
        return sum(sizes) <= self._megabytes

    def drop(self, key: Hashable) -> None:
        """Close the worker of a key, if there is one."""
        if key in self._open:
            self._open.pop(key)[0].close()

    def close(self) -> None:
        """Close all."""
        for key in list(self._open):
            self.drop(key)

    def _used(self) -> float:
        return sum(size for _, size in self._open.values())


def spare_memory() -> float:
    """Return the megabytes that workers may fill together: most of what is free."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return 8000.0
    found = (line for line in lines if line.startswith("MemAvailable:"))
    return 0.7 * next((int(line.split()[1]) * 1024 / 1e6 for line in found), 8000.0)


def cores_to_use(core: int | None, threads: int = 1) -> Sequence[int]:
    """Return the cores for so many threads: the given one first, else the last of ours."""
    if not hasattr(os, "sched_getaffinity"):
        return list(range(threads))
    ours = sorted(os.sched_getaffinity(0), reverse=True)
    if core is not None:
        ours = [core, *(other for other in ours if other != core)]
    return ours[:threads]
