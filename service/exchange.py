"""Exchange: one request on its way through the service."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .auth import Key
from .searching import Timings


@dataclass(slots=True)
class Exchange:
    """What is known of a request, found at `scope["exchange"]`; `notes` go to the log."""

    request_id: str
    started: float
    timings: Timings = field(default_factory=Timings)
    notes: dict[str, Any] = field(default_factory=dict)
    key: Key | None = None
    route: str = "unknown"
    status: int = 0
