"""The client says what the service says, tries again where that helps, and writes in bulk."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import httpx2
import pytest
from serving import Running

from lsr.errors import ConfigError, DataError
from lsr.service import client as client_module
from lsr.service.client import Client, ServiceError, parse_address

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

FOUND = {
    "query_id": "q", "took_ms": 1.0, "timings": {}, "generation": 1, "path": "exact",
    "total": {"value": 0, "relation": "eq"}, "params": {}, "hits": [], "warnings": [],
    "something_newer": True,
}  # fmt: skip
BUSY = {
    "type": "about:blank", "title": "Too Many Requests", "status": 429, "detail": "too busy",
    "instance": "/", "request_id": "abc", "hint": "wait",
}  # fmt: skip


def client_of(answer: Callable[[httpx2.Request], httpx2.Response], **more: int) -> Client:
    return Client("http://127.0.0.1:1", transport=httpx2.MockTransport(answer), **more)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr(client_module.time, "sleep", slept.append)
    return slept


def test_it_tries_again_when_the_service_is_busy(pauses: list[float]) -> None:
    answers = [
        httpx2.Response(429, json=BUSY, headers={"Retry-After": "2"}),
        httpx2.Response(503, json=BUSY),
        httpx2.Response(200, json=FOUND),
    ]
    with client_of(lambda request: answers.pop(0)) as client:
        assert client.search("shop", "x").hits == []
    assert len(pauses) == 2 and 1.5 < pauses[0] < 2.5 and pauses[1] < 1


def test_it_gives_up_in_the_end_with_the_words_of_the_service(pauses: list[float]) -> None:
    with (
        client_of(lambda request: httpx2.Response(429, json=BUSY), retries=2) as client,
        pytest.raises(ServiceError, match="too busy") as refused,
    ):
        client.search("shop", "x")
    error = refused.value
    assert (error.status, error.request_id, error.hint) == (429, "abc", "wait")
    assert len(pauses) == 2


def test_it_does_not_repeat_what_was_refused_for_good(pauses: list[float]) -> None:
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(502, text="<html>no problem document</html>")

    with client_of(answer) as client, pytest.raises(ServiceError, match="502"):
        client.search("shop", "x")
    assert len(seen) == 1 and pauses == []


def test_a_service_that_is_not_there_is_named() -> None:
    with Client("http://127.0.0.1:9") as client, pytest.raises(ServiceError) as refused:
        client.indexes()
    assert "127.0.0.1:9 does not answer" in refused.value.message and refused.value.hint


def test_bulk_cuts_its_requests_and_numbers_lines_through() -> None:
    sizes: list[int] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        lines = request.content.splitlines()
        sizes.append(len(lines))
        items = [
            {"line": at, "id": None, "status": "rejected", "error": "odd"}
            for at, line in enumerate(lines, 1)
            if json.loads(line)["_id"].endswith("7")
        ]
        return httpx2.Response(
            202, json={"accepted": 0, "rejected": 0, "generation": None, "items": items}
        )

    documents = ({"_id": str(number), "text": "x"} for number in range(1, 2501))
    with client_of(answer) as client:
        rejected = [item.line for item in client.bulk("shop", documents)]
    assert sizes == [1000, 1000, 500]
    assert rejected == [number for number in range(1, 2501) if number % 10 == 7]


def test_a_document_that_is_no_json_is_an_error_before_anything_is_sent() -> None:
    with client_of(lambda request: httpx2.Response(500)) as client:
        for bad in ({"_id": "a", "x": float("nan")}, {"_id": "a", "x": object()}):
            with pytest.raises(DataError, match="'a' is not JSON"):
                client.write("shop", [bad])


@pytest.mark.parametrize("url", ["http://host", "host/shop", "ftp://host/shop", "http:///shop"])
def test_a_url_without_an_index_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="names no index"):
        parse_address(url)


def test_a_url_may_have_a_prefix() -> None:
    assert parse_address("https://a.example/tools/shop") == ("https://a.example/tools", "shop")
    assert parse_address("http://a:1/v1/indexes/shop") == ("http://a:1", "shop")


def lsr(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lsr", *arguments], capture_output=True, text=True, check=False
    )


def test_lsr_search_asks_a_service(service: Running) -> None:
    shown = lsr(
        "search", f"{service.url}/shop", "warm red jacket", "-k", "3", "--filter", "price < 30"
    )
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.count("matched:") == 3 and "Jacket" in shown.stdout
    found = json.loads(lsr("search", f"{service.url}/shop", "jacket", "-k", "2", "--json").stdout)
    assert len(found["hits"]) == 2 and found["total"]["relation"] == "gte"


def test_lsr_search_says_what_is_wrong_with_a_service(service: Running) -> None:
    for arguments, words in (
        ([f"{service.url}/nope", "x"], "there is no index 'nope'"),
        (["http://127.0.0.1:9/shop", "x"], "does not answer"),
        ([service.url, "x"], "names no index"),
    ):
        done = lsr("search", *arguments)
        assert done.returncode != 0 and words in done.stderr and "Traceback" not in done.stderr
