from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsr.errors import ConfigError
from lsr.index.fusion import METHODS, MISSING, Column, Fusion, Ranking, fuse, normalise

Rows = dict[int, float]


def ranking(rows: Rows) -> Ranking:
    """Return keys and scores, best first, ties by key."""
    order = sorted(rows, key=lambda key: (-rows[key], key))
    return Ranking(np.array(order, np.int64), np.array([rows[key] for key in order], np.float64))


def fused(legs: Mapping[str, Rows], fusion: Fusion, **options: Any) -> dict[int, float]:
    found = fuse({leg: ranking(rows) for leg, rows in legs.items()}, fusion, **options)
    return dict(zip(found.keys.tolist(), found.scores.tolist(), strict=True))


scores = st.integers(-40, 40).map(lambda number: number / 4)
leg_rows = st.dictionaries(st.integers(0, 12), scores, max_size=9)
several = st.dictionaries(st.sampled_from(["sparse", "bm25", "dense"]), leg_rows, min_size=1)
fusions = st.builds(
    Fusion,
    st.sampled_from(METHODS),
    missing=st.sampled_from([None, "zero", "min"]),
    k=st.sampled_from([0.0, 1.0, 60.0]),
)

A = {1: 3.0, 2: 2.0, 3: 1.0}
B = {3: 9.0, 4: 7.0}


def test_rrf_by_its_formula() -> None:
    found = fused({"a": A, "b": B}, Fusion(weights={"b": 2}))
    assert found == pytest.approx({1: 1 / 61, 2: 1 / 62, 3: 1 / 63 + 2 / 61, 4: 2 / 62})
    assert list(found) == [3, 4, 1, 2]


def test_rrf_puts_what_is_missing_behind_the_last_or_where_it_belongs() -> None:
    behind = fused({"a": A, "b": B}, Fusion(missing="min"))
    assert behind[1] == pytest.approx(1 / 61 + 1 / 63)
    assert behind[4] == pytest.approx(1 / 64 + 1 / 62)

    def rescore(leg: str, keys: Any) -> Any:
        true = {("a", 4): 2.5, ("b", 1): 8.0, ("b", 2): np.nan}
        return np.array([true[leg, key] for key in keys.tolist()])

    true = fused({"a": A, "b": B}, Fusion(missing="rescore"), rescore=rescore)
    assert true[4] == pytest.approx(1 / 62 + 1 / 63)  # second in a; third in b behind 1
    assert true[1] == pytest.approx(1 / 61 + 1 / 62)
    assert true[2] == pytest.approx(1 / 63)  # no match in b: nothing from it


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("minmax", {1: 1.0, 2: 0.5, 3: 0.0}),
        ("zscore", {1: 1.5**0.5, 2: 0.0, 3: -(1.5**0.5)}),
        ("dbsf", {1: 0.5 + 1 / 6, 2: 0.5, 3: 0.5 - 1 / 6}),
    ],
)
def test_normalised_scores_by_their_formulas(method: Any, expected: Rows) -> None:
    assert fused({"a": A}, Fusion(method)) == pytest.approx(expected)


def test_missing_scores_become_zero_the_least_or_the_true_one() -> None:
    legs = {"a": A, "b": B}
    assert fused(legs, Fusion("minmax", missing="zero"))[1] == pytest.approx(0.5)
    assert fused(legs, Fusion("zscore"))[1] == pytest.approx((1.5**0.5 - 1) / 2)
    last = 0.5 - 1 / 6  # of a
    least = fused(legs, Fusion("dbsf", missing="min"))[4]
    assert least == pytest.approx(fused(legs, Fusion("dbsf"))[4] + last / 2)
    true = fused(
        legs, Fusion("minmax", missing="rescore"), rescore=lambda leg, keys: np.full(len(keys), 5.0)
    )
    assert true[1] == pytest.approx((1.0 + (5 - 7) / 2) / 2)
    assert true[4] == pytest.approx(((5 - 1) / 2 + 0.0) / 2)


@pytest.mark.parametrize(("method", "value"), [("minmax", 1.0), ("zscore", 0.0), ("dbsf", 0.5)])
def test_equal_scores_of_a_leg_have_a_stated_value(method: Any, value: float) -> None:
    assert normalise(np.array([0.3]), np.array([0.3]), method).tolist() == [value]
    assert normalise(np.full(3, 0.1), np.full(3, 0.1), method).tolist() == [value] * 3
    later = normalise(np.array([2.0, 2.0]), np.array([1.0, 2.0, 3.0]), method)
    assert later.tolist() == [value - 0.5, value, value + 0.5]


