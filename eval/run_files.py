"""Runs in files: their measures, and one against another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lsr.errors import ConfigError
from lsr.qrels import read_qrels

from .examples import extremes
from .measures import DEFAULT_MEASURES, mean, measure_run, parse_measures
from .results import Shown
from .runs import (
    check_overlap,
    identical_hits,
    read_run,
    tied_queries,
    without_identical,
)
from .statistics import RESAMPLES, SEED, Comparison, compare


@dataclass(frozen=True, slots=True)
class RunFile:
    """A run and its measures: means, and values by measure and query; notes are sentences."""

    name: str
    path: str
    means: Mapping[str, float]
    per_query: Mapping[str, Mapping[str, float]]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return what `lsr eval --json` writes about the run."""
        return {
            "name": self.name,
            "path": self.path,
            "measures": dict(self.means),
            "notes": list(self.notes),
        }


def measure_files(
    paths: Sequence[str],
    qrels: str,
    measures: Sequence[str] = DEFAULT_MEASURES,
    *,
    drop_identical: bool = False,
) -> tuple[list[RunFile], tuple[str, ...]]:
    """Return the measures of TREC runs, and what is to be said about the judgements.

    Values equal those of ir_measures on the same files: every judged query counts, with 0 where
    a run has nothing for it. `drop_identical` first drops hits with the id of their query.
    """
    judged = read_qrels(qrels)
    parsed = parse_measures(measures)
    found = []
    for name, path in zip(run_names(paths), paths, strict=True):
        run = read_run(path)
        notes = check_overlap(run, judged.grades, path)
        if same := identical_hits(run):
            was = "were dropped" if drop_identical else "are kept (BEIR drops them)"
            notes.append(f"{same:,} hit(s) with the id of their query {was}: --identical")
        if drop_identical:
            run = without_identical(run)
        if tied := tied_queries({q: hits for q, hits in run.items() if q in judged.grades}):
            notes.append(f"in {tied:,} queries equal scores leave the order of the first 10 open")
        values = measure_run(judged.grades, run, parsed)
        means = {measure: mean(one) for measure, one in values.items()}
        found.append(RunFile(name, path, means, values, tuple(notes)))
    return found, judged.notes


def compare_files(
    found: Sequence[RunFile], *, resamples: int = RESAMPLES, seed: int = SEED
) -> list[Comparison]:
    """Return each run against the first, in every measure; Holm's correction in each measure."""
    if len(found) < 2:
        raise ConfigError("a comparison takes two runs or more", hint="lsr compare a.txt b.txt")
    tests: list[Comparison] = []
    for measure in found[0].per_query:
        if not measure.startswith("Judged"):
            systems = {one.name: one.per_query[measure] for one in found}
            tests += compare(systems, found[0].name, measure, resamples=resamples, seed=seed)
    return tests


def wins_and_losses(
    run: RunFile, baseline: RunFile, measure: str, texts: Mapping[str, str], each: int
) -> list[Shown]:
    """Return the queries with the largest gains, then those with the largest losses."""
    values, base = run.per_query[measure], baseline.per_query[measure]
    return [
        Shown(query, texts.get(query, ""), values[query], base[query], "", "")
        for query in extremes(values, base, each)
    ]


def run_names(paths: Sequence[str]) -> list[str]:
    """Return short names of files, as long as need be to tell them apart.

    >>> run_names(["a/run.txt", "b/other.txt.gz"]), run_names(["a/run.txt", "b/run.txt"])
    (['run', 'other'], ['a/run.txt', 'b/run.txt'])
    """
    short = [Path(path).name.removesuffix(".gz").rsplit(".", 1)[0] for path in paths]
    if len(set(paths)) < len(paths):
        raise ConfigError("the same run is given twice")
    return short if len(set(short)) == len(short) else list(paths)
