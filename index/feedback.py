"""Feedback: a query made richer by the documents that it found. Pure: vectors in, vectors out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from lsr.errors import ConfigError
from lsr.sparse import SparseVector, SparseVectors

When = Literal["pre", "post", "both"]
DenseMethod = Literal["rocchio", "average"]
Floats = npt.NDArray[np.float32]

WHEN: tuple[When, ...] = get_args(When)

#: RM3 leaves terms out that more than this share of the documents has, and more than so many, or
#: a small collection would have no terms to add.
COMMON_SHARE, COMMON_COUNT = 0.1, 100


@dataclass(frozen=True, slots=True)
class Feedback:
    """Pseudo-relevance feedback: the best `docs` documents make the query richer, once.

    `when` says, in a search over several legs, when the rankings are fused (Li et al.,
    arXiv 2205.00235): `pre`: the feedback documents come from the fused ranking, and the result is
    the one feedback leg's new ranking; `post`: each leg takes its own best documents, and the new
    rankings are fused; `both`: the documents come from the fused ranking, and the new rankings are
    fused again. `legs` are those that get a new query: None for all of them, and with `pre` for
    the dense leg where the search has one, else for the first. `terms` are added at most; `alpha`
    is the share of the query as it was asked, `dense` how dense vectors are combined ("average"
    gives the query the share of one document, whatever `alpha` says).
    """

    docs: int = 3
    terms: int = 20
    alpha: float = 0.6
    when: When = "both"
    legs: tuple[str, ...] | None = None
    dense: DenseMethod = "rocchio"

    def __post_init__(self) -> None:
        for name in ("docs", "terms"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 1000:
                raise ConfigError(f"feedback {name} is {value!r}; 1 to 1000 is expected")
        if not (isinstance(self.alpha, int | float) and 0 <= self.alpha <= 1):
            raise ConfigError(f"feedback alpha is {self.alpha!r}; 0 to 1 is expected")
        if self.when not in WHEN:
            raise ConfigError(f"feedback when is {self.when!r}; {', '.join(WHEN)} are expected")
        if self.dense not in get_args(DenseMethod):
            raise ConfigError(
                f"feedback on the dense leg is {self.dense!r}; rocchio or average is expected"
            )

    def chosen(self, legs: Sequence[str]) -> list[str]:
        """Return the legs of a search that get a new query, in the order of the search.

        Raises ConfigError for a leg that the search does not have, and for `pre` with several.
        """
        if self.legs is None:
            if self.when != "pre":
                return list(legs)
            return ["dense"] if "dense" in legs else list(legs[:1])
        for name in self.legs:
            if name not in legs:
                raise ConfigError(
                    f"feedback is asked for on the leg {name!r}, but the search has "
                    f"{', '.join(legs)}"
                )
        if self.when == "pre" and len(set(self.legs)) > 1 and len(legs) > 1:
            raise ConfigError(
                "feedback `pre` gives the ranking of one leg, but it is asked for on "
                + ", ".join(self.legs),
                hint="name one leg, or fuse again afterwards: `both`",
            )
        return [leg for leg in legs if leg in self.legs]

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON."""
        found = asdict(self)
        return {**found, "legs": None if self.legs is None else list(self.legs)}


