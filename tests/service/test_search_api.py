"""Searching over HTTP gives what the index gives, in the documented shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from lsr.index.index import Index
from lsr.service.schemas import BatchResponse, EncodeResponse, ExplainResponse, SearchResponse

SEARCH = "/v1/indexes/shop/search"


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [hit["id"] for hit in answer.json()["hits"]]


def test_the_hits_are_those_of_the_index(api: TestClient, shop: Path) -> None:
    wanted = Index.open(shop).search("warm jacket", k=7)
    found = SearchResponse.model_validate(
        api.post(SEARCH, json={"query": "warm jacket", "limit": 7}).json()
    )
    assert [hit.id for hit in found.hits] == wanted.ids
    assert [hit.score for hit in found.hits] == wanted.scores
    assert [hit.rank for hit in found.hits] == list(range(1, 8))
    first = found.hits[0]
    assert first.scores == {"sparse": first.score} and first.ranks == {"sparse": 1}
    assert first.title == wanted[0].title and first.fields == dict(wanted[0].fields)
    assert found.path == "exact" and found.generation == 1
    assert {"queue", "encode", "sparse", "fetch"} >= set(found.timings)


def test_a_search_by_url_is_the_same(api: TestClient) -> None:
    asked = {"query": "blue jacket", "limit": 5, "filter": "price >= 20", "highlight": True}
    by_url = api.get(SEARCH, params=asked).json()
    by_body = api.post(SEARCH, json=asked).json()
    assert by_url["hits"] == by_body["hits"] and by_url["params"] == by_body["params"]


def test_pages_of_one_depth_fit_together(api: TestClient) -> None:
    def page(offset: int, limit: int) -> list[str]:
        asked = {"query": "jacket", "offset": offset, "limit": limit, "depth": 30}
        return ids(api.post(SEARCH, json=asked))

    whole = page(0, 30)
    assert len(whole) == 30
    assert page(0, 12) + page(12, 12) + page(24, 12) == whole
    beyond = api.post(SEARCH, json={"query": "jacket", "offset": 30, "depth": 30}).json()
    assert beyond["hits"] == [] and "empty" in beyond["warnings"][0]


def test_the_total_says_whether_it_is_exact(api: TestClient) -> None:
    few = api.post(SEARCH, json={"query": "jacket", "limit": 5}).json()
    assert few["total"] == {"value": 5, "relation": "gte"}
    all_ = api.post(SEARCH, json={"query": "jacket", "limit": 100}).json()
    assert all_["total"] == {"value": 40, "relation": "eq"}


@pytest.mark.parametrize("filter", ['colour = "red"', {"colour": "red"}])
def test_a_filter_leaves_out(api: TestClient, filter: Any) -> None:
    found = api.post(SEARCH, json={"query": "jacket", "filter": filter, "limit": 40}).json()
    assert {hit["fields"]["colour"] for hit in found["hits"]} == {"red"}


def test_vectors_and_neighbours_can_be_asked_for(api: TestClient, shop: Path) -> None:
    index = Index.open(shop)
    vector = index.vector("blue rain")
    asked = {"indices": vector.terms.tolist(), "values": vector.weights.tolist()}
    assert ids(api.post(SEARCH, json={"vector": asked})) == index.search("blue rain").ids
    by_token = {"jacket": 1.0, "rain": 2.0}
    assert ids(api.post(SEARCH, json={"vector": by_token})) == index.search(by_token).ids
    assert ids(api.post(SEARCH, json={"like": "d3", "limit": 4})) == index.more_like("d3", k=4).ids


def test_fields_are_chosen(api: TestClient) -> None:
    hit = api.post(SEARCH, json={"query": "jacket", "fields": ["price"]}).json()["hits"][0]
    assert set(hit["fields"]) == {"price"} and "text" not in hit and "title" not in hit


def test_highlights_mark_words_and_reasons_sum_to_the_score(api: TestClient) -> None:
    asked = {"query": "warm jacket", "limit": 3, "highlight": True, "explain": True}
    for hit in api.post(SEARCH, json=asked).json()["hits"]:
        assert sum(one["product"] for one in hit["explain"]) == pytest.approx(
            hit["score"], rel=1e-4
        )
        text = next(one for one in hit["highlights"] if one["field"] == "text")
        words = {text["text"][start:end].lower() for start, end in text["marks"]}
        assert "jacket" in words


def test_explain_agrees_with_the_search(api: TestClient) -> None:
    hit = api.post(SEARCH, json={"query": "warm jacket", "limit": 1, "explain": True}).json()[
        "hits"
    ][0]
    answer = api.post("/v1/indexes/shop/explain", json={"query": "warm jacket", "id": hit["id"]})
    found = ExplainResponse.model_validate(answer.json())
    assert [one.model_dump() for one in found.terms] == hit["explain"]
    assert found.score == pytest.approx(hit["score"])


def test_a_batch_answers_in_order(api: TestClient) -> None:
    searches = [{"query": f"{colour} jacket", "limit": 3} for colour in ("red", "green", "blue")]
    found = BatchResponse.model_validate(
        api.post(f"{SEARCH}:batch", json={"searches": searches}).json()
    )
    alone = [ids(api.post(SEARCH, json=one)) for one in searches]
    assert [[hit.id for hit in one.hits] for one in found.results] == alone


def test_texts_are_encoded(api: TestClient, shop: Path) -> None:
    index = Index.open(shop)
    answer = api.post("/v1/encode", json={"texts": ["blue rain", "jacket"]})
    found = EncodeResponse.model_validate(answer.json())
    vector = index.vector("blue rain")
    assert found.vectors[0].indices == vector.terms.tolist()
    assert found.vectors[0].values == pytest.approx(vector.weights.tolist(), rel=1e-5)
    assert "rain" in found.vectors[0].tokens


def test_approximate_search_can_be_asked_for(api: TestClient) -> None:
    for asked in ({"exact": True}, {"recall": 0.9}, {"path": "accumulate"}, {"path": "exact"}):
        assert len(ids(api.post(SEARCH, json={"query": "jacket", **asked}))) == 10
    refused = api.post(SEARCH, json={"query": "jacket", "exact": True, "recall": 0.5})
    assert refused.status_code == 400 and "exact" in refused.json()["detail"]


def test_a_document_is_returned_by_its_id(api: TestClient) -> None:
    found = api.get("/v1/indexes/shop/documents/d3").json()
    assert found["title"] == "Jacket 3" and found["fields"]["price"] == 13
    assert api.get("/v1/indexes/shop/documents/none").status_code == 404


def test_indexes_are_described(api: TestClient, shop: Path) -> None:
    (one,) = api.get("/v1/indexes").json()["indexes"]
    assert one == {
        "name": "shop",
        "n_documents": 40,
        "generation": 1,
        "encoder": "bundled",
        "legs": ["sparse"],
    }
    found = api.get("/v1/indexes/shop").json()
    assert found["fields"] == {"price": "number", "colour": "string"}
    assert found["n_segments"] == 1 and found["writable"] is True
    assert str(shop.parent) not in api.get("/v1/indexes/shop").text


def test_metrics_count_searches_by_stage_and_mode(api: TestClient) -> None:
    api.post(SEARCH, json={"query": "jacket"})
    page = api.get("/metrics").text
    for wanted in (
        'lsr_search_stage_seconds_count{mode="sparse",stage="sparse"}',
        'lsr_index_documents{index="shop"} 40.0',
        'lsr_index_segments{index="shop"} 1.0',
        "lsr_in_flight ",
        "lsr_encode_queue ",
        'lsr_http_request_seconds_bucket{le="0.001",route="search"}',
        'lsr_searches_total{index="shop",mode="sparse",path="exact"}',
    ):
        assert wanted in page


def test_the_access_log_has_times_and_no_texts(
    api: TestClient, capsys: pytest.CaptureFixture[str]
) -> None:
    import json

    api.post(SEARCH, json={"query": "secret jacket"}, headers={"X-Request-Id": "my-id"})
    api.app.state.access_log.flush()  # type: ignore[attr-defined]
    line = json.loads(next(one for one in capsys.readouterr().out.splitlines() if '"my-id"' in one))
    assert line["status"] == 200 and line["index"] == "shop" and line["hits"] == 10
    assert set(line["timings"]) >= {"queue", "sparse", "fetch"}
    assert "secret" not in json.dumps(line)
