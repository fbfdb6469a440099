"""Routes about the service: its indexes, its health, its metrics, its page."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response
from pydantic_core import to_json

from lsr import __version__

from .metrics import CONTENT_TYPE
from .openapi import answers
from .schemas import Health, IndexDetails, IndexList, VersionInfo
from .shelf import Served
from .state import State

router = APIRouter()
JSON = "application/json"


@router.get("/livez", tags=["health"], responses=answers(Health))
@router.get("/healthz", tags=["health"], responses=answers(Health))
async def livez() -> Response:
    """Say that the process answers."""
    return Response(b'{"status":"ok"}', media_type=JSON)


@router.get("/readyz", tags=["health"], responses=answers(Health, 503))
async def readyz(request: Request) -> Response:
    """Say whether the indexes are open and the kernels warm: 503 until they are."""
    state: State = request.app.state.lsr
    if state.is_ready:
        return Response(b'{"status":"ok"}', media_type=JSON)
    word = "stopping" if state.stopping else "starting"
    return Response(to_json({"status": word}), 503, media_type=JSON)


@router.get("/version", tags=["health"], responses=answers(VersionInfo))
async def version() -> Response:
    """Say which version of lsr this is."""
    return Response(to_json({"version": __version__}), media_type=JSON)


@router.get(
    "/metrics",
    tags=["health"],
    responses={200: {"description": "Metrics", "content": {"text/plain": {}}}, **answers(None)},
)
async def metrics(request: Request) -> Response:
    """Return the metrics of all processes, in Prometheus' text format."""
    state: State = request.app.state.lsr
    request.scope["exchange"].route = "/metrics"
    state.tell()
    page = await asyncio.get_running_loop().run_in_executor(state.line_threads, state.metrics.page)
    return Response(page, headers={"content-type": CONTENT_TYPE})


@router.get("/v1/indexes", tags=["indexes"], responses=answers(IndexList))
async def list_indexes(request: Request) -> Response:
    """List the indexes that are served."""
    state: State = request.app.state.lsr
    request.scope["exchange"].route = "indexes"
    found = [_summary(served) for served in state.shelf]
    return Response(to_json({"indexes": found}), media_type=JSON)


@router.get("/v1/indexes/{name}", tags=["indexes"], responses=answers(IndexDetails))
async def describe_index(request: Request, name: str) -> Response:
    """Say what an index holds, and how much."""
    state: State = request.app.state.lsr
    served = state.shelf[name]
    request.scope["exchange"].route = "index"

    def describe() -> bytes:
        info = served.index.info()
        return to_json(
            {
                **_summary(served),
                "n_rows": info.n_rows,
                "n_deleted": info.n_deleted,
                "n_segments": info.n_segments,
                "postings": info.postings,
                "bytes": info.bytes,
                "fields": dict(info.fields),
                "passages": served.index.settings.passages is not None,
                "calibrated": served.index.is_calibrated,
                "queued": len(state.queue(served).waiting()),
                "writable": not state.settings.read_only,
            }
        )

    content = await asyncio.get_running_loop().run_in_executor(state.line_threads, describe)
    return Response(content, media_type=JSON)


def _summary(served: Served) -> dict[str, object]:
    return {
        "name": served.name,
        "n_documents": len(served.index),
        "legs": list(served.index.legs),
        "generation": served.index.generation,
        "encoder": served.encoder_shown,
    }