def rm3(
    query: Mapping[str, float],
    documents: Sequence[Mapping[str, float]],
    scores: Sequence[float],
    *,
    terms: int,
    alpha: float,
    keep: Callable[[str], bool] = lambda term: True,
) -> dict[str, float]:
    """Return a query of weighted terms by the third relevance model (Abdul-Jaleel et al., 2004).

    `documents` are term frequencies. P(w|R) is the mean over the documents of tf / length,
    weighted by their scores (alike, where one is not above 0). Of the terms for which `keep`
    holds, the `terms` likeliest are scaled to the sum 1 and mixed with the query, scaled alike:
    alpha of the query, 1 - alpha of them. Ties by term. With nothing to add, the query alone.

    >>> rm3({"cat": 1}, [{"cat": 1, "purr": 3}], [1.0], terms=1, alpha=0.5)
    {'cat': 0.5, 'purr': 0.5}
    """
    asked = _to_sum_one(query)
    weights = [1.0] * len(scores) if min(scores, default=0) <= 0 else list(scores)
    model: dict[str, float] = {}
    for document, weight in zip(documents, weights, strict=True):
        length = sum(document.values())
        for term, frequency in document.items():
            if keep(term):
                model[term] = model.get(term, 0.0) + weight * frequency / length
    likeliest = sorted(model, key=lambda term: (-model[term], term))[:terms]
    added = _to_sum_one({term: model[term] for term in likeliest})
    if not added:
        return asked
    mixed = {term: alpha * weight for term, weight in asked.items()}
    for term, weight in added.items():
        mixed[term] = mixed.get(term, 0.0) + (1 - alpha) * weight
    return {term: weight for term, weight in mixed.items() if weight > 0}


def rocchio_sparse(
    query: SparseVector, documents: SparseVectors, *, terms: int, alpha: float
) -> SparseVector:
    """Return the query moved towards the mean of the documents (Rocchio, 1971).

    Both are scaled to length 1 first, the mean after all but its `terms` heaviest terms are
    dropped (ties by term): alpha of the query, 1 - alpha of the mean, and the whole scaled to
    the query's own length, so that scores stay of the same size.

    >>> from lsr.sparse import SparseVectors
    >>> both = SparseVectors.from_dicts([{1: 2.0}, {1: 3.0, 4: 4.0}], vocab_size=9)
    >>> rocchio_sparse(both[0], both.slice(1, 2), terms=1, alpha=0.5).terms.tolist()
    [1, 4]
    """
    places, at = np.unique(documents.terms, return_inverse=True)
    mean = np.zeros(len(places))
    lengths = np.diff(documents.indptr)
    norms = np.sqrt(_row_sums(documents.weights.astype(np.float64) ** 2, documents.indptr))
    np.add.at(mean, at, documents.weights / np.repeat(norms, lengths))
    best = np.sort(np.lexsort((places, -mean))[:terms])
    places, mean = places[best], mean[best]
    length, total = float(np.linalg.norm(query.weights)), float(np.linalg.norm(mean))
    if total == 0 or length == 0:
        return query
    all_terms = np.union1d(query.terms, places)
    mixed = np.zeros(len(all_terms))
    mixed[np.searchsorted(all_terms, query.terms)] += alpha * query.weights / length
    mixed[np.searchsorted(all_terms, places)] += (1 - alpha) * mean / total
    mixed *= length / float(np.linalg.norm(mixed))
    weights = mixed.astype(np.float32)
    kept = weights > 0
    return SparseVector(all_terms[kept].astype(np.uint32), weights[kept])


def rocchio_dense(query: Floats, documents: Floats, *, alpha: float) -> Floats:
    """Return alpha of the query and 1 - alpha of the documents' mean (Li et al., 2205.00235).

    >>> rocchio_dense(np.float32([1, 0]), np.float32([[0, 1], [0, 3]]), alpha=0.5).tolist()
    [0.5, 1.0]
    """
    mean = documents.mean(axis=0, dtype=np.float64)
    moved: Floats = (alpha * query + (1 - alpha) * mean).astype(np.float32)
    return moved


def average_dense(query: Floats, documents: Floats) -> Floats:
    """Return the mean of the query and the documents, each counting alike.

    >>> average_dense(np.float32([3, 0]), np.float32([[0, 3], [0, 3]])).tolist()
    [1.0, 2.0]
    """
    return rocchio_dense(query, documents, alpha=1 / (1 + len(documents)))


def _to_sum_one(weights: Mapping[str, float]) -> dict[str, float]:
    total = sum(weights.values())
    return {term: weight / total for term, weight in weights.items()} if total > 0 else {}


def _row_sums(values: npt.NDArray[np.float64], indptr: npt.NDArray[np.int64]) -> Any:
    return np.diff(np.concatenate([[0.0], np.cumsum(values)])[indptr])
