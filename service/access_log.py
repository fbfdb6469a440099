"""Access log: one line of JSON for each request, with its times by stage, never its text."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic_core import to_json

_MOST_LINES = 200


class AccessLog:
    """Gathers lines until `flush` writes them to stdout; for the event loop's thread."""

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled
        self._entries: list[tuple[float, Mapping[str, Any]]] = []

    def write(self, entry: Mapping[str, Any]) -> None:
        """Add a line; `time` is put in front."""
        if not self._enabled:
            return
        self._entries.append((time.time(), entry))
        if len(self._entries) >= _MOST_LINES:
            self.flush()

    def flush(self) -> None:
        """Write what has gathered."""
        if not self._entries:
            return
        entries, self._entries = self._entries, []
        lines = b"".join(_line(at, entry) for at, entry in entries)
        sys.stdout.write(lines.decode("utf-8", "replace"))
        sys.stdout.flush()


def _line(at: float, entry: Mapping[str, Any]) -> bytes:
    now = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return to_json({"time": now, **entry}, serialize_unknown=True) + b"\n"
