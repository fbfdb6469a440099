"""Tests of significance against scipy, enumeration and hand computation."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from lsr.errors import DataError
from lsr.eval.statistics import compare, holm, randomisation_test, t_test

small = st.lists(st.integers(-20, 20).map(lambda n: n / 8), min_size=2, max_size=9)


def enumerated(differences: list[float]) -> float:
    """Return the exact p-value: the share of sign patterns at least as far from zero."""
    observed = abs(np.mean(differences))
    signs = np.array(list(product((1, -1), repeat=len(differences))))
    means = np.abs((signs * np.array(differences)).mean(axis=1))
    return float((means >= observed - 1e-12).mean())


@given(small)
def test_the_randomisation_test_equals_enumeration(differences: list[float]) -> None:
    assert randomisation_test(differences) == pytest.approx(enumerated(differences), abs=1e-12)


def test_a_sampled_randomisation_test_is_near_the_exact_one_and_repeatable() -> None:
    rng = np.random.default_rng(3)
    differences = rng.normal(0.05, 0.2, 12)
    exact = randomisation_test(differences, resamples=5000)  # 4,096 patterns: all of them
    assert exact == pytest.approx(enumerated(list(differences)), abs=1e-12)
    sampled = randomisation_test(differences, resamples=3000, seed=1)
    assert sampled == pytest.approx(exact, abs=0.03)
    assert sampled == randomisation_test(differences, resamples=3000, seed=1)
    assert sampled != randomisation_test(differences, resamples=3000, seed=2)


def test_the_t_test_equals_scipys() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.random(40), rng.random(40)
    theirs = ttest_rel(a, b)
    p, low, high = t_test(a - b)
    assert p == pytest.approx(float(theirs.pvalue), abs=1e-12)
    interval = theirs.confidence_interval(0.95)
    assert (low, high) == pytest.approx((float(interval.low), float(interval.high)))


def test_holm_equals_the_hand_computation() -> None:
    # Sorted: 0.01 x 4, 0.02 x 3, 0.03 x 2 (raised to 0.06), 0.04 x 1 (raised to 0.06).
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_lies_between_the_value_and_bonferroni(p_values: list[float]) -> None:
    for raw, corrected in zip(p_values, holm(p_values), strict=True):
        assert raw <= corrected <= min(1.0, raw * len(p_values)) + 1e-12


def test_a_comparison_counts_wins_and_measures_the_effect() -> None:
    base = {"a": 0.5, "b": 0.5, "c": 0.5, "d": 0.5}
    better = {"a": 1.0, "b": 0.75, "c": 0.5, "d": 0.25}
    [found] = compare({"base": base, "better": better}, "base", "nDCG@10")
    assert (found.wins, found.ties, found.losses) == (2, 1, 1)
    differences = np.array([0.5, 0.25, 0.0, -0.25])
    assert found.difference == pytest.approx(0.125)
    assert found.effect == pytest.approx(differences.mean() / differences.std(ddof=1))
    assert found.low < found.difference < found.high
    assert found.t_holm == found.t_p  # alone, nothing is corrected


def test_equal_systems_do_not_differ() -> None:
    base = {"a": 0.5, "b": 0.25}
    [found] = compare({"base": base, "same": dict(base)}, "base", "AP")
    assert (found.t_p, found.r_p, found.effect, found.ties) == (1.0, 1.0, None, 2)


def test_constant_differences_have_no_deviation() -> None:
    assert t_test([0.5, 0.5, 0.5]) == (0.0, 0.5, 0.5)
    assert randomisation_test([0.5, 0.5, 0.5]) == 0.25


def test_what_cannot_be_tested_is_refused() -> None:
    with pytest.raises(DataError, match="a test of 1"):
        t_test([0.5])
    with pytest.raises(DataError, match="not a finite number"):
        randomisation_test([0.5, float("nan")])
    with pytest.raises(DataError, match="not measured on the same queries"):
        compare({"a": {"q": 1.0, "r": 1.0}, "b": {"q": 1.0}}, "a", "AP")
