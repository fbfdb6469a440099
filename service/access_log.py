"""Access log: one line of JSON for each request, with its times by stage, never its text."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic_core import to_json

#: Lines are written together; a process that is killed loses those of this many seconds.
_SECONDS = 0.2
_MOST_LINES = 200


class AccessLog:
    """Writes lines to stdout, several at a time, from the event loop's thread."""

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled
        self._lines: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None

    def write(self, entry: Mapping[str, Any]) -> None:
        """Add a line; `time` is put in front."""
        if not self._enabled:
            return
        now = datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds")
        self._lines.append(to_json({"time": now, **entry}, serialize_unknown=True))
        if len(self._lines) >= _MOST_LINES:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SECONDS, self.flush)

    def flush(self) -> None:
        """Write what has gathered."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._lines:
            lines, self._lines = self._lines, []
            sys.stdout.write("".join(line.decode("utf-8", "replace") + "\n" for line in lines))
            sys.stdout.flush()
