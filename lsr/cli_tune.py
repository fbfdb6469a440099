"""`lsr tune`: which fusion of the legs is best on judged queries."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Annotated

import typer

from lsr.cli_legs import DenseModel
from lsr.cli_session import IndexDir, Json, Model, Threads, session, written
from lsr.errors import ConfigError

if TYPE_CHECKING:
    from typing import TextIO

    from lsr.eval.tune import Setting, Tuned
    from lsr.output import Output


def tune(
    ctx: typer.Context,
    directory: IndexDir,
    dataset: Annotated[
        str | None,
        typer.Argument(metavar="[DATASET]", help="BEIR folder or irds:ID with the judgements."),
    ] = None,
    queries: Annotated[
        str | None, typer.Option(metavar="FILE", help="Queries: queries.jsonl, .tsv or irds:ID.")
    ] = None,
    qrels: Annotated[
        str | None, typer.Option(metavar="FILE", help="Judgements: TREC, BEIR's .tsv or irds:ID.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Split of a BEIR folder; dev or train, not what you report.")
    ] = None,
    measure: Annotated[str, typer.Option("--measure", "-m", help="What to tune for.")] = "nDCG@10",
    methods: Annotated[
        str | None, typer.Option(metavar="A,B", help="Fusions to try; default all four.")
    ] = None,
    step: Annotated[float, typer.Option(help="Step of the weights' grid.")] = 0.1,
    missing: Annotated[
        str | None,
        typer.Option(help="zero or min: what a leg gives to a document that it did not find."),
    ] = None,
    depth: Annotated[int, typer.Option(min=10, help="Hits of each leg.")] = 1000,
    folds: Annotated[int, typer.Option(min=2, help="Folds of the cross-validation.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Seed of folds and randomisation.")] = 20205,
    grid: Annotated[
        str | None, typer.Option(metavar="FILE", help="CSV of the whole grid, - for stdout.")
    ] = None,
    show: Annotated[int, typer.Option(min=1, help="Settings to show.")] = 10,
    model: Model = None,
    dense_model: DenseModel = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Find how to fuse the legs of an index, and test that.

    All methods and weights are tried on judged queries. How good the choice is is said by
    cross-validation, on queries that had no part in it, with tests against the default (rrf,
    equal weights).
    """
    from lsr.eval.tune import tune as run
    from lsr.index.fusion import METHODS
    from lsr.index.index import Index

    current = session(ctx)
    settings = current.settings(threads=threads)
    texts, judged = _judged(dataset, queries, qrels, split)
    wanted = [name.strip() for name in methods.split(",")] if methods else list(METHODS)
    index = Index.open(directory, encoder=model, dense=dense_model, verify=settings.verify)
    with current.output.progress("settings tried") as bar:
        found = run(
            index,
            texts,
            judged,
            measure=measure,
            methods=wanted,  # type: ignore[arg-type]
            step=step,
            missing=missing,  # type: ignore[arg-type]
            depth=depth,
            folds=folds,
            seed=seed,
            threads=settings.threads,
            progress=lambda done, of: bar.update(done),
        )
    if grid is not None:
        with written(grid) as stream:
            _write_grid(stream, found)
    if json:
        current.output.json(_as_json(found))
        return
    _tell(current.output, found, show)


def _judged(
    dataset: str | None, queries: str | None, qrels: str | None, split: str | None
) -> tuple[dict[str, str], dict[str, dict[str, int]]]:
    """Return the texts of queries and their judgements."""
    from lsr.eval.datasets import load_dataset
    from lsr.qrels import read_qrels
    from lsr.queries import read_queries

    if dataset is not None:
        found = load_dataset(dataset, queries=queries, qrels=qrels, split=split)
        return dict(found.queries), found.qrels.grades
    if queries is None or qrels is None:
        raise ConfigError(
            "there are no judgements to tune on",
            hint="give a BEIR folder or irds:ID after DIR, or --queries and --qrels",
        )
    if split is not None:
        raise ConfigError("--split is of a BEIR folder; give one after DIR")
    return {query.id: query.text for query in read_queries(queries)}, read_qrels(qrels).grades


def _tell(output: Output, found: Tuned, show: int) -> None:
    output.table(
        [
            {
                found.measure: f"{point.value:.4f}",
                "fusion": point.setting.method,
                **{leg: f"{weight:g}" for leg, weight in point.setting.weights.items()},
            }
            for point in found.grid[:show]
        ]
    )
    output.data(f"of {len(found.grid)} settings; rrf with equal weights has {found.default:.4f}")
    for leg, value in found.legs.items():
        output.data(f"{leg} alone {value:.4f}")
    chosen = ", ".join(sorted({one.options().removeprefix("--fusion ") for one in found.folds}))
    output.data(f"chosen without each of {len(found.folds)} folds: {chosen}")
    output.data(found.verdict())
    if found.pays:
        output.data(f"use: --mode hybrid {found.best.options()}")


def _write_grid(stream: TextIO, found: Tuned) -> None:
    rows = csv.writer(stream, lineterminator="\n")
    legs = list(found.legs)
    rows.writerow([found.measure, "fusion", *legs])
    for setting, value in found.grid:
        rows.writerow([f"{value:.6f}", setting.method, *(setting.weights[leg] for leg in legs)])


def _as_json(found: Tuned) -> dict[str, object]:
    def setting(one: Setting) -> dict[str, object]:
        return {"fusion": one.method, "weights": dict(one.weights)}

    return {
        "measure": found.measure,
        "pays": found.pays,
        "verdict": found.verdict(),
        "best": {**setting(found.best), "value": found.best_value},
        "cross_validated": found.tuned,
        "default": found.default,
        "legs": dict(found.legs),
        "folds": [setting(one) for one in found.folds],
        "comparison": found.comparison,
        "missing": found.missing,
        "depth": found.depth,
        "grid": [{**setting(point.setting), "value": point.value} for point in found.grid],
    }
