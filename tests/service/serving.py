"""A service in processes of its own, for tests that need a real one."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Kernels may have to be compiled first.
START_SECONDS = 240.0


class Running:
    """A service that runs."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process = process
        self.log = log
        self.url = ""

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def wait_until(self, pattern: str) -> re.Match[str]:
        due = time.monotonic() + START_SECONDS
        while time.monotonic() < due:
            if found := re.search(pattern, self.said()):
                return found
            assert self.process.poll() is None, self.said()
            time.sleep(0.05)
        raise AssertionError(f"{pattern!r} never came; the service said {self.said()!r}")

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@contextmanager
def serving(
    folder: Path, *arguments: str, environ: dict[str, str] | None = None
) -> Iterator[Running]:
    """Run `lsr serve` on a free port until the end of the block."""
    log = folder / f"serve-{time.monotonic_ns()}.log"
    hidden = {name: value for name, value in os.environ.items() if not name.startswith("LSR_")}
    with log.open("w") as err, (folder / "access.log").open("a") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "lsr", "serve", *arguments, "--port", "0"],
            cwd=folder, stdout=out, stderr=err, text=True,
            env={**hidden, **(environ or {})}, start_new_session=True,
        )  # fmt: skip
    running = Running(process, log)
    try:
        running.url = running.wait_until(r"at (http://\S+)")[1]
        running.wait_until(r"(?m)^ready$")
        yield running
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
