"""Fusion: the rankings of several legs as one ranking. Pure: arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from lsr.errors import ConfigError

from .places import Names, best_first

Method = Literal["rrf", "minmax", "zscore", "dbsf"]
Missing = Literal["zero", "min", "rescore"]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

METHODS: tuple[Method, ...] = get_args(Method)
MISSING: tuple[Missing, ...] = get_args(Missing)
#: The constant of reciprocal rank fusion (Cormack et al., SIGIR 2009).
RRF_K = 60.0


class Ranking(NamedTuple):
    """What one leg found, best first: `keys` int64, each once, and `scores` float64, falling."""

    keys: Ints
    scores: Floats


class Column(NamedTuple):
    """What one leg says of each candidate: `scores` float64 (NaN: none), `ranks` int64 (0: none).

    Ranks begin at 1. `found` has the scores of the leg's own ranking, best first, from which
    scores are normalised.
    """

    scores: Floats
    ranks: Ints
    found: Floats


class Fused(NamedTuple):
    """The candidates, best first, their fused scores (float64), and what each leg says of them.

    `shares` float64 are what each leg adds to a score; none for a function.
    """

    keys: Ints
    scores: Floats
    legs: Mapping[str, Column]
    shares: Mapping[str, Floats]


#: From what each leg says of the candidates, and their weights, to a score for each candidate.
Combine = Callable[[Mapping[str, Column], Mapping[str, float]], npt.ArrayLike]
#: From a leg and keys that it did not find to their true scores, NaN where it does not match.
Rescore = Callable[[str, Ints], Floats]


@dataclass(frozen=True, slots=True)
class Fusion:
    """How the rankings of legs become one; `fuse` says by which rules.

    `method` is `rrf`, `minmax`, `zscore`, `dbsf` or a function (see `Combine`); `weights` are 1
    for legs that it does not name; `k` is the constant of `rrf`. `missing` says what a document
    gets from a leg that did not find it: None stands for `min` with zscore, else for `zero`.

    >>> Fusion("minmax", weights={"dense": 2}).weight("dense")
    2.0
    """

    method: Method | Combine = "rrf"
    weights: Mapping[str, float] = field(default_factory=dict)
    k: float = RRF_K
    missing: Missing | None = None

    def __post_init__(self) -> None:
        if not callable(self.method) and self.method not in METHODS:
            raise ConfigError(
                f"there is no fusion {self.method!r}; {', '.join(METHODS)} or a function is "
                "expected"
            )
        if self.missing is not None and self.missing not in MISSING:
            raise ConfigError(f"missing is {self.missing!r}; {', '.join(MISSING)} are expected")
        if not (isinstance(self.k, int | float) and isfinite(self.k) and self.k >= 0):
            raise ConfigError(f"the k of rrf is {self.k!r}; a number of at least 0 is expected")
        for leg, weight in self.weights.items():
            if not (isinstance(weight, int | float) and isfinite(weight) and weight >= 0):
                raise ConfigError(
                    f"the weight of {leg!r} is {weight!r}; a number of at least 0 is expected"
                )

    def weight(self, leg: str) -> float:
        """Return the weight of a leg."""
        return float(self.weights.get(leg, 1.0))

    def imputation(self) -> Missing:
        """Return what `missing` stands for."""
        return self.missing or ("min" if self.method == "zscore" else "zero")

    def chosen(self, legs: Sequence[str]) -> list[str]:
        """Return the legs with a weight above 0; ConfigError for none, or for unknown weights."""
        for name in self.weights:
            if name not in legs:
                raise ConfigError(
                    f"there is a weight for {name!r}, but the search has {', '.join(legs)}"
                )
        kept = [leg for leg in legs if self.weight(leg) > 0]
        if not kept:
            raise ConfigError("every leg has the weight 0; one at least needs more")
        return kept

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON; a function by its name."""
        method = self.method if isinstance(self.method, str) else self.method.__name__
        found = {"method": method, "weights": dict(self.weights), "missing": self.imputation()}
        return found | ({"k": self.k} if self.method == "rrf" else {})


def fuse(
    rankings: Mapping[str, Ranking],
    fusion: Fusion,
    *,
    k: int | None = None,
    names: Names = lambda keys: keys.tolist(),
    rescore: Rescore | None = None,
) -> Fused:
    """Return the k best documents that any leg found, all for None, best first. The rules:

    - Ranks begin at 1. Equal fused scores are ordered by what `names` gives for the keys.
    - `rrf`: the sum over the legs of weight / (k + rank) (Cormack et al., SIGIR 2009).
    - `minmax`, `zscore`, `dbsf`: the mean over the legs of the normalised scores, by weight.
      Normalised is over all that a leg found, never over a page of it: (s - min) / (max - min);
      (s - mean) / sd with the population's sd; (s - mean) / (6 sd) + 0.5 with the sample's sd,
      unclipped. Where all scores of a leg are equal they become 1, 0 and 0.5.
    - A document that a leg did not find: with `zero` the leg adds nothing. With `min` it counts
      as if it had come right behind the leg's last hit (rrf), or had scored as that hit did. With
      `rescore` it gets its true score, which takes part in the leg's ranking (rrf) or is
      normalised as the others are, without changing how; no score at all stays `zero`, or in
      sums of scores counts as 0 before normalising.
    - A leg that found nothing adds nothing; one with the weight 0 does not take part at all.

    Raises ConfigError when `missing` is `rescore` and no `rescore` is given, and for a function
    that does not give one finite score for each candidate.

    >>> a = Ranking(np.array([7, 8]), np.array([2.0, 1.0]))
    >>> b = Ranking(np.array([8]), np.array([0.5]))
    >>> fuse({"sparse": a, "bm25": b}, Fusion()).keys.tolist()
    [8, 7]
    """
    legs = fusion.chosen(list(rankings))
    keys = np.unique(np.concatenate([rankings[leg].keys for leg in legs])).astype(np.int64)
    columns = {leg: columns_of(rankings[leg], keys) for leg in legs}
    complete = columns
    if fusion.imputation() == "rescore":
        if rescore is None:
            raise ConfigError("missing is 'rescore', but there is nothing to score with")
        complete = {leg: _rescored(leg, column, keys, rescore) for leg, column in columns.items()}
    scores, shares = _combined(fusion, complete, len(keys))
    order = best_first(keys, scores, names, k)
    ordered = {
        leg: Column(column.scores[order], columns[leg].ranks[order], column.found)
        for leg, column in complete.items()
    }
    by_leg = {leg: share[order] for leg, share in shares.items()}
    return Fused(keys[order], scores[order], ordered, by_leg)


