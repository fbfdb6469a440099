"""Routes for documents: many at once as lines, and one by its id."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict
from pydantic_core import to_json

from .bodies import need_lines, read_body
from .documents import check_lines
from .exchange import Exchange
from .openapi import answers, lines_body
from .problems import Problem
from .queue import Line, Outcome, Write
from .schemas import Commit, DocumentFound, WriteResponse
from .searching import shown_fields
from .shelf import Served
from .state import MOST_WRITES, State

router = APIRouter(tags=["documents"])
JSON = "application/json"

#: How often a request that waits looks whether its commit is there, in seconds.
_LOOK = (0.005, 0.01, 0.02, 0.05)


class WriteParams(BaseModel):
    """How lines are written.

    `commit`: `auto` answers when they are safe on the disk and leaves the commit for a little
    later, `wait` answers after that commit, `force` commits at once and answers after it.
    """

    model_config = ConfigDict(extra="forbid")

    action: Literal["upsert", "create", "delete"] = "upsert"
    commit: Commit = "auto"


class DeleteParams(BaseModel):
    """How a document is deleted."""

    model_config = ConfigDict(extra="forbid")

    commit: Commit = "auto"


@router.post(
    "/v1/indexes/{name}/documents",
    responses=answers(WriteResponse, 202, 413, 415, 423, 507),
    openapi_extra=lines_body(),
)
async def write(request: Request, name: str, params: Annotated[WriteParams, Query()]) -> Response:
    """Write documents: one JSON object on each line, with a status for every line.

    A line has `_id`, `title`, `text` and metadata, and may bring its vector in `_vector`; a line
    to delete has `_id`. A line that is rejected does not keep the others out. Whatever is
    acknowledged survives a crash from then on. 200 when it is searchable, 202 while it is queued.
    """
    state: State = request.app.state.lsr
    served = state.shelf[name]
    need_lines(request.headers)
    exchange = _begin(request, "documents", served)
    if state.writes >= MOST_WRITES:
        state.metrics.refused.labels("writes").inc()
        raise Problem(
            429,
            f"{state.writes} requests with documents are being read already",
            hint="send them one after another",
            headers={"Retry-After": "1"},
        )
    state.writes += 1
    started = time.perf_counter()
    try:
        settings = state.settings
        body = await read_body(request.receive, settings.max_body, settings.body_seconds)
        received = time.perf_counter()
        exchange.timings.add("receive", received - started)
        loop = asyncio.get_running_loop()
        taken = await loop.run_in_executor(
            state.line_threads, check_lines, served, body, params.action, settings
        )
        exchange.timings.add("check", time.perf_counter() - received)
    finally:
        state.writes -= 1
    write = Write(params.action, taken.lines, params.commit != "auto", params.commit == "force")
    return await _carry_out(state, served, exchange, write, taken.items)


@router.get("/v1/indexes/{name}/documents/{id:path}", responses=answers(DocumentFound))
async def get_document(request: Request, name: str, id: str) -> Response:
    """Return a document by its id."""
    state: State = request.app.state.lsr
    served = state.shelf[name]
    _begin(request, "document", served)
    found = served.index.get(id)
    if found is None:
        raise _absent(served, id)
    content = {
        "id": found.id,
        "title": found.title,
        "text": found.text,
        "fields": shown_fields(found.fields),
        "generation": served.index.generation,
    }
    return Response(to_json(content), media_type=JSON)


@router.delete(
    "/v1/indexes/{name}/documents/{id:path}", responses=answers(WriteResponse, 202, 423, 507)
)
async def delete_document(
    request: Request, name: str, id: str, params: Annotated[DeleteParams, Query()]
) -> Response:
    """Delete a document by its id."""
    state: State = request.app.state.lsr
    served = state.shelf[name]
    exchange = _begin(request, "document", served)
    if id not in served.index:
        await state.refresh(served)
        if id not in served.index:
            raise _absent(served, id)
    write = Write(
        "delete",
        [Line(1, to_json({"_id": id}))],
        params.commit != "auto",
        params.commit == "force",
    )
    items = [{"line": 1, "id": id, "status": "queued"}]
    return await _carry_out(state, served, exchange, write, items)


async def _carry_out(
    state: State, served: Served, exchange: Exchange, write: Write, items: list[dict[str, Any]]
) -> Response:
    """Queue a write, wait for its commit if that was asked, and say what became of each line."""
    generation, status = None, 200
    if write.lines:
        started = time.perf_counter()
        queue, loop = state.queue(served), asyncio.get_running_loop()
        number = await loop.run_in_executor(state.line_threads, queue.append, write)
        queued = time.perf_counter()
        exchange.timings.add("queue", queued - started)
        outcome = await _outcome(state, served, number) if write.waits else None
        exchange.timings.add("commit", time.perf_counter() - queued)
        status = 202
        if outcome is not None:
            status, generation = 200, outcome.generation
            became = {line: (found, error) for line, _, found, error in outcome.items}
            for item in items:
                if item["status"] == "queued":
                    item["status"], item["error"] = became[item["line"]]
            await state.refresh(served)
    for item in items:
        state.metrics.written.labels(item["status"]).inc()
    rejected = sum(item["status"] == "rejected" for item in items)
    exchange.notes.update(accepted=len(items) - rejected, rejected=rejected)
    content = {
        "accepted": len(items) - rejected,
        "rejected": rejected,
        "generation": generation,
        "items": items,
    }
    return Response(to_json(content), status_code=status, media_type=JSON)


async def _outcome(state: State, served: Served, number: int) -> Outcome | None:
    """Return what became of a request, None when it still waits after the longest wait."""
    queue, loop = state.queue(served), asyncio.get_running_loop()
    due = time.monotonic() + state.settings.wait_seconds
    turn = 0
    while time.monotonic() < due and not state.stopping:
        found = await loop.run_in_executor(state.line_threads, queue.outcome, number)
        if found is not None:
            return found
        await asyncio.sleep(_LOOK[min(turn // 10, len(_LOOK) - 1)])
        turn += 1
    return None


def _begin(request: Request, route: str, served: Served) -> Exchange:
    exchange: Exchange = request.scope["exchange"]
    exchange.route = route
    exchange.notes["index"] = served.name
    return exchange


def _absent(served: Served, id: str) -> Problem:
    return Problem(404, f"index {served.name!r} has no document {id[:100]!r}")
