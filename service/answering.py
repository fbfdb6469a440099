"""Answering: a search from the bytes of its request to those of its answer."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic_core import to_json

from lsr.index.hybrid import DEPTH
from lsr.sparse import SparseVector

from .bodies import JSON_BYTES, Receive, need_json, read_body
from .exchange import Exchange
from .lanes import Job
from .schemas import SearchRequest
from .searching import check_search, run_search, text_to_encode
from .shelf import Served
from .state import State, deadline_in


async def answer_search(
    state: State, exchange: Exchange, headers: Mapping[str, str], receive: Receive, name: str
) -> bytes:
    """Return the JSON that answers a search of the index with that name."""
    exchange.route = "search"
    served = state.shelf[name]
    asked = SearchRequest.model_validate_json(await read_json(headers, receive, state))
    return await search_one(state, exchange, served, asked)


async def search_one(
    state: State, exchange: Exchange, served: Served, asked: SearchRequest
) -> bytes:
    """Return the JSON that answers a search whose shape is checked."""
    check_search(asked, state.settings)
    exchange.route = "search"
    exchange.notes["index"] = served.name
    deadline = deadline_of(asked.timeout_ms, state)

    deep = min(DEPTH, state.settings.max_depth)

    def work(vector: SparseVector | None) -> tuple[bytes, str, int]:
        timings, request_id = exchange.timings, exchange.request_id
        found = run_search(served, asked, vector, timings, request_id, deadline, deep)
        return to_json(found), found["path"], len(found["hits"])

    mode = asked.mode or served.default_mode
    job = Job(work, exchange.timings, served, text_to_encode(served, asked), deadline)
    content: bytes
    content, path, hits = await state.lanes.run(job)
    exchange.notes["hits"] = hits
    for stage, spent in exchange.timings.stages.items():
        state.metrics.stage(stage, mode, spent / 1e3)
    state.metrics.searched(served.name, mode, path)
    return content


async def read_json(headers: Mapping[str, str], receive: Receive, state: State) -> bytes:
    """Return the body of a request that is one JSON object."""
    need_json(headers)
    limit = min(JSON_BYTES, state.settings.max_body)
    return await read_body(receive, limit, state.settings.body_seconds)


def deadline_of(asked: int | None, state: State) -> float:
    """Return when a request has to be done: what it asks for, or the service's most."""
    most = state.settings.timeout_ms
    return deadline_in(most if asked is None else min(asked, most))
