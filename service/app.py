"""The app: the routes and what surrounds them, for one process."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from lsr.errors import LsrError

from . import routes_about, routes_documents, routes_search
from .front import Front
from .openapi import make_openapi
from .options import Options
from .page import add_page
from .problems import MEDIA_TYPE, Problem, invalid, problem_of, to_body
from .state import State

log = logging.getLogger(__name__)

#: Threads give the interpreter up after this many seconds, so that probes are answered at once.
_SWITCH_SECONDS = 0.001


def make_app(
    options: Options,
    *,
    on_ready: Callable[[], None] | None = None,
    on_failed: Callable[[Exception], None] | None = None,
) -> Any:
    """Return the ASGI app of one process.

    It answers probes from its start and opens the indexes meanwhile; `on_ready` is told when
    that is done, `on_failed` why it could not be.
    """
    state = State(options)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        state.start_telling()
        opening = asyncio.create_task(_open(app, state, on_ready, on_failed))
        try:
            yield
        finally:
            await opening
            await state.close()

    sys.setswitchinterval(_SWITCH_SECONDS)
    app = FastAPI(
        title="lsr", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None,
        redirect_slashes=False,
    )  # fmt: skip
    app.state.lsr = state
    app.include_router(routes_search.router)
    app.include_router(routes_documents.router)
    app.include_router(routes_about.router)
    _add_openapi(app, options)
    if options.settings.page:
        add_page(app)
    for kind in (LsrError, ValidationError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _on_error)
    front: Any = Front(app, state)
    if options.origins:
        front = CORSMiddleware(
            front,
            allow_origins=sorted(options.origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key", "X-Request-Id"],
            expose_headers=["X-Request-Id", "Retry-After"],
        )
    return front


async def _open(
    app: FastAPI,
    state: State,
    on_ready: Callable[[], None] | None,
    on_failed: Callable[[Exception], None] | None,
) -> None:
    try:
        await asyncio.to_thread(app.openapi)
        await asyncio.to_thread(state.open)
    except Exception as error:
        if on_failed is None:
            raise
        on_failed(error)
        return
    state.start_refreshing()
    if on_ready is not None:
        on_ready()


def _add_openapi(app: FastAPI, options: Options) -> None:
    found: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        if not found:
            found.update(make_openapi(app, options.settings))
        return found

    async def document(_: Request) -> Response:
        from pydantic_core import to_json

        return Response(to_json(openapi()), media_type="application/json")

    app.openapi = openapi  # type: ignore[method-assign]
    app.add_route("/openapi.json", document, include_in_schema=False)


async def _on_error(request: Request, error: Exception) -> Response:
    """Answer with the problem that an error is."""
    if isinstance(error, RequestValidationError):
        problem = invalid(error.errors(), within="query")
    elif isinstance(error, HTTPException):
        problem = _http_problem(request, error)
    else:
        problem = problem_of(error)
    exchange = request.scope["exchange"]
    body = to_body(problem, exchange.request_id, request.url.path)
    return Response(body, problem.status, headers=problem.headers, media_type=MEDIA_TYPE)


def _http_problem(request: Request, error: HTTPException) -> Problem:
    details = {
        404: "there is nothing at this address",
        405: f"{request.method[:20]} is not possible here",
    }
    return Problem(
        error.status_code,
        details.get(error.status_code, str(error.detail)),
        hint="GET /openapi.json describes the service",
        headers=dict(error.headers or {}),
    )
