"""Bodies: a request's content, read no further than its limits and no longer than its time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from .problems import Problem

#: Requests that are one JSON object are never larger than this.
JSON_BYTES = 1_000_000

#: The content types of documents, one JSON object on each line.
NDJSON = frozenset(
    {"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"}
)

_CLOSE = {"Connection": "close"}

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class Gone(Exception):
    """The client went away before it had sent its request."""


async def read_body(receive: Receive, limit: int, seconds: float) -> bytes:
    """Return the whole body of a request.

    Raises Problem 413 when it is larger than `limit` bytes, 408 when it takes longer than
    `seconds`, and Gone when the client leaves.
    """
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Gone
                chunk = message.get("body", b"")
                size += len(chunk)
                if size > limit:
                    raise too_large(limit)
                chunks.append(chunk)
                if not message.get("more_body", False):
                    return b"".join(chunks)
    except TimeoutError:
        raise Problem(
            408, f"the request took longer than {seconds:g} seconds to arrive", headers=_CLOSE
        ) from None


def too_large(limit: int) -> Problem:
    """Return the problem of a body above the limit."""
    return Problem(
        413,
        f"the request is larger than {limit:,} bytes",
        hint="send it in parts",
        headers=_CLOSE,
    )


def media_type(headers: Mapping[str, str]) -> str:
    """Return the content type of a request without its parameters."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def need_json(headers: Mapping[str, str]) -> None:
    """Raise Problem 415 unless a request says that its body is JSON.

    A page of another site can make a browser send text or a form to us, but not JSON.
    """
    _need(headers, frozenset({"application/json"}), "application/json")


def need_lines(headers: Mapping[str, str]) -> None:
    """Raise Problem 415 unless a request says that its body is lines of JSON."""
    _need(headers, NDJSON, "application/x-ndjson")


def _need(headers: Mapping[str, str], wanted: frozenset[str], example: str) -> None:
    found = media_type(headers)
    if found not in wanted:
        raise Problem(
            415,
            f"the content type is {found[:100] or 'not given'}; {example} is expected",
            hint=f"send the header Content-Type: {example}",
            headers=_CLOSE,
        )
