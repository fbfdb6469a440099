"""The log of a run: JSON lines on disk, a line for people on stderr, TensorBoard if it is there."""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lsr.index.disk import reported

Say = Callable[[str], None]


class RunLog:
    """Writes what happens in a run, one JSON object a line, each with `event` and `time`.

    Events: `start`, `resume`, `step` (averages since the last one), `dev`, `checkpoint`, `end`.
    A resumed run appends. `say` gets a short line of the same for people.
    """

    def __init__(self, folder: Path, say: Say | None = None, *, write: bool = True) -> None:
        self._path = folder / "log.jsonl"
        self._say = say or (lambda line: None)
        self._write = write
        self._board = _tensorboard(folder) if write else None

    def event(self, event: str, values: Mapping[str, Any], line: str = "") -> None:
        """Write an event down, and say `line`."""
        if not self._write:
            return
        record = {"event": event, "time": round(time.time(), 3), **values}
        with (
            reported(self._path, "write"),
            self._path.open("a", encoding="utf-8") as file,
        ):
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
        if self._board is not None and "step" in values:
            for name, value in values.items():
                if isinstance(value, int | float) and name != "step":
                    self._board.add_scalar(f"{event}/{name}", value, values["step"])
        if line:
            self._say(line)

    def close(self) -> None:
        """Flush what TensorBoard has."""
        if self._board is not None:
            self._board.close()


class Averages:
    """Means of named numbers since they were last taken.

    >>> means = Averages()
    >>> means.add({"loss": 1.0}); means.add({"loss": 2.0})
    >>> means.take()
    {'loss': 1.5}
    """

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: Mapping[str, float]) -> None:
        """Count these values in."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1

    def take(self) -> dict[str, float]:
        """Return the means, and begin anew."""
        found = {name: total / self._counts[name] for name, total in self._sums.items()}
        self._sums, self._counts = {}, {}
        return found


def _tensorboard(folder: Path) -> Any:
    if importlib.util.find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder / "tensorboard"))
