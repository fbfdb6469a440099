"""`lsr bench lsr-benchmark`: take part in lsr-benchmark as one of its retrieval engines."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from lsr.cli_session import Json, session
from lsr.errors import ConfigError
from lsr.output import duration, size


def lsr_benchmark(
    ctx: typer.Context,
    dataset: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Dataset: corpus.jsonl.gz, queries.jsonl, qrels.txt."),
    ],
    embedding: Annotated[
        Path, typer.Option(metavar="DIR", help="Embedding: doc/ and query/, each npz and ids.")
    ],
    output: Annotated[Path, typer.Option(metavar="DIR", help="Where the run and its metadata go.")],
    k: Annotated[int, typer.Option("-k", "--k", min=1, help="Hits of each query.")] = 10,
    exact: Annotated[bool, typer.Option("--exact", help="Search exactly.")] = False,
    recall: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Recall to aim at, such as 0.95.")
    ] = None,
    team: Annotated[str, typer.Option(help="Who takes part; goes into the metadata.")] = "lsr",
    json: Json = False,
) -> None:
    """Index and search an embedding of lsr-benchmark.

    Writes run.txt.gz, index-metadata.yml and retrieval-metadata.yml, which `lsr-benchmark
    evaluate` reads. Needs tirex-tracker; queries are asked one at a time in one thread.
    """
    session(ctx).settings()
    if exact and recall is not None:
        raise ConfigError("--exact finds everything; --recall is for searches that may not")
    from lsr.eval.lsr_benchmark import Task, run_task

    output_ = session(ctx).output
    asked = {"exact": True} if exact else {} if recall is None else {"recall": recall}
    task = Task(dataset.absolute(), embedding.absolute(), output.absolute(), k, team, asked)
    report = run_task(task)
    if json:
        output_.json({"output": output, "tag": task.tag, **asdict(report)})
        return
    output_.note(
        f"{report.documents:,} documents indexed in {duration(report.index_seconds)} "
        f"({size(report.index_bytes)}), {report.queries:,} queries answered in "
        f"{duration(report.retrieval_seconds)}, {report.hits:,} hits in {output / 'run.txt.gz'}"
    )
    output_.note(f"measure them: lsr-benchmark evaluate {output} -m nDCG@10 -m runtime_wallclock")
