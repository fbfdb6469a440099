"""Routes that search: a page of hits, many searches, why a document matched, vectors of texts."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic_core import to_json

from lsr.index.hybrid import DEPTH

from .answering import answer_search, deadline_of, read_json, search_one
from .exchange import Exchange
from .lanes import Job
from .openapi import answers, body_of
from .problems import Problem
from .schemas import (
    BatchRequest,
    BatchResponse,
    EncodeRequest,
    EncodeResponse,
    ExplainRequest,
    ExplainResponse,
    SearchRequest,
    SearchResponse,
)
from .search_params import SearchParams
from .searching import (
    Timings,
    check_explain,
    check_search,
    out_of_time,
    run_explain,
    run_search,
    text_to_encode,
)
from .shelf import Served
from .state import State

router = APIRouter(tags=["search"])
JSON = "application/json"


@router.post(
    "/v1/indexes/{name}/search",
    responses=answers(SearchResponse),
    openapi_extra=body_of(SearchRequest),
)
async def search(request: Request, name: str) -> Response:
    """Find the documents of an index that match best."""
    content = await answer_search(
        request.app.state.lsr, request.scope["exchange"], request.headers, request.receive, name
    )
    return Response(content, media_type=JSON)


@router.get("/v1/indexes/{name}/search", responses=answers(SearchResponse))
async def search_by_url(
    request: Request, name: str, params: Annotated[SearchParams, Query()]
) -> Response:
    """Find the documents of an index that match best: the same, for links and curl."""
    state: State = request.app.state.lsr
    served = state.shelf[name]
    asked = params.request()
    content = await search_one(state, request.scope["exchange"], served, asked)
    return Response(content, media_type=JSON)


@router.post(
    "/v1/indexes/{name}/search:batch",
    responses=answers(BatchResponse),
    openapi_extra=body_of(BatchRequest),
)
async def search_batch(request: Request, name: str) -> Response:
    """Answer several searches. One that is wrong fails them all, before any is begun."""
    state: State = request.app.state.lsr
    served = state.shelf[name]
    asked = BatchRequest.model_validate_json(await _json_body(request, state))
    _check_count("searches", len(asked.searches), state)
    for one in asked.searches:
        check_search(one, state.settings)
    exchange = _begin(request, "search:batch", served)
    deadline = deadline_of(asked.timeout_ms, state)
    texts = [text for one in asked.searches if (text := text_to_encode(served, one))]
    deep = min(DEPTH, state.settings.max_depth)

    def work(_: Any) -> bytes:
        started = time.perf_counter()
        known = dict(zip(texts, served.encode(texts), strict=True)) if texts else {}
        results = []
        for at, one in enumerate(asked.searches):
            if time.monotonic() > deadline:
                raise out_of_time()
            vector = known.get(one.query or "") if text_to_encode(served, one) else None
            query_id = f"{exchange.request_id}-{at}"
            results.append(run_search(served, one, vector, Timings(), query_id, deadline, deep))
        took = (time.perf_counter() - started) * 1e3
        return to_json({"took_ms": round(took, 3), "results": results})

    content = await state.lanes.run(Job(work, exchange.timings, deadline=deadline))
    exchange.notes["searches"] = len(asked.searches)
    return Response(content, media_type=JSON)


@router.post(
    "/v1/indexes/{name}/explain",
    responses=answers(ExplainResponse),
    openapi_extra=body_of(ExplainRequest),
)
async def explain(request: Request, name: str) -> Response:
    """Say why a document has its score: the terms it shares with the query."""
    state: State = request.app.state.lsr
    served = state.shelf[name]
    asked = ExplainRequest.model_validate_json(await _json_body(request, state))
    check_explain(asked, state.settings)
    exchange = _begin(request, "explain", served)
    deep = min(DEPTH, state.settings.max_depth)
    job = Job(
        lambda vector: to_json(run_explain(served, asked, vector, deep)),
        exchange.timings,
        served,
        text_to_encode(served, asked),
        deadline_of(None, state),
    )
    return Response(await state.lanes.run(job), media_type=JSON)


@router.post("/v1/encode", responses=answers(EncodeResponse), openapi_extra=body_of(EncodeRequest))
async def encode(request: Request) -> Response:
    """Encode texts with the encoder of an index, as queries or as documents."""
    state: State = request.app.state.lsr
    asked = EncodeRequest.model_validate_json(await _json_body(request, state))
    served = state.shelf.only() if asked.index is None else state.shelf[asked.index]
    _check_count("texts", len(asked.texts), state)
    if served.encoder_name is None:
        raise Problem(422, f"index {served.name!r} was made from vectors and has no encoder")
    exchange = _begin(request, "encode", served)

    def work(_: Any) -> bytes:
        encoder = served.index.encoder
        if asked.side == "query":
            vectors = encoder.encode_queries(asked.texts, threads=1)
        else:
            encoder = served.document_encoder()
            vectors = encoder.encode_documents(asked.texts, threads=1)
        return to_json(
            {
                "model": served.encoder_shown,
                "fingerprint": encoder.fingerprint,
                "side": asked.side,
                "vectors": [
                    {
                        "indices": one.terms.tolist(),
                        "values": one.weights.tolist(),
                        "tokens": encoder.tokens(one.terms.tolist()),
                    }
                    for one in vectors
                ],
            }
        )

    job = Job(work, exchange.timings, deadline=deadline_of(None, state))
    return Response(await state.lanes.run(job), media_type=JSON)


async def _json_body(request: Request, state: State) -> bytes:
    return await read_json(request.headers, request.receive, state)


def _begin(request: Request, route: str, served: Served) -> Exchange:
    exchange: Exchange = request.scope["exchange"]
    exchange.route = route
    exchange.notes["index"] = served.name
    return exchange


def _check_count(name: str, count: int, state: State) -> None:
    if count > state.settings.max_batch:
        message = f"there are {count} {name}; at most {state.settings.max_batch} are taken"
        raise Problem(422, message, errors=[{"loc": ["body", name], "msg": message}])
