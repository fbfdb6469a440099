"""`lsr bench`: speed, measured beside the peers in the same run."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
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


def search(
    ctx: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SRC",
            help="Folder of docs.npz and queries.npz, a file of vectors, or a corpus to --encode.",
        ),
    ],
    queries: Annotated[
        str | None,
        typer.Option(metavar="SRC", help="Queries: vectors, or texts when documents are encoded."),
    ] = None,
    encode: Annotated[bool, typer.Option("--encode", help="SRC is a corpus: encode it.")] = False,
    k: Annotated[list[int] | None, typer.Option("-k", min=1, help="Hits; repeatable.")] = None,
    engine: Annotated[
        list[str] | None, typer.Option(help="Only this engine; repeatable. Default all.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; the median counts.")] = 5,
    sample: Annotated[int, typer.Option(min=1, help="Queries that settings are tried on.")] = 200,
    n_queries: Annotated[
        int | None, typer.Option("--limit-queries", min=1, help="Take the first queries only.")
    ] = None,
    n_documents: Annotated[
        int | None, typer.Option("--limit", min=1, help="Take the first documents only.")
    ] = None,
    paths: Annotated[
        bool, typer.Option("--paths", help="Sweep our own paths and their knobs, too.")
    ] = False,
    slow_builds: Annotated[
        bool, typer.Option("--slow-builds", help="Also the peers' indexes that take long.")
    ] = False,
    batch: Annotated[
        bool, typer.Option("--batch/--no-batch", help="Measure our batch search on two threads.")
    ] = True,
    core: Annotated[int | None, typer.Option(min=0, help="Core to use; default the last.")] = None,
    limit: Annotated[
        float, typer.Option("--time-limit", min=1, help="Seconds for one build or one run.")
    ] = 3600.0,
    work: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep indexes here for the next run.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write report.md, report.json and curves.")
    ] = None,
    model: Model = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Measure how fast documents are found, beside every peer that is installed.

    Each engine, swept over its own settings, answers the same queries in a process and on a core
    of its own, in rounds that go through all. Writes Markdown: latency at levels of recall, the
    best peer at each and our ratio to it, build times, sizes, memory.
    """
    settings = session(ctx).settings(model=model, threads=threads)
    from tempfile import TemporaryDirectory

    from lsr.eval.search_bench import Plan, bench_search, to_json
    from lsr.eval.search_report import to_markdown, write_report
    from lsr.eval.search_sets import prepare_set

    output = session(ctx).output
    output.on_interrupt = (
        "nothing of this run was kept" if work is None else f"{work} keeps indexes"
    )
    plan = Plan(
        ks=tuple(k or (10,)),
        rounds=rounds,
        sample=sample,
        engines=tuple(engine or ()),
        slow_builds=slow_builds,
        thorough=paths,
        batch=batch,
        core=core,
        limit=limit,
    )
    with TemporaryDirectory() as scratch:
        found = prepare_set(
            source,
            work or Path(scratch),
            queries=queries,
            n_queries=n_queries,
            n_documents=n_documents,
            model=settings.model if encode else None,
            threads=settings.threads,
            say=output.note,
        )
        report = bench_search(found, plan, output.note)
    if out is not None:
        for file in write_report(report, out):
            output.note(f"wrote {file}")
    if json:
        output.json(to_json(report))
        return
    for line in to_markdown(report).splitlines():
        output.data(line)


def train(
    ctx: typer.Context,
    source: Annotated[
        str, typer.Argument(metavar="SRC", help="Pairs: JSONL or Parquet with query and positive.")
    ],
    batch_size: Annotated[int, typer.Option(min=1, help="Pairs in a batch.")] = 32,
    max_length: Annotated[int, typer.Option(min=3, help="Cut texts at this many tokens.")] = 128,
    steps: Annotated[int, typer.Option(min=2, help="Steps; the first is a warm-up.")] = 6,
    peers: Annotated[
        bool, typer.Option("--peers/--no-peers", help="Measure sentence-transformers, too.")
    ] = True,
    model: Model = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Measure how fast, and in how much memory, an encoder is trained.

    lsr and sentence-transformers' SparseEncoderTrainer with SpladeLoss take the same batches, the
    same siamese model and threads, each in a process of its own. Writes a Markdown table.
    """
    settings = session(ctx).settings(model=model, threads=threads)
    from lsr.train.bench import bench_train
    from lsr.train.settings_run import SourceSettings
    from lsr.train.sources import read_examples

    output = session(ctx).output
    wanted = SourceSettings(path=source, limit=batch_size * steps)
    report = bench_train(
        settings.model,
        list(read_examples(wanted)),
        batch_size=batch_size,
        max_seq_length=max_length,
        steps=steps,
        threads=settings.threads,
        peers=peers,
        on_progress=output.note,
    )
    if json:
        output.json(report.to_dict())
        return
    for line in report.to_markdown().splitlines():
        output.data(line)