def columns_of(ranking: Ranking, keys: Ints) -> Column:
    """Return what a ranking says of each key."""
    scores = np.full(len(keys), np.nan)
    ranks = np.zeros(len(keys), np.int64)
    _, at, among = np.intersect1d(keys, ranking.keys, assume_unique=True, return_indices=True)
    scores[at] = ranking.scores[among]
    ranks[at] = among + 1
    return Column(scores, ranks, np.asarray(ranking.scores, np.float64))


def _rescored(leg: str, column: Column, keys: Ints, rescore: Rescore) -> Column:
    """Return the column with the true scores of what was missing, ranked among the others."""
    absent = np.flatnonzero(column.ranks == 0)
    if not len(absent):
        return column
    scores = column.scores.copy()
    scores[absent] = rescore(leg, keys[absent])
    matching = np.flatnonzero(~np.isnan(scores))
    # Found ones keep their order among themselves, and stand before others of the same score.
    before = np.where(column.ranks[matching] > 0, column.ranks[matching], len(keys) + 1)
    order = matching[np.lexsort((matching, before, -scores[matching]))]
    ranks = np.zeros(len(keys), np.int64)
    ranks[order] = np.arange(1, len(order) + 1)
    return Column(scores, ranks, column.found)


def _combined(
    fusion: Fusion, columns: Mapping[str, Column], n: int
) -> tuple[Floats, dict[str, Floats]]:
    """Return the score of each candidate, and what each leg adds to it."""
    weights = {leg: fusion.weight(leg) for leg in columns}
    if not isinstance(fusion.method, str):
        return _by_function(fusion.method, columns, weights, n), {}
    shares = {}
    for leg, column in columns.items():
        if not len(column.found):
            shares[leg] = np.zeros(n)
        elif fusion.method == "rrf":
            shares[leg] = weights[leg] * _reciprocal(column, fusion.k, fusion.imputation())
        else:
            weight = weights[leg] / sum(weights.values())
            shares[leg] = weight * _normalised(column, fusion.method, fusion.imputation())
    return np.sum(list(shares.values()), axis=0), shares


def _reciprocal(column: Column, k: float, missing: Missing) -> Floats:
    absent = column.ranks == 0
    ranks = np.where(absent, len(column.found) + 1, column.ranks)
    shares: Floats = 1.0 / (k + ranks)
    return shares if missing == "min" else np.where(absent, 0.0, shares)


def _normalised(column: Column, method: Method, missing: Missing) -> Floats:
    """Return a number for each candidate: its score on the scale of what the leg found."""
    absent = np.isnan(column.scores)
    instead = column.found.min() if missing == "min" else 0.0
    values = normalise(column.found, np.where(absent, instead, column.scores), method)
    return np.where(absent, 0.0, values) if missing == "zero" else values


def normalise(found: Floats, scores: Floats, method: Method) -> Floats:
    """Return `scores` on the scale that the scores `found` by a leg set; `fuse` has the rules.

    >>> normalise(np.array([4.0, 2.0]), np.array([4.0, 3.0, 2.0]), "minmax").tolist()
    [1.0, 0.5, 0.0]
    """
    spread, middle, constant = _scale(found, method)
    values: Floats
    if spread <= 1e-12 * float(np.abs(found).max()):
        # All the same: that value, and half a step above or below for what was scored later.
        values = constant + 0.5 * np.sign(scores - found[0])
    elif method == "dbsf":
        values = (scores - middle) / spread + 0.5
    else:
        values = (scores - middle) / spread
    return values


def _scale(found: Floats, method: Method) -> tuple[float, float, float]:
    """Return by what to divide, what to subtract, and what scores that are all equal become."""
    if method == "minmax":
        return float(np.ptp(found)), float(found.min()), 1.0
    middle = float(found.mean())
    if method == "zscore":
        return float(found.std()), middle, 0.0
    return 6.0 * float(found.std(ddof=1)) if len(found) > 1 else 0.0, middle, 0.5


def _by_function(
    combine: Combine, columns: Mapping[str, Column], weights: Mapping[str, float], n: int
) -> Floats:
    scores = np.asarray(combine(columns, weights), np.float64)
    if scores.shape != (n,) or not np.isfinite(scores).all():
        found = f"shape {scores.shape}" if scores.shape != (n,) else "NaN or infinity among them"
        raise ConfigError(
            f"the fusion function gave scores with {found}; one finite number for each of the "
            f"{n} candidates is expected"
        )
    return scores
