"""Engines that fail in every way an engine can; imported by name in the worker process."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lsr.errors import ConfigError
from lsr.eval.search_engines import Build, Setting
from lsr.eval.search_sets import Csr


class Panic(BaseException):
    """What a Rust extension raises: no Exception."""


class Engine:
    """Answers every query with the first k rows, which is fast and mostly wrong."""

    package = module = "numpy"

    def builds(self, documents: Csr, queries: Csr) -> Sequence[Build]:
        return [Build(type(self).__name__, {})]

    def settings(
        self, build: Build, documents: Csr, k: int, *, thorough: bool
    ) -> Sequence[Setting]:
        return [Setting({})]

    def load(self) -> None:
        return None

    def given(self, documents: Csr, folder: Path) -> Any:
        return None

    def build(self, given: Any, build: Build, folder: Path) -> Callable[[], None]:
        return lambda: None

    def open(self, build: Build, folder: Path, queries: Csr) -> Engine:
        return self

    def ask(self, options: Mapping[str, Any], k: int) -> Callable[[int], Any]:
        return lambda query: range(k)

    def rows(self, answer: Any) -> Sequence[int]:
        return list(answer)

    def stats(self, answer: Any) -> Mapping[str, float]:
        return {"scored": float(len(answer))}


class First(Engine):
    pass


class Crashing(Engine):
    def ask(self, options: Mapping[str, Any], k: int) -> Callable[[int], Any]:
        def ask(query: int) -> Any:
            sys.stderr.write("terminate called\n")
            sys.stderr.flush()
            os.kill(os.getpid(), signal.SIGSEGV)

        return ask


class Choosy(Engine):
    """Refuses one of its two settings."""

    def settings(
        self, build: Build, documents: Csr, k: int, *, thorough: bool
    ) -> Sequence[Setting]:
        return [Setting({"cut": 0}), Setting({"cut": 3})]

    def ask(self, options: Mapping[str, Any], k: int) -> Callable[[int], Any]:
        if not options["cut"]:
            raise ValueError("cut must be above 0")
        return super().ask(options, k)


class Panicking(Engine):
    def build(self, given: Any, build: Build, folder: Path) -> Callable[[], None]:
        raise Panic("index out of bounds")


class Hanging(Engine):
    """Writes its process id where it was told to, then never ends."""

    def build(self, given: Any, build: Build, folder: Path) -> Callable[[], None]:
        if told := os.environ.get("ODD_ENGINES_PID"):
            Path(told).write_text(str(os.getpid()))
        while True:
            time.sleep(60)


class Missing(Engine):
    package = module = "no_such_package_anywhere"


class Unable(Engine):
    def builds(self, documents: Csr, queries: Csr) -> Sequence[Build]:
        raise ConfigError("its queries have no weights")
