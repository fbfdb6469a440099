from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsr.eval.search_curves import Point, contenders, envelope, latency_at, pareto

CURVE = [Point(0.90, 100), Point(0.94, 300), Point(0.96, 200), Point(1.00, 400)]


def test_pareto_leaves_out_what_another_beats_in_both() -> None:
    assert pareto(CURVE) == [Point(0.90, 100), Point(0.96, 200), Point(1.00, 400)]
    assert pareto([Point(0.9, 5, 1), Point(0.9, 5, 2)]) == [Point(0.9, 5, 1)]
    assert pareto([]) == []


@pytest.mark.parametrize(
    ("level", "latency"),
    [(0.5, 100), (0.90, 100), (0.93, 150), (0.96, 200), (0.97, 250), (0.99, 350), (1.0, 400)],
)
def test_latency_is_on_straight_lines_between_pareto_points(level: float, latency: float) -> None:
    assert latency_at(CURVE, level) == pytest.approx(latency)


def test_level_that_no_setting_reaches_has_no_latency() -> None:
    assert latency_at([Point(0.9, 1), Point(0.98, 2)], 0.99) is None
    assert latency_at([], 0.9) is None


def test_exact_engine_takes_the_same_at_every_level() -> None:
    assert {latency_at([Point(1.0, 305)], level) for level in (0.9, 0.95, 0.99, 1.0)} == {305}


points = st.lists(
    st.builds(Point, st.floats(0, 1), st.floats(1, 1e6), st.integers(0, 99)), min_size=1
)


@given(points, st.floats(0, 1), st.floats(0, 1))
def test_more_recall_never_costs_less(curve: list[Point], one: float, other: float) -> None:
    low, high = sorted((one, other))
    cheap, dear = latency_at(curve, low), latency_at(curve, high)
    assert dear is None or (cheap is not None and cheap <= dear * (1 + 1e-9))


def test_envelope_is_the_fastest_of_those_that_reach_the_level() -> None:
    curves = {
        "quick": [Point(0.90, 100), Point(0.96, 250)],
        "exact": [Point(1.0, 240)],
        "slow": [Point(1.0, 900)],
    }
    assert envelope(curves, 0.90) == ("quick", 100)
    assert envelope(curves, 0.95) == ("quick", pytest.approx(225))
    assert envelope(curves, 0.99) == ("exact", 240)
    assert envelope({"quick": curves["quick"]}, 0.99) == (None, None)


def test_contenders_are_the_front_and_what_noise_may_have_put_behind_it() -> None:
    quick = [Point(0.91, 100, 0), Point(0.97, 200, 1), Point(0.999, 300, 2)]
    near, far, low = Point(0.969, 205, 3), Point(0.96, 290, 4), Point(0.5, 50, 5)
    kept = {point.at for point in contenders([*quick, near, far, low], (0.9, 0.95, 0.99), most=9)}
    assert kept == {0, 1, 2, 3}


def test_contenders_of_an_engine_that_is_never_good_are_its_best() -> None:
    weak = [Point(0.3, 10, 0), Point(0.6, 20, 1), Point(0.55, 30, 2)]
    assert [point.at for point in contenders(weak, (0.9, 0.99), most=5)] == [1]
    assert contenders([], (0.9,), most=5) == []


def test_contenders_are_few_however_many_settings_there_are() -> None:
    many = [Point(0.8 + at / 1000, 100 + at, at) for at in range(200)]
    kept = contenders(many, (0.90, 0.95, 0.97, 0.98, 0.99), most=20)
    assert len(kept) <= 25
    for level in (0.90, 0.95, 0.97, 0.98, 0.99):
        assert latency_at(kept, level) == pytest.approx(latency_at(many, level))
