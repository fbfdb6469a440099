from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from lsr.errors import ConfigError, DataError
from lsr.eval.measures import measure_run
from lsr.eval.tune import tune
from lsr.index.fusion import Fusion, Ranking, fuse
from lsr.types import Hit, SearchResult

LEGS = ("sparse", "bm25", "dense")


class Rankings:
    """An index whose legs find what they are told: leg -> query -> {id: score}."""

    def __init__(self, found: dict[str, dict[str, dict[str, float]]]) -> None:
        self.found = found
        self.legs = tuple(found)

    def search_batch(
        self, queries: Sequence[str], *, k: int, mode: str, threads: int | None = None
    ) -> list[SearchResult]:
        results = []
        for query in queries:
            rows = sorted(self.found[mode][query].items(), key=lambda row: (-row[1], row[0]))
            hits = (Hit(name, rank, score) for rank, (name, score) in enumerate(rows[:k], 1))
            results.append(SearchResult(tuple(hits), "exact"))
        return results


def made(n: int = 40, *, good: str = "dense", noise: float = 3.0, legs: Any = LEGS) -> Any:
    """Return an index of which one leg tells relevant documents apart, queries and grades."""
    random = np.random.default_rng(8)
    queries = {f"q{at}": f"text {at}" for at in range(n)}
    grades = {query: {f"d{random.integers(50)}": 1} for query in queries}
    found: dict[str, Any] = {leg: {} for leg in legs}
    for query, text in queries.items():
        for leg in legs:
            scores = random.normal(size=50)
            for name in grades[query]:
                scores[int(name[1:])] += 2.0 if leg == good else 2.0 / noise
            kept = random.choice(50, 30, replace=False)
            found[leg][text] = {f"d{at}": float(scores[at]) for at in kept}
    return Rankings(found), queries, grades


def test_values_of_the_grid_are_those_of_fuse() -> None:
    index, queries, grades = made(10)
    found = tune(index, queries, grades, step=0.5, folds=2, depth=30, resamples=100)
    ids = sorted({f"d{at}" for at in range(50)})
    for setting, value in found.grid:
        run: dict[str, dict[str, float]] = {}
        for query, text in queries.items():
            rankings = {}
            for leg in LEGS:
                rows = sorted(index.found[leg][text].items(), key=lambda row: -row[1])
                keys = np.array([ids.index(name) for name, _ in rows])
                rankings[leg] = Ranking(keys, np.array([score for _, score in rows]))
            fused = fuse(rankings, Fusion(setting.method, setting.weights))
            pairs = zip(fused.keys.tolist(), fused.scores.tolist(), strict=True)
            run[query] = {ids[key]: score for key, score in list(pairs)[:10]}
        per_query = measure_run(grades, run, ["nDCG@10"])["nDCG@10"]
        assert np.mean(list(per_query.values())) == pytest.approx(value), setting
    # 6 weights of three legs and the equal ones, for each of four methods.
    assert len(found.grid) == 4 * 7
    assert [point.value for point in found.grid] == sorted(
        (point.value for point in found.grid), reverse=True
    )


def test_a_leg_that_is_better_gets_more_weight_and_tuning_pays() -> None:
    index, queries, grades = made(120, noise=20.0)
    found = tune(index, queries, grades, step=0.25, folds=4, resamples=1000)
    assert found.best.weights["dense"] > 0.5 and found.pays
    assert found.verdict().startswith("tuning beats the default: nDCG@10")
    assert len(found.folds) == 4 and found.legs["dense"] == max(found.legs.values())
    assert found.best_value >= found.tuned > found.default
    assert "--fusion" in found.best.options() and "dense=" in found.best.options()


def test_chance_is_called_chance() -> None:
    index, queries, grades = made(30, good="none", noise=1e9)
    found = tune(index, queries, grades, step=0.5, folds=3, resamples=1000)
    assert not found.pays and "keep the default" in found.verdict()
    assert found.comparison.n == 30


def test_the_same_seed_gives_the_same_report_and_progress_is_told() -> None:
    index, queries, grades = made(20, legs=("sparse", "bm25"))
    told: list[tuple[int, int]] = []
    first = tune(index, queries, grades, folds=2, resamples=100, methods=["rrf", "minmax"])
    again = tune(
        index,
        queries,
        grades,
        folds=2,
        resamples=100,
        methods=["rrf", "minmax"],
        progress=lambda done, of: told.append((done, of)),
    )
    assert first == again and told[-1] == (22, 22)
    assert first.grid[0].setting == first.best


def test_what_cannot_be_tuned_is_said() -> None:
    index, queries, grades = made(12)
    with pytest.raises(DataError, match="12 judged queries for 7 folds"):
        tune(index, queries, grades, folds=7)
    with pytest.raises(ConfigError, match="needs two legs"):
        tune(made(12, legs=("sparse",))[0], queries, grades)
    with pytest.raises(ConfigError, match=r"step is 0\.3"):
        tune(index, queries, grades, step=0.3)
    with pytest.raises(ConfigError, match="methods"):
        tune(index, queries, grades, methods=["max"])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="not a measure"):
        tune(index, queries, grades, measure="goodness")
