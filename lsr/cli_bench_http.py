"""`lsr bench http`: what the service adds to a search, and whether it bears long load."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lsr.cli_session import IndexDir, Json, session
from lsr.errors import ConfigError


def http(
    ctx: typer.Context,
    directory: IndexDir,
    queries: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="queries.jsonl, .tsv or irds:ID; default titles."),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Hits.")] = 10,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; the median counts.")] = 3,
    requests: Annotated[int, typer.Option(min=1, help="Requests one after another.")] = 300,
    clients: Annotated[int, typer.Option(min=1, max=256, help="Clients at a time.")] = 16,
    seconds: Annotated[float, typer.Option(min=0.1, max=60, help="Seconds of them.")] = 5.0,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that search.")] = None,
    soak: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", min=1, max=7200, help="Search and write this long instead."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Measure what HTTP costs.

    The service, a plain FastAPI handler and Python itself answer the same queries in turn, on this
    machine only. With --soak the service bears searches and writes; exit code 3 if it grows.
    """
    session(ctx).settings()
    from lsr.cli_serve import need_extra

    need_extra()
    output = session(ctx).output
    texts = _texts(directory, queries)
    if soak is not None:
        from lsr.eval.http_soak import soak_http

        found = soak_http(directory, texts, soak, output.note)
        if json:
            output.json(found.to_dict())
        else:
            output.data(found.to_markdown())
        if not found.is_flat or found.errors:
            raise typer.Exit(3)
        return
    from lsr.eval.http_bench import HttpPlan, bench_http

    plan = HttpPlan(k, rounds, requests, clients, seconds, workers)
    report = bench_http(directory.absolute(), texts, plan, output.note)
    if json:
        output.json(report.to_dict())
        return
    for line in report.to_markdown().splitlines():
        output.data(line)


def _texts(directory: Path, queries: str | None) -> list[str]:
    """Return the queries of a file, or titles of documents, no two alike."""
    if queries is not None:
        from lsr.queries import read_queries

        found = [query.text for query in read_queries(queries)]
    else:
        from itertools import islice

        from lsr.index.index import Index

        index = Index.open(directory, verify=False)
        step = max(1, len(index) // 20_000)
        found = [document.title or document.text[:60] for document in islice(index, 0, None, step)]
    texts = [text for text in dict.fromkeys(found) if text.strip()]
    if not texts:
        raise ConfigError("there are no queries", hint="give --queries FILE")
    return texts
