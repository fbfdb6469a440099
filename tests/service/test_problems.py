"""Every refusal is a problem document that says what was wrong and what to do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from lsr.service.bodies import read_body
from lsr.service.problems import Problem
from lsr.service.schemas import ProblemDetails

SEARCH = "/v1/indexes/shop/search"
JSON = {"Content-Type": "application/json"}
LINES = {"Content-Type": "application/x-ndjson"}
Clients = Callable[..., AbstractContextManager[TestClient]]


def problem(answer: Any, status: int) -> ProblemDetails:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found = ProblemDetails.model_validate(answer.json())
    assert found.status == status
    assert found.request_id == answer.headers["x-request-id"]
    assert "Traceback" not in answer.text and "/service/" not in answer.text
    return found


@pytest.mark.parametrize(
    ("asked", "where", "words"),
    [
        ({"query": "a", "limt": 3}, ["body", "limt"], "not known"),
        ({"query": "a", "mode": "bm25"}, ["body", "mode"], "no leg bm25; it has sparse"),
        ({"query": "a", "mode": "hybrid"}, ["body", "mode"], "the index has sparse only"),
        ({"query": "a", "limit": "ten"}, ["body", "limit"], "integer"),
        ({"query": "a", "limit": 0}, ["body", "limit"], "greater than"),
        ({"query": "a", "limit": 1001}, ["body", "limit"], "at most 1000"),
        ({"query": "a", "offset": 9995}, ["body", "offset"], "10000 hits deep"),
        ({"query": "a", "depth": 10**5}, ["body", "depth"], "at most"),
        ({}, ["body", "query"], "give one of"),
        ({"query": "a", "like": "d1"}, ["body", "query"], "query and like"),
        ({"query": "x" * 10_001}, ["body", "query"], "10,001 characters"),
        ({"vector": {"indices": [1], "values": [-1.0]}}, None, "greater than 0"),
        ({"vector": {"indices": [1, 1], "values": [1.0, 1.0]}}, None, "twice"),
        ({"vector": {"indices": [1], "values": [1.0, 2.0]}}, None, "2 values"),
        ({"vector": {"nosuchtoken!": 1.0}}, None, "not in the vocabulary"),
        ({"like": "nobody"}, None, "no document"),
    ],
)
def test_what_is_wrong_with_a_search_is_said(
    api: TestClient, asked: dict[str, Any], where: list[str] | None, words: str
) -> None:
    found = problem(api.post(SEARCH, json=asked), 422)
    if where is not None:
        assert where in [one.loc for one in found.errors or ()]
    assert words in json.dumps(found.model_dump())


def test_a_bad_filter_points_at_the_place(api: TestClient) -> None:
    found = problem(api.post(SEARCH, json={"query": "a", "filter": "price >"}), 400)
    assert found.title == "Bad filter"
    found = problem(api.post(SEARCH, json={"query": "a", "filter": "size = 3"}), 400)
    assert "size" in found.detail and "price" in json.dumps(found.model_dump())


def test_unknown_places_and_methods(api: TestClient) -> None:
    problem(api.get("/nothing"), 404)
    problem(api.post("/v1/indexes/nope/search", json={"query": "a"}), 404)
    problem(api.put(SEARCH), 405)
    problem(api.post(SEARCH, content=b"x", headers={"Content-Type": "text/plain"}), 415)


def test_a_failure_nobody_foresaw_shows_nothing_of_the_inside(
    api: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("the password is 1234")

    monkeypatch.setattr("lsr.service.answering.run_search", fail)
    answer = api.post(SEARCH, json={"query": "a"})
    found = problem(answer, 500)
    assert "1234" not in answer.text
    assert found.request_id in caplog.text and "1234" in caplog.text


def test_a_search_out_of_time_is_given_up(api: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    from lsr.index.index import Index

    slow = Index.search

    def search(*given: Any, **more: Any) -> Any:
        time.sleep(0.4)
        return slow(*given, **more)

    monkeypatch.setattr(Index, "search", search)
    started = time.monotonic()
    problem(api.post(SEARCH, json={"query": "a", "timeout_ms": 50}), 408)
    assert time.monotonic() - started < 0.4


def test_more_than_the_limit_at_a_time_get_429(
    shop: Path, client_for: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    with client_for(shop, max_in_flight=1) as client:
        client.app.state.in_flight = 1  # type: ignore[attr-defined]
        answer = client.post(SEARCH, json={"query": "a"})
        problem(answer, 429)
        assert answer.headers["retry-after"] == "1"
        assert client.get("/livez").status_code == 200
        client.app.state.in_flight = 0  # type: ignore[attr-defined]
        assert client.post(SEARCH, json={"query": "a"}).status_code == 200


HOSTILE_BODIES = [
    b"",
    b"{",
    b"[1,2",
    b"\xff\xfe\x00\x01",
    b'{"query": "\xc3\x28"}',
    b'{"query": "\\ud800"}',
    b'{"query": NaN}',
    b'{"recall": Infinity, "query": "a"}',
    b'{"query": "a", "recall": NaN}',
    b'{"vector": {"indices": [1], "values": [NaN]}}',
    b'{"vector": {"indices": [1], "values": [1e400]}}',
    b'{"vector": {"indices": [99999999999999999999], "values": [1]}}',
    b'{"vector": {"indices": [-1], "values": [1]}}',
    b"[" * 100_000,
    b'{"filter": ' + b'{"not": ' * 5_000 + b"1" + b"}" * 5_001,
    b'{"query": "a", "filter": {"and": [' + b'{"price": 1},' * 50_000 + b"1]}}",
    b'{"query": "a", "limit": 1e999}',
    b'{"query": "a", "limit": true}',
    b'{"query": "a", "fields": ["' + b"x" * 500_000 + b'"]} trailing',
    b'{"query": null}',
    b"null",
    b'"text"',
    bytes(range(256)) * 100,
    b'{"query": "a", "query\\u0000": 1}',
    b'{"' + b"k" * 900_000 + b'": 1}',
]


@pytest.mark.parametrize("body", HOSTILE_BODIES, ids=lambda body: repr(body[:30]))
@pytest.mark.parametrize(
    "path", [SEARCH, f"{SEARCH}:batch", "/v1/indexes/shop/explain", "/v1/encode"]
)
def test_hostile_bodies_are_refused(api: TestClient, path: str, body: bytes) -> None:
    answer = api.post(path, content=body, headers=JSON)
    assert 400 <= answer.status_code < 500, answer.text
    problem(answer, answer.status_code)
    assert len(answer.content) < 20_000


def test_a_body_above_the_limit_is_refused_before_it_is_read(api: TestClient) -> None:
    problem(api.post(SEARCH, content=b'"' + b"x" * 1_100_000 + b'"', headers=JSON), 413)
    problem(api.post("/v1/indexes/shop/documents", content=b"x" * 12_000_000, headers=LINES), 413)
    asked = 0

    async def endless() -> Any:
        nonlocal asked
        asked += 1
        return {"type": "http.request", "body": b"x" * 100_000, "more_body": True}

    with pytest.raises(Problem, match="larger than 1,000,000 bytes"):
        asyncio.run(read_body(endless, 1_000_000, 10.0))
    assert asked == 11


@pytest.mark.parametrize(
    "path",
    [
        "/v1/indexes/../../etc/passwd",
        "/v1/indexes/..%2f..%2fetc/search",
        "/v1/indexes/%2e%2e/search",
        "/v1/indexes/shop%00/search",
        "/..%2f..%2fetc%2fpasswd",
        "/app.js%00.html",
        "/web/app.js",
        "//etc/passwd",
        "/v1/indexes/C:%5cwindows/search",
    ],
)
def test_no_path_leads_out(api: TestClient, path: str) -> None:
    answer = api.get(path, params={"query": "a"})
    assert answer.status_code in (404, 421), answer.text
    assert "root:" not in answer.text


def test_ids_like_paths_are_ids(api: TestClient) -> None:
    problem(api.get("/v1/indexes/shop/documents/..%2f..%2fmanifest.json"), 404)


@pytest.mark.parametrize(
    "line",
    [
        b'{"_id": "a"', b"[]", b"null", b'"x"', b'{"_id": "\\u0000", "text": "x"}',
        b'{"_id": "' + b"x" * 600 + b'", "text": "x"}', b'{"_id": "a", "text": 1}',
        b'{"_id": "a", "text": "x", "price": NaN}', b'{"_id": "a", "text": "x", "price": "dear"}',
        b'{"_id": "a", "text": "\\udc00"}', b"\xff\xff", b"[" * 50_000, b"1" * 5000,
        b'{"_id": "a", "text": "x", "_vector": {"1": -1}}',
        b'{"_id": "a", "text": "x", "_vector": {"99999999": 1}}',
        b'{"_id": "a", "text": "x", "_vector": "y"}',
        b'{"_id": "a", "text": "x", "deep": {"er": {"and": 1}}}',
        b'{"_id": "a", "text": "' + b"x" * 1_000_000 + b'"}',
        b'{"_id": "a", "text": "x", "_text": "y"}',
    ],
    ids=lambda line: repr(line[:40]),
)  # fmt: skip
def test_hostile_lines_are_rejected_one_by_one(api: TestClient, line: bytes) -> None:
    answer = api.post("/v1/indexes/shop/documents", content=line + b"\n", headers=LINES)
    assert answer.status_code == 200, answer.text
    assert answer.json()["accepted"] == 0 and answer.json()["rejected"] == 1
    assert len(answer.json()["items"][0]["error"]) > 5


def test_too_many_lines_are_refused(api: TestClient) -> None:
    answer = api.post(
        "/v1/indexes/shop/documents", content=b'{"_id":"a"}\n' * 10_001, headers=LINES
    )
    problem(answer, 413)
    problem(api.post("/v1/indexes/shop/documents", content=b"\n\n", headers=LINES), 422)
