"""tune: which fusion of an index's legs is best on judged queries, and whether that is chance."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from lsr.errors import ConfigError, DataError
from lsr.index.fusion import METHODS, Fusion, Method, Missing, Ranking, columns_of, fuse
from lsr.qrels import Grades

from .measures import measure_run, parse_measures
from .statistics import RESAMPLES, SEED, Comparison, compare

if TYPE_CHECKING:
    from lsr.index.index import Index
    from lsr.types import SearchResult

Floats = npt.NDArray[np.float64]

#: Differences with a larger p-value are taken for chance.
_CHANCE = 0.05
#: The names of the two systems whose difference is tested.
TUNED, DEFAULT = "tuned", "default"


class Setting(NamedTuple):
    """One point of the grid: a method, and the weight of each leg; weights sum to 1."""

    method: Method
    weights: Mapping[str, float]

    def options(self) -> str:
        """Return it as options of `lsr search`.

        >>> Setting("rrf", {"sparse": 0.5, "bm25": 0.5}).options()
        '--fusion rrf --weights sparse=0.5,bm25=0.5'
        """
        weights = ",".join(f"{leg}={weight:g}" for leg, weight in self.weights.items())
        return f"--fusion {self.method} --weights {weights}"


class Point(NamedTuple):
    """A setting and the mean of the measure over all queries."""

    setting: Setting
    value: float


@dataclass(frozen=True, slots=True)
class Tuned:
    """What tuning found.

    `best` is the best setting on all queries; `grid` has all of them, best first. `tuned` is the
    mean over queries that took no part in the choice of their setting (cross-validation), and
    `folds` what was chosen without each fold. `comparison` tests that against `default`, which
    is rrf with equal weights. `legs` are the means of the legs alone.
    """

    measure: str
    best: Setting
    best_value: float
    tuned: float
    default: float
    legs: Mapping[str, float]
    folds: tuple[Setting, ...]
    comparison: Comparison
    grid: tuple[Point, ...]
    missing: str
    depth: int

    @property
    def pays(self) -> bool:
        """Whether tuning beats the default by more than chance explains (p < 0.05)."""
        found = self.comparison
        return found.difference > 0 and max(found.t_p, found.r_p) < _CHANCE

    def verdict(self) -> str:
        """Return in a sentence whether to use the best setting."""
        found = self.comparison
        figures = (
            f"{self.measure} {self.tuned:.4f} cross-validated, default {self.default:.4f}, "
            f"difference {found.difference:+.4f} (95 % from {found.low:+.4f} to "
            f"{found.high:+.4f}), p {found.t_p:.3g} (t-test), {found.r_p:.3g} (randomisation), "
            f"{found.n} queries"
        )
        if self.pays:
            return f"tuning beats the default: {figures}"
        return f"tuning does not beat the default significantly, so keep the default: {figures}"


def tune(
    index: Index,
    queries: Mapping[str, str],
    grades: Grades,
    *,
    measure: str = "nDCG@10",
    methods: Sequence[Method] = METHODS,
    step: float = 0.1,
    missing: Missing | None = None,
    depth: int = 1000,
    folds: int = 5,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Tuned:
    """Return the best fusion of the legs of an index on judged queries, with its whole grid.

    Every method is tried with all weights that are multiples of `step` and sum to 1, so that the
    legs alone and all pairs are among them. Each leg is searched once to `depth`. A setting is
    chosen by the mean of the measure; ties go to the one nearest to equal weights, then to the
    first method. `progress` is told how many settings of how many are done.

    Raises ConfigError for an index of one leg and DataError for fewer queries than two a fold.
    """
    name = _one_measure(measure)
    if missing == "rescore":
        raise ConfigError(
            "tuning fuses what the legs have found; `rescore` would search for each setting",
            hint="tune with zero or min",
        )
    legs = list(index.legs)
    if len(legs) < 2:
        raise ConfigError(f"tuning needs two legs; the index has {', '.join(legs)}")
    asked = [query for query in queries if query in grades]
    if folds < 2 or len(asked) < 2 * folds:
        raise DataError(
            f"there are {len(asked)} judged queries for {folds} folds; two folds and two queries "
            "in each are the least",
            hint="give more judged queries, or a smaller --folds",
        )
    settings = _grid(legs, methods, step)
    texts = [queries[query] for query in asked]
    tables = [_Table(found, methods, missing) for found in _search(index, texts, depth, threads)]
    judged = {query: grades[query] for query in asked}
    values = np.zeros((len(settings), len(asked)))
    for at, setting in enumerate(settings):
        run = {
            query: table.best(setting, _cutoff(name, depth))
            for query, table in zip(asked, tables, strict=True)
        }
        found = measure_run(judged, run, [name])[name]
        values[at] = [found[query] for query in asked]
        if progress is not None:
            progress(at + 1, len(settings))
    means = values.mean(axis=1)
    ranked = np.argsort(-means, kind="stable")
    tuned, picks = _cross_validated(values, folds, seed)
    baseline = values[0]
    [comparison] = compare(
        {
            DEFAULT: dict(zip(asked, baseline.tolist(), strict=True)),
            TUNED: dict(zip(asked, tuned.tolist(), strict=True)),
        },
        DEFAULT,
        name,
        resamples=resamples,
        seed=seed,
    )
    return Tuned(
        measure=name,
        best=settings[int(ranked[0])],
        best_value=float(means[ranked[0]]),
        tuned=float(tuned.mean()),
        default=float(baseline.mean()),
        legs={leg: float(means[_alone(settings, leg)]) for leg in legs},
        folds=tuple(settings[at] for at in picks),
        comparison=comparison,
        grid=tuple(Point(settings[at], float(means[at])) for at in ranked.tolist()),
        missing=missing or "by method",
        depth=depth,
    )


def _grid(legs: Sequence[str], methods: Sequence[Method], step: float) -> list[Setting]:
    """Return all settings, plainest first, so that of equal ones the plainest is chosen.

    The first is the default: rrf with equal weights.
    """
    if not methods or any(method not in METHODS for method in methods):
        raise ConfigError(f"methods are {list(methods)}; some of {', '.join(METHODS)} are expected")
    parts = round(1 / step) if 0 < step <= 1 else 0
    if not parts or abs(parts * step - 1) > 1e-9:
        raise ConfigError(f"step is {step}; a part of 1 such as 0.1 or 0.25 is expected")
    equal = {leg: round(1 / len(legs), 6) for leg in legs}
    shares = [equal]
    for counts in itertools.product(range(parts + 1), repeat=len(legs)):
        weights = {leg: count / parts for leg, count in zip(legs, counts, strict=True)}
        if sum(counts) == parts and len(set(counts)) > 1:
            shares.append(weights)
    shares.sort(key=lambda weights: sum(abs(weights[leg] - equal[leg]) for leg in legs))
    settings = [Setting(method, weights) for weights in shares for method in methods]
    default = Setting("rrf", equal)
    return [default, *(one for one in settings if one != default)]


def _alone(settings: Sequence[Setting], leg: str) -> int:
    return next(at for at, one in enumerate(settings) if one.weights[leg] == 1)


def _cross_validated(values: Floats, folds: int, seed: int) -> tuple[Floats, list[int]]:
    """Return each query's value in the setting that is best on the other folds, and those."""
    n_queries = values.shape[1]
    fold_of = np.random.default_rng(seed).permutation(n_queries) % folds
    held_out = np.zeros(n_queries)
    picks = []
    for fold in range(folds):
        inside = fold_of == fold
        # Sums of the same figures in another order must not decide between equal settings.
        picks.append(int(np.argmax(np.round(values[:, ~inside].mean(axis=1), 12))))
        held_out[inside] = values[picks[-1], inside]
    return held_out, picks


