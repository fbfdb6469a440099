"""Is a difference between two systems more than chance? Tests over the same queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lsr.errors import ConfigError, DataError

#: Sign patterns drawn by a randomisation test; all of them where there are no more than that.
RESAMPLES = 10_000
SEED = 20205

_BATCH = 1_000_000
#: A difference below this is a tie: the figures come as sums of float64.
_TIE = 1e-9

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a system differs from a baseline in one measure, over the queries of both.

    `difference` is the mean of system minus baseline, `low` and `high` bound it with 95 %
    confidence (Student). `t_p` and `r_p` are two-sided p-values of the paired t-test and the
    randomisation test, `t_holm` and `r_holm` the same after Holm's correction over the
    comparisons made together. `effect` is Cohen's d of paired differences (mean / deviation);
    None where all differences are equal. Wins, ties and losses count queries.
    """

    system: str
    baseline: str
    measure: str
    n: int
    difference: float
    low: float
    high: float
    t_p: float
    r_p: float
    effect: float | None
    wins: int
    ties: int
    losses: int
    t_holm: float = 1.0
    r_holm: float = 1.0


def t_test(differences: Sequence[float] | Floats) -> tuple[float, float, float]:
    """Return the p-value of the paired t-test, and the 95 % interval of the mean difference.

    Equal to scipy's `ttest_rel`. Where all differences are equal there is nothing to estimate:
    p is 1 for zeros and 0 otherwise. Raises DataError for fewer than two queries.
    """
    values = _checked(differences)
    if np.ptp(values) < _TIE:
        center = float(values.mean())
        return (1.0 if abs(center) < _TIE else 0.0), center, center
    from scipy.stats import ttest_1samp

    found = ttest_1samp(values, 0.0)
    interval = found.confidence_interval(0.95)
    return float(found.pvalue), float(interval.low), float(interval.high)


def randomisation_test(
    differences: Sequence[float] | Floats, *, resamples: int = RESAMPLES, seed: int = SEED
) -> float:
    """Return the two-sided p-value of Fisher's randomisation test on the mean difference.

    Under the null hypothesis each query's difference may as well have the other sign (Smucker,
    Allan and Carterette, CIKM 2007). Every pattern of signs is tried where there are at most
    `resamples`, so that p is exact; else that many are drawn and p is (hits + 1) / (drawn + 1).

    >>> randomisation_test([0.1, 0.2, 0.3])
    0.25
    """
    values = _checked(differences)
    if resamples < 1:
        raise ConfigError(f"resamples is {resamples}; it must be 1 or more")
    if np.abs(values).max() < _TIE:
        return 1.0
    from scipy.stats import permutation_test

    found = permutation_test(
        (values,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, _BATCH // len(values)),
        alternative="two-sided",
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected by Holm's step-down procedure (1979), in the order given.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda at: p_values[at])
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, at in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[at]))
        corrected[at] = highest
    return corrected


def compare(
    systems: Mapping[str, Mapping[str, float]],
    baseline: str,
    measure: str,
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> list[Comparison]:
    """Return how each system differs from the baseline, corrected for their number by Holm.

    `systems` maps names to values by query; all must have the same queries. Raises DataError
    when they have not, or fewer than two.
    """
    base = systems[baseline]
    found = []
    for name, values in systems.items():
        if name == baseline:
            continue
        if values.keys() != base.keys():
            raise DataError(f"{name} and {baseline} were not measured on the same queries")
        found.append(_compare(name, values, baseline, base, measure, resamples, seed))
    return with_holm(found)


def with_holm(found: Sequence[Comparison]) -> list[Comparison]:
    """Return comparisons that were made together with their corrected p-values."""
    from dataclasses import replace

    t_holm, r_holm = holm([one.t_p for one in found]), holm([one.r_p for one in found])
    return [
        replace(one, t_holm=t, r_holm=r) for one, t, r in zip(found, t_holm, r_holm, strict=True)
    ]


def _compare(
    system: str,
    values: Mapping[str, float],
    baseline: str,
    base: Mapping[str, float],
    measure: str,
    resamples: int,
    seed: int,
) -> Comparison:
    differences = np.array([values[query] - base[query] for query in base], np.float64)
    t_p, low, high = t_test(differences)
    deviation = float(differences.std(ddof=1))
    return Comparison(
        system=system,
        baseline=baseline,
        measure=measure,
        n=len(differences),
        difference=float(differences.mean()),
        low=low,
        high=high,
        t_p=t_p,
        r_p=randomisation_test(differences, resamples=resamples, seed=seed),
        effect=None if deviation < _TIE else float(differences.mean()) / deviation,
        wins=int((differences > _TIE).sum()),
        ties=int((np.abs(differences) <= _TIE).sum()),
        losses=int((differences < -_TIE).sum()),
    )


def _checked(differences: Sequence[float] | Floats) -> Floats:
    values = np.asarray(differences, np.float64)
    if len(values) < 2:
        raise DataError(f"a test of {len(values)} quer(ies) says nothing; two and more are needed")
    if not np.isfinite(values).all():
        raise DataError("a difference between two systems is not a finite number")
    return values
