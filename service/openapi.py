"""OpenAPI: what the document at /openapi.json says beyond what FastAPI sees by itself."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from lsr import __version__
from lsr.config import ServeSettings

from . import schemas
from .problems import MEDIA_TYPE

_REF = "#/components/schemas/{model}"
#: Statuses that any request may get: see `service/front.py`.
_COMMON = (400, 401, 403, 404, 408, 413, 415, 421, 422, 429, 500, 503)
_MODELS = (
    schemas.SearchRequest,
    schemas.BatchRequest,
    schemas.ExplainRequest,
    schemas.EncodeRequest,
)
_DESCRIPTION = (
    "Search over learned sparse vectors. Errors are problem documents (RFC 9457) with a request "
    "id. Unknown keys are refused."
)


def answers(model: type[BaseModel] | None, *more: int) -> dict[int | str, dict[str, Any]]:
    """Return the answers of an operation: its own, and the problems that it may have."""
    problem = {"content": {MEDIA_TYPE: {"schema": {"$ref": _ref("ProblemDetails")}}}}
    found: dict[int | str, dict[str, Any]] = {
        status: {"description": "Problem", **problem} for status in (*_COMMON, *more)
    }
    if model is not None:
        found[200] = {"description": "Answer", "model": model}
        for status in more:
            if status < 300 or model is schemas.Health:
                found[status] = {"description": "Answer", "model": model}
    return found


def body_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return what an operation that reads its body itself says of it."""
    schema = {"$ref": _ref(model.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def lines_body() -> dict[str, Any]:
    """Return what the operation that takes lines says of its body."""
    example = '{"_id": "1", "title": "Rain jacket", "text": "Light and waterproof.", "price": 80}\n'
    # Lines are no one JSON value: what is on them cannot be said in a schema.
    schema = {"description": "One JSON object on each line.", "examples": [example]}
    content = {"application/x-ndjson": {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}}


def make_openapi(app: FastAPI, settings: ServeSettings) -> dict[str, Any]:
    """Return the document, with the limits that are in force."""
    document = get_openapi(
        title="lsr", version=__version__, description=_DESCRIPTION, routes=app.routes
    )
    _, definitions = models_json_schema(
        [(model, "validation") for model in (*_MODELS, schemas.ProblemDetails)],
        ref_template=_REF,
    )
    found = document.setdefault("components", {}).setdefault("schemas", {})
    found.update(definitions["$defs"])
    for unused in ("HTTPValidationError", "ValidationError"):
        found.pop(unused, None)
    _limit(document, settings)
    document["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    if settings.keys is not None:
        document["security"] = [{"bearer": []}, {"header": []}]
    return document


def _ref(name: str) -> str:
    return _REF.format(model=name)


def _limit(document: dict[str, Any], settings: ServeSettings) -> None:
    """Write the limits in force over those of the models, which are the largest possible."""
    most = {
        "limit": settings.max_limit,
        "depth": settings.max_depth,
        "offset": max(0, settings.max_depth - settings.max_limit),
    }
    found = document["components"]["schemas"]
    for name, value in most.items():
        _set_most(found["SearchRequest"]["properties"][name], value)
    for parameter in document["paths"]["/v1/indexes/{name}/search"]["get"]["parameters"]:
        if parameter["name"] in most:
            _set_most(parameter["schema"], most[parameter["name"]])
    text = {"maxLength": settings.max_query}
    for owner in ("SearchRequest", "ExplainRequest"):
        for one in found[owner]["properties"]["query"].get("anyOf", ()):
            if one.get("type") == "string":
                one.update(text)
    for owner, name in (("BatchRequest", "searches"), ("EncodeRequest", "texts")):
        found[owner]["properties"][name]["maxItems"] = settings.max_batch


def _set_most(schema: dict[str, Any], value: int) -> None:
    for one in schema.get("anyOf", [schema]):
        if one.get("type") == "integer":
            one["maximum"] = value
