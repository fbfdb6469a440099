"""Output: data on stdout, everything said to a person on stderr, nothing that harms a terminal."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any

_BOLD, _RED, _CYAN, _END = "\x1b[1m", "\x1b[1;31m", "\x1b[36m", "\x1b[0m"
# Bidirectional overrides and isolates, and the separators that some terminals take as new lines.
_DIRECTION = "\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029"
_CONTROL = re.compile(f"[\x00-\x1f\x7f-\x9f{_DIRECTION}]")
# JSON escapes C0 by itself; a terminal obeys C1 (U+009B opens an escape sequence) all the same.
_JSON_UNSAFE = re.compile(f"[\x7f-\x9f{_DIRECTION}]")
_LINE_SECONDS = 10.0


def plain(text: str) -> str:
    """Return `text` as one line that a terminal shows and does not obey.

    White space becomes a blank; control characters and direction overrides become U+FFFD.

    >>> plain("red \\x1b[31malert\\n").strip()
    'red \ufffd[31malert'
    """
    return _CONTROL.sub(lambda found: " " if found[0] in "\t\n\r\v\f" else "\ufffd", text)


def to_json(value: object) -> str:
    """Return `value` as one line of JSON; dataclasses, dates, paths and tuples are understood.

    >>> to_json({"at": Path("a")})
    '{"at": "a"}'
    """
    text = json.dumps(value, ensure_ascii=False, default=_jsonable)
    text = _JSON_UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, default=_jsonable)
    return text


def is_lively(stream: IO[str]) -> bool:
    """Return whether a stream is a terminal on which bold, colours and bars make sense."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def number(value: float) -> str:
    """Return a count as people write it.

    >>> number(12345.0), number(3.25)
    ('12,345', '3.2')
    """
    return f"{value:,.0f}" if value == int(value) or value >= 100 else f"{value:.1f}"


def size(bytes_: float) -> str:
    """Return bytes in the unit that suits them, in powers of 1000 as budgets are given.

    >>> size(1_500_000)
    '1.5 MB'
    """
    for unit in ("bytes", "kB", "MB", "GB"):
        if bytes_ < 1000:
            return f"{bytes_:.0f} {unit}" if unit == "bytes" else f"{bytes_:.1f} {unit}"
        bytes_ /= 1000
    return f"{bytes_:.1f} TB"


def counted(progress: Callable[[int], None]) -> Callable[[int], None]:
    """Return a function that takes how many were just done and tells how many there are.

    >>> told = []
    >>> tell = counted(told.append)
    >>> tell(2), tell(3), told
    (None, None, [2, 5])
    """
    done = 0

    def tell(n: int) -> None:
        nonlocal done
        done += n
        progress(done)

    return tell


def duration(seconds: float) -> str:
    """Return a time span in its two largest units.

    >>> duration(3725), duration(8.4)
    ('1 h 2 min', '8.4 s')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


@dataclass(slots=True)
class Output:
    """Where a command writes. `on_interrupt` is said when Ctrl-C ends it."""

    quiet: bool = False
    verbosity: int = 0
    on_interrupt: str = "nothing was changed"

    def data(self, line: str = "") -> None:
        """Write a line of the answer to stdout."""
        sys.stdout.write(line + "\n")

    def json(self, value: object) -> None:
        """Write `value` to stdout as one line of JSON."""
        sys.stdout.write(to_json(value) + "\n")

    def table(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Write rows with the same keys to stdout in aligned columns under a head of the keys."""
        if not rows:
            return
        cells = [[key.replace("_", " ") for key in rows[0]]]
        cells += [[plain(_cell(value)) for value in row.values()] for row in rows]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for line in cells:
            padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            self.data("  ".join(padded).rstrip())

    def strong(self, text: str) -> str:
        """Return `text` in bold where stdout is a terminal, as it is elsewhere."""
        return f"{_BOLD}{text}{_END}" if is_lively(sys.stdout) else text

    def note(self, line: str) -> None:
        """Tell the person at the terminal something, unless they asked for quiet."""
        if not self.quiet:
            sys.stderr.write(plain(line) + "\n")

    def detail(self, line: str) -> None:
        """Tell something that only `-v` asks for."""
        if self.verbosity:
            self.note(line)

    def error(self, message: str, hint: str | None = None) -> None:
        """Write what went wrong, and what mends it, to stderr; `--quiet` does not silence it."""
        red, cyan, end = (_RED, _CYAN, _END) if is_lively(sys.stderr) else ("", "", "")
        # A message may have lines of its own: a filter's error points at the place below it.
        first, *rest = [plain(line) for line in message.split("\n")]
        lines = [f"{red}error:{end} {first}", *rest]
        if hint:
            lines.append(f"{cyan}hint:{end} {plain(hint)}")
        sys.stderr.write("\n".join(lines) + "\n")

    def progress(self, what: str, total: int | None = None) -> Progress:
        """Return a progress display for `what` ("documents"), to be used in a `with` block."""
        lively = is_lively(sys.stderr) and not os.environ.get("CI")
        if self.quiet:
            return Progress(what, total)
        return _Bar(what, total) if lively else _Lines(what, total)


class Progress:
    """Counts work and shows nothing; the two below show it."""

    def __init__(self, what: str, total: int | None) -> None:
        self.what, self.total, self.done = what, total, 0
        self._started = time.monotonic()
        self._first = 0
        self._stage = ""

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._finish()

    def update(self, done: int, this_run: int | None = None) -> None:
        """Say that `done` are done; `this_run` of them since the start, when work was resumed."""
        if this_run is not None:
            self._first = done - this_run
        self.done = done
        self._show()

    def describe(self, stage: str) -> None:
        """Say what is going on now that counting is over."""
        self._stage = stage
        self._show()

    def status(self) -> str:
        """Return how much is done, how fast it goes and how long it will take."""
        elapsed = time.monotonic() - self._started
        rate = (self.done - self._first) / elapsed if elapsed > 0 else 0.0
        of = f" of {self.total:,}" if self.total else ""
        parts = [f"{self.done:,}{of} {self.what}", f"{number(round(rate, 1))}/s"]
        if self._stage:
            return f"{parts[0]}, {self._stage}"
        if self.total and rate > 0:
            parts.append(f"{duration(max(0, self.total - self.done) / rate)} left")
        return ", ".join(parts)

    def _show(self) -> None:
        """Show the new count."""

    def _finish(self) -> None:
        """Take the display away."""


class _Lines(Progress):
    """A line every ten seconds, for logs and simple terminals."""

    def __init__(self, what: str, total: int | None) -> None:
        super().__init__(what, total)
        self._last = self._started

    def _show(self) -> None:
        if time.monotonic() - self._last >= _LINE_SECONDS:
            self._last = time.monotonic()
            sys.stderr.write(self.status() + "\n")
            sys.stderr.flush()


class _Bar(Progress):
    """A bar with rate and time left, redrawn in place."""

    def __init__(self, what: str, total: int | None) -> None:
        super().__init__(what, total)
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress

        columns = (BarColumn(bar_width=30), TextColumn("{task.description}", markup=False))
        self._rich = RichProgress(*columns, console=Console(file=sys.stderr), transient=True)
        self._task = self._rich.add_task("starting", total=total)

    def __enter__(self) -> Progress:
        self._rich.start()
        return self

    def _show(self) -> None:
        self._rich.update(self._task, completed=self.done, description=self.status())

    def _finish(self) -> None:
        self._rich.stop()


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _jsonable(value: object) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form")
