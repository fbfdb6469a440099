"""When to interpolate: every sparse kind x way of dense feedback x time of fusion, on judged sets.

    python benchmarks/interpolation.py --dense-model MODEL --work WORK FOLDER...

Feedback goes to the dense leg, which is fused (minmax) with BM25, with learned sparse vectors or
with both, as in arXiv:2205.00235; and to every leg. Indexes are those of `lsr eval FOLDER...
--legs bm25,sparse,dense --dense-model MODEL --work WORK`, or are built like them. Writes a Markdown
table of mean nDCG@10: each dataset counts the same; p of the difference from the fusion without
feedback, by flipping signs within each dataset.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lsr.dense_encoder import load_dense_encoder
from lsr.eval.datasets import Dataset, load_dataset, scan_corpus
from lsr.eval.indexes import ready_index
from lsr.eval.measures import measure_run
from lsr.eval.settings import EvalSettings, checked_settings
from lsr.eval.statistics import randomisation_test
from lsr.index.feedback import WHEN, Feedback
from lsr.index.fusion import Fusion
from lsr.index.index import Index
from lsr.output import Output

MEASURE = "nDCG@10"
KINDS = {"BM25": ("bm25",), "learned sparse": ("sparse",), "both": ("sparse", "bm25")}
#: Name of a row -> its feedback but for `when`.
WAYS = {
    "on dense, Rocchio": {"legs": ("dense",), "dense": "rocchio"},
    "on dense, average": {"legs": ("dense",), "dense": "average"},
    "on every leg, Rocchio": {},
}

Values = Mapping[str, float]


class Row(NamedTuple):
    """A sparse kind and a way of feedback."""

    kind: str
    way: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--dense-model", required=True)
    parser.add_argument("--work", type=Path, required=True)
    given = parser.parse_args()
    settings = checked_settings(
        systems=["bm25", "sparse", "dense", "hybrid"], dense_model=given.dense_model, threads=1
    )
    found: dict[tuple[Row, str], list[Values]] = {}
    for folder in given.folders:
        dataset = load_dataset(folder)
        for row, when, values in measured(dataset, settings, given.work):
            found.setdefault((row, when), []).append(values)
        print(dataset.name, file=sys.stderr, flush=True)
    print(f"| dense + | feedback | none | {' | '.join(WHEN)} |")
    print("|---|---|" + "---:|" * (1 + len(WHEN)))
    for kind in KINDS:
        for way in WAYS:
            row, none = Row(kind, way), found[Row(kind, ""), "none"]
            cells = [f"{average(none):.4f}"]
            for when in WHEN:
                values = found[row, when]
                p = randomisation_test(differences(values, none), resamples=10_000, seed=20205)
                cells.append(f"{average(values):.4f} (p {p:.3f})")
            print(f"| {kind} | {way} | {' | '.join(cells)} |")


def measured(
    dataset: Dataset, settings: EvalSettings, work: Path
) -> Iterator[tuple[Row, str, Values]]:
    """Yield the value of each query for every combination."""
    facts = scan_corpus(dataset, settings.identical, lambda done: None)
    opened = ready_index(dataset, facts, settings, work, Output(quiet=True))
    index = Index.open(opened.path)
    texts = list(dataset.queries.values())
    encoder = load_dense_encoder(settings.dense_model)
    given = [{"dense": vector} for vector in encoder.encode_queries(texts, threads=1)]

    def values(legs: tuple[str, ...], feedback: Feedback | bool) -> Values:
        rankings = index.search_batch(
            texts, k=10 + facts.shares_ids, mode="hybrid", fusion=fusion_of(legs), depth=1000,
            feedback=feedback, given=given, threads=1,
        )  # fmt: skip
        run = {
            query: dict(zip(one.ids, one.scores, strict=True))
            for query, one in zip(dataset.queries, rankings, strict=True)
        }
        if facts.drop_identical:
            run = {
                query: {i: s for i, s in hits.items() if i != query} for query, hits in run.items()
            }
        return measure_run(dataset.qrels.grades, run, [MEASURE])[MEASURE]

    for kind, sparse in KINDS.items():
        legs = (*sparse, "dense")
        yield Row(kind, ""), "none", values(legs, False)
        for way, options in WAYS.items():
            for when in WHEN:
                feedback = Feedback(when=when, **options)  # type: ignore[arg-type]
                yield Row(kind, way), when, values(legs, feedback)


def fusion_of(legs: tuple[str, ...]) -> Fusion:
    return Fusion(
        "minmax", weights={leg: float(leg in legs) for leg in ("sparse", "bm25", "dense")}
    )


def average(values: list[Values]) -> float:
    return float(np.mean([np.mean(list(one.values())) for one in values]))


def differences(values: list[Values], base: list[Values]) -> list[float]:
    """Return differences whose mean is that of the averages: each dataset weighs the same."""
    n = sum(map(len, base))
    return [
        n / (len(base) * len(other)) * (one[query] - other[query])
        for one, other in zip(values, base, strict=True)
        for query in other
    ]


if __name__ == "__main__":
    main()
