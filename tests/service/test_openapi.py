"""The OpenAPI document and the service agree: what schemathesis makes up, it answers as written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.generation import GenerationMode
from serving import Running
from starlette.testclient import TestClient

from lsr.config import ServeSettings
from lsr.service.app import make_app
from lsr.service.options import Options

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

EXAMPLES = 15

#: A filter is a language and a token is of a vocabulary: a schema cannot say which are good.
REFUSED_AS_WELL = ["2xx", "400", "401", "403", "404", "408", "409", "413", "422"]


@schemathesis.serializer("application/x-ndjson")
def as_lines(context: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


@pytest.fixture(scope="module")
def schema(api: TestClient) -> Any:
    found = schemathesis.openapi.from_dict(api.get("/openapi.json").json())
    found.config.checks.positive_data_acceptance.expected_statuses = REFUSED_AS_WELL
    return found


MODES = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: str(mode.value))
def test_every_operation_answers_as_documented(
    schema: Any, service: Running, mode: GenerationMode
) -> None:
    """Default checks: no 5xx, no undocumented status, type or shape, bad requests refused."""
    count = 0
    for result in schema.get_all_operations():
        operation = result.ok()

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def answers(case: Any) -> None:
            if "name" in case.path_parameters:
                case.path_parameters["name"] = "shop"
            case.call_and_validate(base_url=service.url)

        try:
            answers()
        except Unsatisfiable:  # nothing about this operation can be wrong
            continue
        count += 1
    assert count > (10 if mode is GenerationMode.POSITIVE else 5)


def test_the_limits_in_force_are_in_the_document(shop: Path) -> None:
    options = Options((("shop", shop),), ServeSettings(workers=1, threads=1, max_limit=77))
    document = make_app(options).app.openapi()
    properties = document["components"]["schemas"]["SearchRequest"]["properties"]
    assert properties["limit"]["maximum"] == 77
    assert properties["offset"]["maximum"] == 10_000 - 77
