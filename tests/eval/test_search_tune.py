from __future__ import annotations

from pathlib import Path

import pytest

from lsr.eval.search_engines import Build, Setting, engine
from lsr.eval.search_tune import Subject, Tried, chosen, note, remember, worth_another_look


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    return Subject("odd_engines:First", engine("odd_engines:First"), Build("First", {}), tmp_path)


def tried(subject: Subject, recall: float, cpu: list[float], *, exact: bool = False) -> Tried:
    one = Tried(subject, Setting({"recall": recall, "cpu": cpu[0]}, exact))
    one.take({"cpu": cpu, "recall": [recall]})
    return one


def test_least_time_of_each_query_counts(subject: Subject) -> None:
    one = tried(subject, 0.9, [10.0, 80.0, 30.0])
    one.take({"cpu": [50.0, 20.0, 30.0], "recall": [0.9]})
    assert one.p50 == 20.0 and one.p90 == pytest.approx(28.0)


def test_hopeless_settings_are_not_tried_again(subject: Subject) -> None:
    good, near, bad = (tried(subject, 0.95, [cpu]) for cpu in (100.0, 150.0, 170.0))
    accurate = tried(subject, 1.0, [500.0])
    assert worth_another_look([bad, good, near, accurate]) == [good, near, accurate]


def test_best_at_the_median_and_best_in_the_tail_are_both_measured(subject: Subject) -> None:
    steady = tried(subject, 0.95, [100.0] * 10)
    uneven = tried(subject, 0.95, [60.0] * 8 + [900.0] * 2)
    neither = tried(subject, 0.95, [120.0] * 8 + [950.0] * 2)
    slow = tried(subject, 1.0, [3000.0] * 10, exact=True)
    assert chosen([steady, uneven, neither, slow], keep_all=False) == [0, 1, 3]
    assert chosen([steady, uneven, neither, slow], keep_all=True) == [0, 1, 2, 3]


def test_what_was_tried_is_remembered_for_the_same_settings(subject: Subject) -> None:
    places = [tried(subject, 0.9, [10.0]), tried(subject, 1.0, [30.0], exact=True)]
    again = [Tried(subject, one.setting) for one in places]
    assert not remember(again, 10, 200)
    note(places, 10, 200)
    assert remember(again, 10, 200)
    assert [(one.recall, one.p50) for one in again] == [(0.9, 10.0), (1.0, 30.0)]
    assert not remember(again, 10, 100) and not remember(again, 100, 200)
    assert not remember([Tried(subject, Setting({"other": 1}))], 10, 200)
