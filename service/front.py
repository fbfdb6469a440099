"""Front: what every request passes: its id, who may ask, how many at a time, what is logged."""

from __future__ import annotations

import contextlib
import logging
import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from .answering import answer_search
from .auth import given_key
from .bodies import Gone, too_large
from .exchange import Exchange
from .options import is_loopback
from .problems import MEDIA_TYPE, Problem, problem_of, to_body
from .state import State

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: Answered whatever the load and without a key.
_PROBES = frozenset({"/livez", "/readyz", "/healthz"})
_FREE = _PROBES | {"/version", "/openapi.json", "/", "/app.js", "/style.css", "/icon.svg"}

#: The request that comes most is answered here: routing takes as long as its search.
_SEARCH = re.compile(r"/v1/indexes/([^/]+)/search")

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ALWAYS = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]
_API = [(b"cache-control", b"no-store")]
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")
#: A status for the log when the client left before its answer.
_CLIENT_LEFT = 499


class Front:
    """The outermost part of the service; `app` answers what it lets pass."""

    def __init__(self, app: App, state: State) -> None:
        self.app = app
        self.state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer it with a problem; log and count it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        given = headers.get("x-request-id", "")
        exchange = Exchange(
            given if _ID.fullmatch(given) else f"{random.getrandbits(64):016x}", time.perf_counter()
        )
        scope["exchange"] = exchange

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                extra = [(b"x-request-id", exchange.request_id.encode()), *_ALWAYS]
                if scope["path"].startswith("/v1/"):
                    extra += _API
                message["headers"] = [*message.get("headers", ()), *extra]
            await send(message)

        try:
            await self._pass(scope, headers, exchange, receive, answer)
        except Gone:
            exchange.status = _CLIENT_LEFT
        except Exception as error:
            if not isinstance(error, Problem):
                log.error("request %s failed", exchange.request_id, exc_info=error)
            if not exchange.status:
                await send_problem(problem_of(error), scope, answer)
        finally:
            self._record(scope, headers, exchange)

    async def _pass(
        self,
        scope: Scope,
        headers: Mapping[str, str],
        exchange: Exchange,
        receive: Receive,
        send: Send,
    ) -> None:
        path, state = scope["path"], self.state
        exchange.route = path if path in _FREE else "unknown"
        self._check_host(headers)
        if path in _FREE:
            await self.app(scope, receive, send)
            return
        self._check_rights(scope, headers, exchange)
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) > state.settings.max_body:
            raise too_large(state.settings.max_body)
        if state.in_flight >= state.settings.max_in_flight:
            state.metrics.refused.labels("in_flight").inc()
            raise Problem(
                429,
                f"this service answers {state.settings.max_in_flight} requests at a time",
                hint="try again a little later",
                headers={"Retry-After": "1"},
            )
        state.in_flight += 1
        try:
            found = _SEARCH.fullmatch(path) if scope["method"] == "POST" else None
            if found is None:
                await self.app(scope, receive, send)
            else:
                body = await answer_search(state, exchange, headers, receive, found[1])
                await _send_json(body, send)
        finally:
            state.in_flight -= 1

    def _check_host(self, headers: Mapping[str, str]) -> None:
        """Refuse names that are not ours: a page could give its own name our address.

        Only where nothing else protects: on a loopback address without keys.
        """
        state = self.state
        if state.keys is not None or not state.options.is_local:
            return
        name = _host_name(headers.get("host", ""))
        if name and not is_loopback(name) and name.lower() not in state.options.host_names:
            raise Problem(
                421,
                f"the request is for the host {name[:100]!r}, which this service does not go by",
                hint="ask for 127.0.0.1, or serve with --names and that name",
            )

    def _check_rights(self, scope: Scope, headers: Mapping[str, str], exchange: Exchange) -> None:
        state, writes = self.state, _writes(scope["method"], scope["path"])
        if writes and state.settings.read_only:
            raise Problem(403, "this service is read-only", hint="serve without --read-only")
        if state.keys is None:
            if writes:
                self._check_local(scope, headers)
            return
        given = given_key(headers)
        exchange.key = None if given is None else state.keys.find(given)
        if exchange.key is None:
            state.metrics.refused.labels("key").inc()
            raise Problem(
                401,
                "this service needs a key" if given is None else "the key is not known here",
                hint="send Authorization: Bearer KEY; `lsr keys add` makes one",
                headers={"WWW-Authenticate": "Bearer"},
            )
        if writes and exchange.key.role != "write":
            raise Problem(403, f"the key {exchange.key.name!r} may read, not write")

    def _check_local(self, scope: Scope, headers: Mapping[str, str]) -> None:
        """Without keys, take documents only from programs on this machine itself."""
        client = scope.get("client")
        local = client is not None and is_loopback(client[0])
        if not local or any(name in headers for name in _FORWARDED):
            raise Problem(
                403,
                "without keys, documents are taken from this machine only",
                hint="make a key (lsr keys add NAME --role write) and serve with --keys",
            )
        origin = headers.get("origin")
        if origin is not None and origin not in self.state.options.origins:
            name = _host_name(origin.partition("://")[2])
            if not is_loopback(name) or origin.partition("://")[2] != headers.get("host"):
                raise Problem(403, "pages of another site may not write here")

    def _record(self, scope: Scope, headers: Mapping[str, str], exchange: Exchange) -> None:
        seconds = time.perf_counter() - exchange.started
        status = exchange.status or 500
        self.state.metrics.answered(exchange.route, _known(scope["method"]), status, seconds)
        if scope["path"] in _PROBES:
            return
        client = scope.get("client")
        self.state.access_log.write(
            {
                "id": exchange.request_id,
                "method": scope["method"],
                "path": scope["path"][:200],
                "status": status,
                "ms": round(seconds * 1e3, 3),
                "client": None if client is None else client[0],
                "key": None if exchange.key is None else exchange.key.fingerprint,
                "agent": headers.get("user-agent", "")[:100],
                **({"timings": exchange.timings.rounded()} if exchange.timings.stages else {}),
                **exchange.notes,
            }
        )


async def send_problem(problem: Problem, scope: Scope, send: Send) -> None:
    """Answer a request with a problem."""
    body = to_body(problem, scope["exchange"].request_id, scope["path"])
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    headers += [(name.lower().encode(), value.encode()) for name, value in problem.headers.items()]
    with contextlib.suppress(OSError):  # the client may have gone
        await send({"type": "http.response.start", "status": problem.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def _send_json(body: bytes, send: Send) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _writes(method: str, path: str) -> bool:
    return method not in ("GET", "HEAD", "OPTIONS") and "/documents" in path


def _host_name(host: str) -> str:
    """Return a Host header's value without the port."""
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]


def _known(method: str) -> str:
    return method if method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE") else "other"
