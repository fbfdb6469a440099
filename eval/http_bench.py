"""How much HTTP costs: our service beside the same search in Python and beside a plain handler.

Everything runs on this machine, in processes of its own: a Python process that searches, `lsr
serve`, the plain service of `http_plain`, and the client of `http_load`. Rounds go through all, so
that what else the machine does falls on each alike.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from lsr.errors import LsrError

from .http_load import Load, Measured

_START_SECONDS = 180.0
_NAME = "index"

#: Prints the milliseconds of each query, searched one after another in Python, hits included.
_IN_PYTHON = """
import json, sys, time
from lsr.index.index import Index
from lsr.index.warmup import warmup
asked = json.load(sys.stdin)
warmup()
index = Index.open(asked["index"])
for text in asked["texts"][:20]:
    index.search(text, k=asked["k"]).hits
taken = []
for text in asked["texts"]:
    started = time.perf_counter()
    index.search(text, k=asked["k"]).hits
    taken.append((time.perf_counter() - started) * 1e3)
json.dump(taken, sys.stdout)
"""


@dataclass(frozen=True, slots=True)
class HttpPlan:
    """What is measured: rounds of `requests` one after another, and of `seconds` by `clients`."""

    k: int = 10
    rounds: int = 3
    requests: int = 300
    clients: int = 16
    seconds: float = 5.0
    workers: int | None = None


@dataclass(slots=True)
class HttpReport:
    """Medians over the rounds; milliseconds, and requests a second."""

    python_p50: float
    ours_p50: float
    plain_p50: float
    ours: dict[str, float]
    plain: dict[str, float]
    errors: dict[str, int] = field(default_factory=dict)
    n_documents: int = 0
    n_queries: int = 0
    clients: int = 0

    @property
    def added(self) -> float:
        """Milliseconds that HTTP adds to the median search in Python."""
        return self.ours_p50 - self.python_p50

    @property
    def times_plain(self) -> float:
        """Our requests a second, in those of the plain service."""
        return self.ours["per_second"] / self.plain["per_second"]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON has it."""
        return {**asdict(self), "added": self.added, "times_plain": self.times_plain}

    def to_markdown(self) -> str:
        """Return the report as a Markdown table."""
        rows = [
            f"| {self.n_documents:,} documents | p50, one client | p50, {self.clients} clients | "
            f"p99, {self.clients} clients | p99 / p50 | requests/s |",
            "|---|---:|---:|---:|---:|---:|",
            f"| in Python | {self.python_p50:.2f} ms | | | | |",
        ]
        for name, alone, many in (
            ("lsr serve", self.ours_p50, self.ours),
            ("plain FastAPI handler", self.plain_p50, self.plain),
        ):
            rows.append(
                f"| {name} | {alone:.2f} ms | {many['p50']:.2f} ms | {many['p99']:.2f} ms "
                f"| {many['p99'] / many['p50']:.1f} | {many['per_second']:,.0f} |"
            )
        rows.append("")
        errors = sum(self.errors.values())
        rows.append(
            f"HTTP adds {self.added:.2f} ms; {self.times_plain:.1f} times the requests of the "
            f"plain handler; {errors} errors"
        )
        return "\n".join(rows)


def bench_http(
    index: Path, texts: Sequence[str], plan: HttpPlan, say: Callable[[str], None]
) -> HttpReport:
    """Measure our service, the plain one and Python itself on the same index and queries."""
    from lsr.index.index import Index

    n_documents = len(Index.open(index, verify=False))
    bodies = [json.dumps({"query": text, "limit": plan.k}) for text in texts]
    python: list[float] = []
    alone: dict[str, list[float]] = {"ours": [], "plain": []}
    many: dict[str, list[Measured]] = {"ours": [], "plain": []}
    errors: dict[str, int] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        urls = {
            "ours": stack.enter_context(our_service(index, folder, plan.workers)),
            "plain": stack.enter_context(_plain_service(index, folder)),
        }
        for turn in range(plan.rounds):
            say(f"round {turn + 1} of {plan.rounds}")
            first = turn * plan.requests
            part = [texts[at % len(texts)] for at in range(first, first + plan.requests)]
            python.append(_median_in_python(index, part, plan.k))
            for name, url in urls.items():
                load = Load(url, bodies, 1, 60.0, plan.requests, first)
                alone[name].append(_run(load, errors).percentile(0.5))
            for name, url in urls.items():
                load = Load(url, bodies, plan.clients, plan.seconds, None, turn * 5000)
                many[name].append(_run(load, errors))
    return HttpReport(
        median(python),
        median(alone["ours"]),
        median(alone["plain"]),
        _summary(many["ours"]),
        _summary(many["plain"]),
        errors,
        n_documents,
        len(texts),
        plan.clients,
    )


@contextmanager
def our_service(index: Path, folder: Path, workers: int | None) -> Iterator[str]:
    """Run `lsr serve` for one index; give the address of its searches."""
    command = [sys.executable, "-m", "lsr", "serve", f"{_NAME}={index}", "--port", "0"]
    if workers is not None:
        command += ["--workers", str(workers)]
    with _running(command, folder / "ours.log", r"(?s)at (http://\S+).*^ready$") as found:
        yield f"{found}/v1/indexes/{_NAME}/search"


@contextmanager
def _plain_service(index: Path, folder: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "lsr.eval.http_plain", str(index)]
    with _running(command, folder / "plain.log", r"(?m)^(\d+)$") as port:
        yield f"http://127.0.0.1:{port}/v1/indexes/{_NAME}/search"


@contextmanager
def _running(command: Sequence[str], log: Path, pattern: str) -> Iterator[str]:
    """Run a service until the block ends; give what the pattern found in what it said."""
    environ = {**os.environ, "OMP_NUM_THREADS": "1"}
    with log.open("w") as file:
        out = subprocess.DEVNULL if "serve" in command else file
        process = subprocess.Popen(command, stdout=out, stderr=file, env=environ)
    try:
        due = time.monotonic() + _START_SECONDS
        while (found := re.search(pattern, log.read_text(), re.MULTILINE)) is None:
            if process.poll() is not None or time.monotonic() > due:
                raise LsrError(f"a service did not start: {log.read_text()[-2000:]}")
            time.sleep(0.1)
        yield found[1]
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _median_in_python(index: Path, texts: Sequence[str], k: int) -> float:
    asked = json.dumps({"index": str(index), "texts": texts, "k": k})
    done = subprocess.run(
        [sys.executable, "-c", _IN_PYTHON], input=asked, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise LsrError(f"the search in Python failed: {done.stderr[-2000:]}")
    return float(median(json.loads(done.stdout)))


def _run(load: Load, errors: dict[str, int]) -> Measured:
    done = subprocess.run(
        [sys.executable, "-m", "lsr.eval.http_load"],
        input=json.dumps(asdict(load)), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise LsrError(f"the client failed: {done.stderr[-2000:]}")
    measured = Measured(**json.loads(done.stdout))
    for what, count in measured.errors.items():
        errors[what] = errors.get(what, 0) + count
    return measured


def _summary(rounds: Sequence[Measured]) -> dict[str, float]:
    return {
        "p50": median(one.percentile(0.5) for one in rounds),
        "p99": median(one.percentile(0.99) for one in rounds),
        "per_second": median(one.per_second for one in rounds),
    }