class _Table:
    """What the legs found for one query: for each method, what each leg gives each candidate."""

    def __init__(
        self, found: Mapping[str, SearchResult], methods: Sequence[Method], missing: Missing | None
    ) -> None:
        lists = {leg: (result.ids, result.scores) for leg, result in found.items()}
        # Ids in the order that decides between equal scores.
        self._ids = sorted({name for ids, _ in lists.values() for name in ids}, key=str.encode)
        number = {name: at for at, name in enumerate(self._ids)}
        self._legs = list(lists)
        rankings = {
            leg: Ranking(np.array([number[name] for name in ids], np.int64), np.array(scores))
            for leg, (ids, scores) in lists.items()
        }
        keys = np.arange(len(self._ids))
        ranks = [columns_of(ranking, keys).ranks for ranking in rankings.values()]
        self._there = np.array(ranks).reshape(len(lists), -1) > 0
        self._shares = {
            method: self._of(rankings, Fusion(method, missing=missing))
            for method in {*methods, "rrf"}
        }

    def _of(self, rankings: Mapping[str, Ranking], fusion: Fusion) -> Floats:
        fused = fuse(rankings, fusion)
        shares = np.zeros((len(rankings), len(self._ids)))
        for at, leg in enumerate(self._legs):
            shares[at, fused.keys] = fused.shares[leg]
        return shares

    def best(self, setting: Setting, k: int) -> dict[str, float]:
        """Return the k best documents of a setting and their scores."""
        weights = np.array([setting.weights[leg] for leg in self._legs])
        there = self._there[weights > 0].any(axis=0)
        scores = weights @ self._shares[setting.method]
        scores[~there] = -np.inf
        order = np.argsort(-scores, kind="stable")[: min(k, int(there.sum()))]
        return {self._ids[at]: float(scores[at]) for at in order.tolist()}


def _search(
    index: Index, texts: Sequence[str], depth: int, threads: int | None
) -> list[dict[str, SearchResult]]:
    """Return what each leg finds for each query."""
    found: list[dict[str, SearchResult]] = [{} for _ in texts]
    for leg in index.legs:
        results = index.search_batch(list(texts), k=depth, mode=leg, threads=threads)
        for one, result in zip(found, results, strict=True):
            one[leg] = result
    return found


def _one_measure(measure: str) -> str:
    found = parse_measures([measure])
    if len(found) != 1:
        raise ConfigError(f"{measure!r} is not one measure")
    return found[0]


def _cutoff(measure: str, depth: int) -> int:
    """Return how many hits a measure looks at."""
    _, at, cutoff = measure.partition("@")
    return min(depth, int(cutoff)) if at and cutoff.isdigit() else depth
