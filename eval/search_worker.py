"""The process in which one engine builds or searches; `search_process` asks it in JSON lines."""

from __future__ import annotations

import gc
import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

from lsr.errors import LsrError

from .encode_worker import peak_mb
from .search_engines import Build, Engine, Searcher, engine
from .search_sets import SearchSet
from .search_truth import Truth, truth_path

#: Queries before every timed run, so that the caches hold this engine's data again.
_WARM = 30


class Worker:
    """One engine, one set, one folder."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        self._set = SearchSet.open(Path(told["set"]), told["n_queries"])
        self._folder = Path(told["folder"])
        self._build = Build(told["build"]["name"], told["build"]["options"])
        self._engine: Engine = engine(told["engine"])
        self._given: Any = None
        self._searcher: Searcher | None = None
        self._truths: dict[int, Truth] = {}

    def answer(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Do what the question asks."""
        what = question["do"]
        if what == "given":
            return self._take()
        if what == "build":
            return self._do_build()
        if what == "open":
            return self._open()
        if what == "run":
            return self._run(question["options"], question["k"], *question["queries"])
        if what == "batch":
            return self._batch(question["options"], question["k"], question["threads"])
        return {"rss": rss_mb(), "anonymous": anonymous_mb()}

    def _take(self) -> dict[str, Any]:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._engine.load()
        self._given = self._engine.given(self._set.documents, self._folder)
        gc.collect()
        return {"before": rss_mb(), "before_anonymous": anonymous_mb()}

    def _do_build(self) -> dict[str, Any]:
        clock = Clock()
        save = self._engine.build(self._given, self._build, self._folder)
        built = clock.read()
        save()
        saved = clock.read()
        return {
            "cpu": built.cpu,
            "wall": built.wall,
            "save_cpu": saved.cpu - built.cpu,
            "save_wall": saved.wall - built.wall,
            "peak": peak_mb(),
            "bytes": _size(self._folder),
        }

    def _open(self) -> dict[str, Any]:
        self._engine.load()
        gc.collect()
        before, clock = rss_mb(), Clock()
        self._searcher = self._engine.open(self._build, self._folder, self._set.queries)
        spent = clock.read()
        return {"cpu": spent.cpu, "wall": spent.wall, "before": before, "rss": rss_mb()}

    def _run(self, options: Mapping[str, Any], k: int, first: int, stop: int) -> dict[str, Any]:
        """Time queries first to stop, each alone; return lists of figures, an entry a query."""
        searcher = self._opened()
        if k not in self._truths:
            self._truths[k] = Truth.load(truth_path(self._set, k))
        ask, truth = searcher.ask(options, k), self._truths[k]
        for query in range(first, min(first + _WARM, stop)):
            ask(query)
        gc.collect()
        gc.disable()
        cpu, wall, answers = _timed(ask, range(first, stop))
        gc.enable()
        stats: dict[str, float] = {}
        for answer in answers:
            for name, value in searcher.stats(answer).items():
                stats[name] = stats.get(name, 0.0) + value
        return {
            "cpu": cpu,
            "wall": wall,
            "recall": [
                truth.recall(query, searcher.rows(answer), k)
                for query, answer in enumerate(answers, first)
            ],
            "stats": stats,
        }

    def _batch(self, options: Mapping[str, Any], k: int, threads: int) -> dict[str, Any]:
        searcher: Any = self._opened()
        clock = Clock()
        count = searcher.batch(options, k, threads)
        spent = clock.read()
        return {"cpu": spent.cpu, "wall": spent.wall, "queries": count}

    def _opened(self) -> Searcher:
        if self._searcher is None:
            raise LsrError("the index was not opened first")
        return self._searcher


class Clock:
    """Seconds of CPU and wall since it was made; or since an earlier reading."""

    def __init__(self) -> None:
        self._cpu, self._wall = time.process_time(), time.perf_counter()
        self.cpu = self.wall = 0.0

    def read(self) -> Clock:
        """Return a copy that stands still."""
        found = Clock()
        found.cpu, found.wall = found._cpu - self._cpu, found._wall - self._wall
        return found


def _timed(ask: Callable[[int], Any], queries: range) -> tuple[list[float], list[float], list[Any]]:
    """Ask every query; return microseconds of CPU and wall of each, and the answers."""
    cpu, wall, answers = [], [], []
    for query in queries:
        before, began = time.process_time_ns(), time.perf_counter_ns()
        answer = ask(query)
        wall.append((time.perf_counter_ns() - began) / 1e3)
        cpu.append((time.process_time_ns() - before) / 1e3)
        answers.append(answer)
    return cpu, wall, answers


def rss_mb() -> float:
    """Return the resident size of this process now, in megabytes; what was mapped counts."""
    return _status("VmRSS:")


def anonymous_mb() -> float:
    """Return the part of it that is not a view of a file."""
    return _status("RssAnon:")


def _status(name: str) -> float:
    try:
        lines = Path("/proc/self/status").read_text("ascii").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(name)), 0.0)


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def serve(questions: Iterable[str], answers: TextIO) -> None:
    """Answer each line of `questions` until it ends; the first says who and what."""
    worker: Worker | None = None
    for line in questions:
        question = json.loads(line)
        try:
            if worker is None:
                _pin(question["cores"])
                worker = Worker(question)
                answer: dict[str, Any] = {}
            else:
                answer = worker.answer(question)
        except LsrError as error:
            answer = {"error": error.message}
        except BaseException as error:  # a panic of a Rust extension is no Exception
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            answer = {"error": f"{type(error).__name__}: {str(error).strip() or 'no message'}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _pin(cores: list[int]) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


def main() -> None:
    """Serve on the standard streams; what libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    questions: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_listen, args=(sys.stdin, questions), daemon=True).start()
    serve(iter(questions.get, None), answers)


def _listen(stdin: TextIO, questions: queue.Queue[str]) -> None:
    """Pass lines on; end the process, whatever it is doing, when its parent has gone."""
    for line in stdin:
        questions.put(line)
    os._exit(0)


if __name__ == "__main__":
    main()
