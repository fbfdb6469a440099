"""Searches of other legs than sparse, and of all of them, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dense_models import write_dense
from starlette.testclient import TestClient

from lsr.errors import ModelError
from lsr.index.bm25 import Bm25Leg
from lsr.index.dense import DenseLeg
from lsr.index.feedback import Feedback
from lsr.index.fusion import Fusion
from lsr.index.index import Index
from lsr.service.schemas import ExplainResponse, SearchResponse

SEARCH, EXPLAIN = "/v1/indexes/shop/search", "/v1/indexes/shop/explain"
PLACES = ("rain", "sun", "snow", "wind")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("legs") / "shop"
    vectors = np.random.default_rng(1).normal(size=(24, 4)).astype(np.float32)
    with Index.create(path, legs=["sparse", Bm25Leg(), DenseLeg(dim=4)]) as index:
        index.add(
            (
                {"_id": f"d{at}", "text": f"A warm jacket for {PLACES[at % 4]}, number {at}."}
                for at in range(24)
            ),
            given={"dense": vectors},
        )
    return path


@pytest.fixture(scope="module")
def legs(folder: Path, client_of_module: Any) -> Iterator[TestClient]:
    with client_of_module(folder) as client:
        yield client


def search(client: TestClient, **asked: Any) -> SearchResponse:
    answer = client.post(SEARCH, json=asked)
    assert answer.status_code == 200, answer.text
    return SearchResponse.model_validate(answer.json())


def test_each_mode_gives_what_the_index_gives(legs: TestClient, folder: Path) -> None:
    index = Index.open(folder)
    bm25 = search(legs, query="jacket for snow", mode="bm25", explain=True, highlight=True)
    assert [hit.id for hit in bm25.hits] == index.search("jacket for snow", mode="bm25").ids
    assert bm25.hits[0].scores == {"bm25": bm25.hits[0].score} and bm25.params["mode"] == "bm25"
    assert bm25.hits[0].explain and "bm25" in bm25.timings
    vector = [0.5, -1.0, 0.0, 2.0]
    dense = search(legs, query="unread", mode="dense", dense=vector)
    assert [hit.id for hit in dense.hits] == index.search(vector, mode="dense").ids  # type: ignore[arg-type]


def test_hybrid_search_with_fusion_feedback_and_pages(legs: TestClient, folder: Path) -> None:
    index, vector = Index.open(folder), [0.5, -1.0, 0.0, 2.0]
    asked: dict[str, Any] = {
        "query": "warm jacket for rain",
        "mode": "hybrid",
        "dense": vector,
        "fusion": {"method": "minmax", "weights": {"dense": 0.5}, "missing": "rescore"},
        "feedback": {"docs": 2, "when": "both", "legs": ["bm25", "dense"]},
    }
    wanted = index.search(
        "warm jacket for rain",
        k=20,
        mode="hybrid",
        fusion=Fusion("minmax", {"dense": 0.5}, missing="rescore"),
        feedback=Feedback(docs=2, legs=("bm25", "dense")),
        given={"dense": vector},
    )
    whole = search(legs, **asked, limit=20)
    assert [hit.id for hit in whole.hits] == wanted.ids
    assert [hit.score for hit in whole.hits] == pytest.approx(wanted.scores, rel=1e-5)
    assert set(whole.hits[0].scores) == {"sparse", "bm25", "dense"}
    assert {one.token for one in whole.feedback["bm25"]} == {
        term.token for term in wanted.feedback["bm25"]
    }
    assert {"sparse", "bm25", "dense", "fuse", "fetch"} <= set(whole.timings)
    assert whole.params["fusion"]["method"] == "minmax" and whole.params["depth"] == 1000
    second = search(legs, **asked, limit=6, offset=6)
    assert [hit.id for hit in second.hits] == wanted.ids[6:12]
    why = legs.post(
        EXPLAIN,
        json={**asked, "id": wanted.ids[0]},
    )
    found = ExplainResponse.model_validate(why.json())
    assert found.score == pytest.approx(wanted.scores[0], rel=1e-5)
    assert sum(leg.share or 0 for leg in found.legs.values()) == pytest.approx(found.score)
    assert found.legs["bm25"].added and found.legs["bm25"].terms


def test_a_hybrid_search_by_url_and_in_a_batch(legs: TestClient) -> None:
    only = {"fusion": {"weights": {"dense": 0}}}
    one = search(legs, query="snow", mode="hybrid", **only)
    batch = legs.post(f"{SEARCH}:batch", json={"searches": [
        {"query": "snow", "mode": "hybrid", **only}, {"query": "snow"}]}).json()  # fmt: skip
    assert [hit["id"] for hit in batch["results"][0]["hits"]] == [hit.id for hit in one.hits]
    assert batch["results"][1]["params"]["mode"] == "sparse"
    url = legs.get(SEARCH, params={"query": "snow", "mode": "bm25", "feedback": "post"})
    assert url.status_code == 200 and url.json()["feedback"]["bm25"]


@pytest.mark.parametrize(
    ("asked", "status", "said"),
    [
        ({"query": "x", "mode": "image"}, 422, "mode"),
        ({"query": "x", "fusion": {}}, 422, "fusion is an option of mode hybrid"),
        ({"query": "x", "mode": "hybrid", "fusion": {"method": "max"}}, 422, "method"),
        ({"query": "x", "mode": "hybrid", "fusion": {"weights": {"dense": -1}}}, 422, "weights"),
        ({"query": "x", "mode": "hybrid", "feedback": {"docs": 0}}, 422, "docs"),
        ({"query": "x", "mode": "hybrid", "depth": 5}, 422, "depth is 5"),
        ({"query": "x", "mode": "hybrid"}, 400, "cannot read text"),
        ({"query": "x", "mode": "dense", "dense": [1.0, 2.0]}, 422, "shape"),
        ({"query": "x", "mode": "bm25", "recall": 0.5}, 400, "recall"),
        ({"like": "d1", "mode": "bm25"}, 422, "like is about the sparse leg"),
        ({"vector": {"1": 1.0}, "mode": "bm25"}, 400, "BM25"),
    ],
)
def test_what_cannot_be_is_a_problem(
    legs: TestClient, asked: dict[str, Any], status: int, said: str
) -> None:
    answer = legs.post(SEARCH, json=asked)
    assert answer.status_code == status, answer.text
    assert said in answer.text and answer.json()["request_id"]


def test_indexes_name_their_legs(legs: TestClient) -> None:
    assert legs.get("/v1/indexes").json()["indexes"][0]["legs"] == ["sparse", "bm25", "dense"]


def test_an_index_without_sparse_vectors_is_served(tmp_path: Path, client_for: Any) -> None:
    with Index.create(tmp_path / "shop", legs=[Bm25Leg()]) as index:
        index.add([{"_id": "a", "text": "cats purr"}, {"_id": "b", "text": "dogs bark"}])
    context: AbstractContextManager[TestClient] = client_for(tmp_path / "shop")
    with context as client:
        assert [hit.id for hit in search(client, query="a cat").hits] == ["a"]
        assert client.post(SEARCH, json={"query": "x", "mode": "hybrid"}).status_code == 422


def test_a_dense_model_that_has_moved_is_named_when_the_index_is_served(
    tmp_path: Path, client_of_module: Any
) -> None:
    model, path = write_dense(tmp_path / "model"), tmp_path / "shop"
    with Index.create(path, legs=[DenseLeg(str(model))]) as index:
        index.add([{"_id": "a", "text": "cats purr"}, {"_id": "b", "text": "dogs bark"}])
    moved = model.rename(tmp_path / "moved")
    with client_of_module(path, dense=str(moved)) as client:
        assert search(client, query="dogs bark", mode="dense").hits[0].id == "b"
    with pytest.raises(ModelError, match="model"):
        Index.open(path).search("dogs bark", mode="dense")
