"""A soak: searches and writes for as long as one likes; memory and open files have to stay flat."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx2

from .http_bench import our_service
from .http_load import Load, Measured

_SLICE_SECONDS = 10.0
_WRITES = 20


@dataclass(slots=True)
class SoakReport:
    """What was done, and memory (MB) and open files after warm-up and at the end."""

    seconds: float
    searches: int
    writes: int
    errors: dict[str, int]
    memory: list[float]
    files: list[int]

    @property
    def is_flat(self) -> bool:
        """Whether memory grew by a tenth at most, and files by a few, after the warm-up."""
        memory, files = self.memory, self.files
        return memory[-1] <= memory[0] * 1.1 + 20 and files[-1] <= files[0] + 8

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON has it."""
        return {**asdict(self), "is_flat": self.is_flat}

    def to_markdown(self) -> str:
        """Return the report as a line."""
        return (
            f"{self.seconds:,.0f} s: {self.searches:,} searches, {self.writes:,} documents "
            f"written, {sum(self.errors.values())} errors; memory {self.memory[0]:,.0f} to "
            f"{self.memory[-1]:,.0f} MB, open files {self.files[0]} to {self.files[-1]}"
        )


def soak_http(
    index: Path, texts: Sequence[str], seconds: float, say: Callable[[str], None]
) -> SoakReport:
    """Search and write for `seconds` on a copy of an index; the first fifth is the warm-up."""
    import psutil

    bodies = [
        json.dumps({"query": text, "highlight": at % 4 == 0}) for at, text in enumerate(texts)
    ]
    report = SoakReport(0.0, 0, 0, {}, [], [])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy = folder / "copy"
        shutil.copytree(index, copy, ignore=shutil.ignore_patterns("queue", "lock*"))
        with our_service(copy, folder, None) as url, httpx2.Client(timeout=60) as http:
            me = psutil.Process()
            (service,) = [one for one in me.children() if "serve" in one.cmdline()]
            started = time.monotonic()
            while (spent := time.monotonic() - started) < seconds:
                load = Load(
                    url, bodies, 4, min(_SLICE_SECONDS, seconds / 10), None, report.searches
                )
                client = subprocess.Popen(
                    [sys.executable, "-m", "lsr.eval.http_load"],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                )  # fmt: skip
                _write(http, url.removesuffix("search") + "documents", texts, report)
                out, _ = client.communicate(json.dumps(asdict(load)))
                measured = Measured(**json.loads(out))
                report.searches += len(measured.milliseconds)
                for what, count in measured.errors.items():
                    report.errors[what] = report.errors.get(what, 0) + count
                if spent >= seconds / 5:
                    found = [service, *service.children()]
                    report.memory.append(sum(one.memory_info().rss for one in found) / 1e6)
                    report.files.append(sum(one.num_fds() for one in found))
                    say(report.to_markdown())
                report.seconds = time.monotonic() - started
    return report


def _write(http: httpx2.Client, url: str, texts: Sequence[str], report: SoakReport) -> None:
    """Write a few documents over those of before, and wait for one commit in four."""
    lines = [
        json.dumps({"_id": f"soak-{at}", "text": texts[(at + report.writes) % len(texts)]})
        for at in range(_WRITES)
    ]
    commit = "wait" if report.writes // _WRITES % 4 == 0 else "auto"
    answer = http.post(
        url, params={"commit": commit}, content="\n".join(lines).encode(),
        headers={"Content-Type": "application/x-ndjson"},
    )  # fmt: skip
    if answer.is_success:
        report.writes += len(lines)
    else:
        what = f"write {answer.status_code}"
        report.errors[what] = report.errors.get(what, 0) + 1
