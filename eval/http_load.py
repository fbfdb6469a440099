"""A load of requests against one HTTP service on this machine: as cheap a client as Python has.

Run as a module it takes a Load as JSON on stdin and writes a Measured as JSON to stdout, so that
the client has a process, and where there is one a core, of its own.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

from lsr.errors import ConfigError

#: Where a load may go: a benchmark is no tool against other people's machines.
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class Load:
    """Bodies that `clients` connections post in turn to `url`, for `seconds` or `requests`."""

    url: str
    bodies: Sequence[str]
    clients: int = 1
    seconds: float = 10.0
    requests: int | None = None
    first: int = 0


@dataclass(slots=True)
class Measured:
    """Milliseconds of each request, the seconds all took, and what else but 200 came back."""

    milliseconds: list[float] = field(default_factory=list)
    seconds: float = 0.0
    errors: dict[str, int] = field(default_factory=dict)

    @property
    def per_second(self) -> float:
        """Requests that were answered with 200, each second."""
        return len(self.milliseconds) / self.seconds if self.seconds else 0.0

    def percentile(self, share: float) -> float:
        """Return the milliseconds that this share of the requests did not exceed."""
        ranked = sorted(self.milliseconds)
        return ranked[min(len(ranked) - 1, int(share * len(ranked)))] if ranked else float("nan")


def run_load(load: Load) -> Measured:
    """Send a load from this process. Raises ConfigError for a host that is not this machine."""
    parts = urlsplit(load.url)
    if parts.hostname not in _LOOPBACK or parts.port is None:
        raise ConfigError(f"{load.url} is not on this machine; a load goes to a loopback address")
    heads = [_request(parts.path, parts.netloc, body.encode()) for body in load.bodies]
    runner: Any = asyncio.run
    try:
        import uvloop

        runner = uvloop.run
    except ImportError:
        runner = asyncio.run
    measured: Measured = runner(_run(load, parts.hostname, parts.port, heads))
    return measured


async def _run(load: Load, host: str, port: int, requests: Sequence[bytes]) -> Measured:
    measured = Measured()
    shared = _Shared(requests, measured, load.first)
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    shared.until = started + load.seconds
    shared.left = load.requests if load.requests is not None else sys.maxsize
    clients = []
    for _ in range(load.clients):
        _, client = await loop.create_connection(lambda: _Connection(shared), host, port)
        clients.append(client)
    await asyncio.gather(*(client.done for client in clients))
    measured.seconds = time.perf_counter() - started
    return measured


class _Shared:
    """What all connections of a load take from and add to."""

    def __init__(self, requests: Sequence[bytes], measured: Measured, first: int) -> None:
        self.requests = requests
        self.measured = measured
        self.at = first
        self.until = 0.0
        self.left = 0

    def next(self) -> bytes | None:
        if self.left <= 0 or time.perf_counter() > self.until:
            return None
        self.left -= 1
        self.at += 1
        return self.requests[self.at % len(self.requests)]


class _Connection(asyncio.Protocol):
    """One connection: sends a request, waits for its answer, sends the next."""

    def __init__(self, shared: _Shared) -> None:
        self._shared = shared
        self._transport: Any = None
        self._received = b""
        self._sent = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received = self._received + data if self._received else data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._received[:end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].partition(b"\r")[0]) if at >= 0 else 0
        if len(self._received) < end + 4 + length:
            return
        status = head[9:12].decode()
        if status == "200":
            self._shared.measured.milliseconds.append((time.perf_counter() - self._sent) * 1e3)
        else:
            self._count(status)
        self._received = b""
        self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self._count("connection lost")
            self.done.set_result(None)

    def _send(self) -> None:
        request = self._shared.next()
        if request is None:
            self.done.set_result(None)
            self._transport.close()
            return
        self._sent = time.perf_counter()
        self._transport.write(request)

    def _count(self, what: str) -> None:
        errors = self._shared.measured.errors
        errors[what] = errors.get(what, 0) + 1


def _request(path: str, host: str, body: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(run_load(Load(**json.load(sys.stdin))))))
