from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dense_cases import ToyDense
from toy_encoder import ToyEncoder

from lsr.errors import ConfigError
from lsr.index.bm25 import Bm25Leg
from lsr.index.dense import DenseLeg
from lsr.index.feedback import Feedback
from lsr.index.fusion import Column, Fusion
from lsr.index.index import Index

ONLY_DENSE = Fusion(weights={"sparse": 0, "bm25": 0})
WORDS = ["cats", "purr", "dogs", "bark", "cows", "moo", "birds", "sing", "fish", "swim"]
N = 60


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    random = np.random.default_rng(3)
    made = Index.create(
        tmp_path_factory.mktemp("hybrid") / "i",
        encoder=ToyEncoder(),
        legs=["sparse", Bm25Leg(analyzer="standard"), DenseLeg(ToyDense())],
    )
    for part in range(2):
        made.add(
            {
                "_id": f"d{at:02d}",
                "text": " ".join(random.choice(WORDS, random.integers(2, 7))),
                "odd": at % 2 == 1,
            }
            for at in range(part * N // 2, (part + 1) * N // 2)
        )
        made.commit()
    made.delete(["d03", "d40"])
    made.commit()
    return made


def rankings(index: Index, query: Any, depth: int = 1000) -> dict[str, Any]:
    return {leg: index.search(query, k=depth, mode=leg, exact=leg == "sparse") for leg in
            index.legs}  # fmt: skip


def test_hybrid_search_is_rrf_over_the_legs(index: Index) -> None:
    legs = rankings(index, "cats sing")
    expected: dict[str, float] = {}
    for found in legs.values():
        for hit in found:
            expected[hit.id] = expected.get(hit.id, 0.0) + 1 / (60 + hit.rank)
    found = index.search("cats sing", k=40, mode="hybrid")
    order = sorted(expected, key=lambda name: (-expected[name], name))[:40]
    assert found.ids == order
    assert found.scores == pytest.approx([expected[name] for name in order])
    for hit in found:
        for leg, score in hit.legs.items():
            [same] = [one for one in legs[leg] if one.id == hit.id]
            assert (score.score, score.rank) == (same.score, same.rank)
    assert found.path == "hybrid" and {*index.legs, "fuse"} == set(found.timings)


def test_batches_pages_and_threads_agree(index: Index) -> None:
    queries = ["cats sing", "fish", "dogs bark bark", "", "unknown words"]
    alone = [index.search(query, k=30, mode="hybrid") for query in queries]
    for threads in (1, 2):
        batch = index.search_batch(queries, k=30, mode="hybrid", threads=threads)
        assert [one.ids for one in batch] == [one.ids for one in alone]
    for k in (1, 7, 20):
        shorter = index.search("cats sing", k=k, mode="hybrid")
        assert shorter.ids == alone[0].ids[:k]
    assert alone[0].page(5, 9) == alone[0].hits[5:9]
    assert len(alone[3]) == 0


def test_filters_and_deletes_hold_in_every_leg(index: Index) -> None:
    found = index.search("cats sing", k=100, mode="hybrid", filter="odd = true")
    assert found.ids and all(int(name[1:]) % 2 for name in found.ids)
    assert not {"d03", "d40"} & set(index.search("cats sing", k=100, mode="hybrid").ids)


@pytest.mark.parametrize("method", ["rrf", "minmax", "zscore", "dbsf"])
def test_rescoring_gives_every_hit_a_score_of_every_leg(index: Index, method: Any) -> None:
    fusion = Fusion(method, missing="rescore")
    found = index.search("cats sing", k=8, depth=8, mode="hybrid", fusion=fusion)
    legs = rankings(index, "cats sing")
    for hit in found:
        assert "dense" in hit.legs
        for leg, (score, rank) in hit.legs.items():
            [same] = [one for one in legs[leg] if one.id == hit.id]
            assert score == pytest.approx(same.score, rel=1e-6)
            assert rank == (same.rank if same.rank <= 8 else None)


def test_weights_choose_legs_and_a_function_may_fuse(index: Index) -> None:
    only = index.search("cats", k=10, mode="hybrid", fusion=ONLY_DENSE)
    assert only.ids == index.search("cats", k=10, mode="dense").ids

    def largest(legs: Mapping[str, Column], weights: Mapping[str, float]) -> Any:
        assert list(legs) == ["sparse", "dense"] and set(weights) == set(legs)
        return np.max([np.nan_to_num(c.scores, nan=-9) for c in legs.values()], axis=0)

    mine = Fusion(largest, weights={"bm25": 0})
    found = index.search("cats cats", k=3, mode="hybrid", fusion=mine)
    assert found.ids == index.search("cats cats", k=3).ids


def test_explanations_sum_to_the_score(index: Index) -> None:
    found = index.search("cats sing", k=20, mode="hybrid", fusion="minmax")
    for hit in found:
        why = index.explain("cats sing", hit.id, mode="hybrid", fusion="minmax")
        assert why is not None and why.score == pytest.approx(hit.score)
        shares = [leg.share for leg in why.legs.values() if leg.share is not None]
        assert sum(shares) == pytest.approx(hit.score)
        sparse = why.legs["sparse"]
        if sparse.score is not None:
            assert sum(term.product for term in sparse.terms) == pytest.approx(sparse.score)
    assert found.why(0)
    assert index.explain("cats", "nobody", mode="hybrid") is None


def test_a_query_of_its_own_for_a_leg(index: Index) -> None:
    vector = ToyDense().encode_queries(["birds sing"])[0]
    found = index.search("cats", k=5, mode="dense", given={"dense": vector})
    assert found.ids == index.search("birds sing", k=5, mode="dense").ids
    both = index.search("cats", k=20, mode="hybrid", given={"dense": vector})
    legs = {leg: index.search("cats", k=1000, mode=leg) for leg in ("sparse", "bm25")}
    legs |= {"dense": index.search_batch(
        ["cats"], k=1000, mode="dense", given=[{"dense": vector}])[0]}  # fmt: skip
    for hit in both:
        for leg, (score, rank) in hit.legs.items():
            [same] = [one for one in legs[leg] if one.id == hit.id]
            assert (score, rank) == (same.score, same.rank)
    with pytest.raises(ConfigError, match="came for the leg 'image'"):
        index.search("cats", mode="hybrid", given={"image": "x"})


def test_options_that_do_not_fit_are_refused(index: Index, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="depth of 5"):
        index.search("cats", k=6, depth=5, mode="hybrid")
    with pytest.raises(ConfigError, match="fusion is an option of hybrid"):
        index.search("cats", fusion="rrf")
    with pytest.raises(ConfigError, match="depth is an option of hybrid"):
        index.search("cats", depth=50)
    with pytest.raises(ConfigError, match="'image'"):
        index.search("cats", mode="hybrid", fusion=Fusion(weights={"image": 1}))
    alone = Index.create(tmp_path / "i", encoder=ToyEncoder())
    with pytest.raises(ConfigError, match="needs two legs"):
        alone.search("cats", mode="hybrid")


@pytest.mark.parametrize("mode", ["sparse", "bm25", "dense"])
def test_feedback_on_one_leg(index: Index, mode: str) -> None:
    plain = index.search("cats", k=20, mode=mode)
    same = index.search("cats", k=20, mode=mode, feedback=Feedback(alpha=1.0))
    assert same.ids == plain.ids
    moved = index.search("cats", k=20, mode=mode, feedback=Feedback(docs=2, alpha=0.3))
    assert moved.ids != plain.ids
    if mode != "dense":
        tokens = {term.token for term in moved.feedback[mode]}
        best = [index.get(hit.id).text for hit in plain[:2]]  # type: ignore[union-attr]
        assert tokens and tokens <= set(" ".join(best).split())
        why = index.explain("cats", moved.ids[0], mode=mode, feedback=Feedback(docs=2, alpha=0.3))
        assert why is not None and why.legs[mode].added == moved.feedback[mode]
        assert sum(term.product for term in why.terms) == pytest.approx(why.score)
    average = Feedback(docs=2, dense="average")
    assert index.search("cats", k=5, mode=mode, feedback=average).ids
    assert len(index.search("", k=5, mode=mode, feedback=True)) == 0


def mean_of(index: Index, ids: list[str]) -> Any:
    texts = [index.get(name).text for name in ids]  # type: ignore[union-attr]
    rows = ToyDense().encode_documents(texts)
    return (rows / np.linalg.norm(rows, axis=1)[:, None]).mean(axis=0)


@pytest.mark.parametrize("when", ["pre", "post", "both"])
def test_when_rankings_are_fused_around_feedback(index: Index, when: Any) -> None:
    """By hand, with the plain searches: arXiv 2205.00235, section 3."""
    query = "cats moo"
    settings = Feedback(docs=3, alpha=0.4, when=when, legs=("dense",))
    source = index.search(query, k=3, mode="dense" if when == "post" else "hybrid")
    asked = ToyDense().encode_queries([query])[0]
    asked = asked / np.linalg.norm(asked)
    moved = (0.4 * asked + 0.6 * mean_of(index, source.ids)).astype(np.float32)
    given = {"dense": moved}
    expected = index.search(query, k=30, mode="dense" if when == "pre" else "hybrid", given=given)
    found = index.search(query, k=30, mode="hybrid", feedback=settings)
    assert found.ids == expected.ids
    assert found.scores == pytest.approx(expected.scores, abs=1e-5)


def test_feedback_on_every_leg_and_missing_documents(index: Index) -> None:
    for when in ("pre", "post", "both"):
        for legs in (("sparse",), ("dense",), ("bm25", "dense"), ("sparse", "bm25", "dense")):
            settings = Feedback(when=when, legs=legs)  # type: ignore[arg-type]
            if when == "pre" and len(legs) > 1:
                with pytest.raises(ConfigError, match="one leg"):
                    index.search("cats", mode="hybrid", feedback=settings)
                continue
            found = index.search("cats", k=10, mode="hybrid", feedback=settings)
            assert len(found) == 10 and set(found.feedback) == set(legs)
            fusion = Fusion("zscore", missing="rescore")
            assert index.search("cats", mode="hybrid", feedback=settings, fusion=fusion).ids
