"""`lsr bench encode`: speed, measured beside the peers in the same run."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from lsr.cli_session import Json, Model, Threads, session


def encode(
    ctx: typer.Context,
    source: Annotated[
        str, typer.Argument(metavar="[SRC]", help="Corpus; default the documentation of Python.")
    ] = "pydoc:stdlib",
    limit: Annotated[int, typer.Option(min=1, help="Documents to encode.")] = 512,
    max_length: Annotated[
        int | None, typer.Option(min=3, help="Cut documents at this many tokens.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; the median counts.")] = 3,
    peers: Annotated[
        bool, typer.Option("--peers/--no-peers", help="Measure sentence-transformers, too.")
    ] = True,
    model: Model = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Measure how fast documents are encoded.

    lsr and sentence-transformers encode the same texts with the same model and threads, in turn.
    Writes a Markdown table.
    """
    settings = session(ctx).settings(model=model, threads=threads)
    from lsr.corpus import read_documents
    from lsr.eval.encode_bench import bench_encode

    output = session(ctx).output
    texts = [record.document.full_text() for record in islice(read_documents(source), limit)]
    report = bench_encode(
        settings.model,
        texts,
        threads=settings.threads,
        max_seq_length=max_length,
        rounds=rounds,
        peers=peers,
        on_progress=output.note,
    )
    if json:
        output.json(report.to_dict())
        return
    for line in report.to_markdown().splitlines():
        output.data(line)
