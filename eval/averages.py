"""Averages over datasets, and the test of a difference between two of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .references import BEIR_13, BEIR_18
from .results import DatasetResult
from .statistics import holm, randomisation_test

_FORUMS, _N_FORUMS = "cqadupstack", 12


@dataclass(frozen=True, slots=True)
class Average:
    """The mean over datasets of a system's means, each dataset counting the same.

    The forums of CQADupStack are one dataset of BEIR: the mean of its forums counts once.
    `p` tests the difference from the baseline's average: signs are flipped within each dataset,
    every query weighing one part of its dataset; `p_holm` is corrected for the number of
    systems. None for the baseline itself and where its baseline differs between datasets.
    """

    system: str
    value: float
    difference: float | None = None
    p: float | None = None
    p_holm: float | None = None


def average_name(results: Sequence[DatasetResult]) -> str:
    """Return what an average over these datasets is called; BEIR-13 and -18 only where it is."""
    names = {collection(one) for one in results}
    n_forums = sum(collection(one) == _FORUMS for one in results)
    if names == set(BEIR_13):
        return "BEIR-13"
    if names == set(BEIR_18) and n_forums == _N_FORUMS:
        return "BEIR-18"
    return f"mean of {len(names)}"


def collection(result: DatasetResult) -> str:
    """Return what a dataset counts as in an average: its name, or CQADupStack for a forum."""
    name = result.name.removeprefix("irds:").removeprefix("beir/").lower()
    first = name.split("/")[0]
    return first if first == _FORUMS or first in BEIR_18 else name


def averages(
    results: Sequence[DatasetResult], measure: str, *, resamples: int, seed: int
) -> list[Average]:
    """Return the average of each system that was run on all datasets, in the first one's order."""
    shared = [
        system.name
        for system in results[0].systems
        if all(any(one.name == system.name for one in other.systems) for other in results)
    ]
    baselines = {one.baseline for one in results}
    found = []
    for name in shared:
        weights = _weights(results)
        values = [one.system(name).means[measure] for one in results]
        value = sum(weight * one for weight, one in zip(weights, values, strict=True))
        if baselines == {name} or len(baselines) > 1:
            found.append(Average(name, value))
            continue
        differences = _weighted(results, name, measure)
        p = randomisation_test(differences, resamples=resamples, seed=seed)
        found.append(Average(name, value, float(np.mean(differences)), p))
    corrected = iter(holm([one.p for one in found if one.p is not None]))
    return [
        one
        if one.p is None
        else Average(one.system, one.value, one.difference, one.p, next(corrected))
        for one in found
    ]


def _weights(results: Sequence[DatasetResult]) -> list[float]:
    """Return what each result weighs in an average: the same for every collection."""
    counts = Counter(collection(one) for one in results)
    return [1 / (len(counts) * counts[collection(one)]) for one in results]


def _weighted(results: Sequence[DatasetResult], name: str, measure: str) -> list[float]:
    """Return differences scaled so that their mean is the difference of the two averages."""
    n = sum(one.n_queries for one in results)
    scaled = []
    for result, part in zip(results, _weights(results), strict=True):
        values = result.system(name).per_query[measure]
        base = result.system(result.baseline).per_query[measure]
        weight = n * part / len(base)
        scaled += [weight * (values[query] - base[query]) for query in base]
    return scaled