def test_ties_are_ordered_by_name() -> None:
    legs = {"a": {1: 2.0}, "b": {2: 5.0}}
    assert list(fused(legs, Fusion())) == [1, 2]
    by_name = fused(legs, Fusion(), names=lambda keys: [{1: b"z", 2: b"a"}[k] for k in keys])
    assert list(by_name) == [2, 1]


def test_a_leg_with_weight_zero_takes_no_part() -> None:
    legs = {"a": A, "b": B}
    assert fused(legs, Fusion(weights={"b": 0})) == fused({"a": A}, Fusion())


def test_ranks_and_scores_of_each_leg_come_with_the_result() -> None:
    found = fuse({"a": ranking(A), "b": ranking(B)}, Fusion())
    assert found.keys.tolist()[0] == 3
    assert {leg: (c.ranks[0], c.scores[0]) for leg, c in found.legs.items()} == {
        "a": (3, 1.0),
        "b": (1, 9.0),
    }
    at = found.keys.tolist().index(4)
    assert found.legs["a"].ranks[at] == 0 and np.isnan(found.legs["a"].scores[at])


def test_a_function_of_ones_own() -> None:
    def best(legs: Mapping[str, Column], weights: Mapping[str, float]) -> Any:
        return np.nanmax([weights[leg] * column.scores for leg, column in legs.items()], axis=0)

    found = fused({"a": A, "b": B}, Fusion(best, weights={"a": 10}))
    assert found == {1: 30.0, 2: 20.0, 3: 10.0, 4: 7.0}
    assert Fusion(best).to_json()["method"] == "best"
    for bad in (lambda legs, weights: [1.0], lambda legs, weights: legs["a"].scores):
        with pytest.raises(ConfigError, match="one finite number for each of the 4"):
            fused({"a": A, "b": B}, Fusion(bad))


def test_settings_that_mean_nothing_are_refused() -> None:
    for bad in (
        {"method": "max"},
        {"missing": "skip"},
        {"k": -1},
        {"k": float("nan")},
        {"weights": {"a": -1}},
        {"weights": {"a": float("inf")}},
        {"weights": {"a": "much"}},
    ):
        with pytest.raises(ConfigError):
            Fusion(**bad)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="'c'"):
        fused({"a": A}, Fusion(weights={"c": 1}))
    with pytest.raises(ConfigError, match="weight 0"):
        fused({"a": A}, Fusion(weights={"a": 0}))
    with pytest.raises(ConfigError, match="nothing to score with"):
        fused({"a": A}, Fusion(missing="rescore"))


@settings(deadline=None)
@given(several, fusions)
def test_every_candidate_comes_once_and_in_order(legs: dict[str, Rows], fusion: Fusion) -> None:
    found = fused(legs, fusion)
    assert set(found) == {key for rows in legs.values() for key in rows}
    values = list(found.values())
    assert values == sorted(values, reverse=True) and np.isfinite(values).all()
    keys = list(found)
    assert all(
        keys[at] < keys[at + 1] for at in range(len(keys) - 1) if values[at] == values[at + 1]
    )


@settings(deadline=None)
@given(several, fusions)
def test_the_order_of_legs_and_the_scale_of_weights_change_nothing(
    legs: dict[str, Rows], fusion: Fusion
) -> None:
    expected = fused(legs, fusion)
    turned = fused(dict(reversed(legs.items())), fusion)
    scaled = Fusion(fusion.method, {leg: 4.0 for leg in legs}, fusion.k, fusion.missing)
    factor = 4.0 if fusion.method == "rrf" else 1.0
    for key, value in fused(legs, scaled).items():
        assert value == pytest.approx(factor * expected[key], abs=1e-9)
        assert turned[key] == pytest.approx(expected[key], abs=1e-9)


@settings(deadline=None)
@given(leg_rows, fusions)
def test_one_leg_alone_keeps_its_order(rows: Rows, fusion: Fusion) -> None:
    assert list(fused({"a": rows}, fusion)) == ranking(rows).keys.tolist()


@settings(deadline=None)
@given(several, st.sampled_from(["minmax", "zscore", "dbsf"]), st.sampled_from(MISSING))
def test_scores_may_be_shifted_and_stretched(
    legs: dict[str, Rows], method: Any, missing: Any
) -> None:
    if missing == "rescore":
        return  # a document without any score counts as 0, which does not move along
    moved = {
        leg: {key: 8.0 * score + 16.0 for key, score in rows.items()} for leg, rows in legs.items()
    }
    fusion = Fusion(method, missing=missing)
    assert fused(moved, fusion) == pytest.approx(fused(legs, fusion), abs=1e-9)
