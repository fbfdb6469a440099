"""`lsr warmup`, `doctor`, `demo-corpus`, `demo` and `config show`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from lsr.cli_session import Json, session, written
from lsr.errors import ConfigError


def warmup(ctx: typer.Context, json: Json = False) -> None:
    """Make the first query fast.

    Compiles the search kernels into the cache and loads the encoder once.
    """
    settings = session(ctx).settings()
    output = session(ctx).output
    output.note("compiling kernels (the first run only)")
    from lsr.encoder import load_encoder
    from lsr.index.warmup import warmup as warm

    warmth = warm()
    load_encoder(settings.model, side="query").encode_queries(["warm"])
    if json:
        output.json(warmth._asdict())
        return
    output.note(
        f"ready: {warmth.compiled} kernels compiled, {warmth.loaded} loaded, {warmth.seconds:.1f} s"
    )


def doctor(ctx: typer.Context, json: Json = False) -> None:
    """Look whether lsr has all it needs here.

    Exit code 1 when something is broken.
    """
    from lsr.doctor import examine
    from lsr.output import plain

    def in_force() -> tuple[str, int | None]:
        settings = session(ctx).settings()
        return settings.model, settings.threads

    findings = examine(in_force)
    output = session(ctx).output
    broken = [finding for finding in findings if finding.status == "broken"]
    if json:
        output.json({"sound": not broken, "findings": [asdict(one) for one in findings]})
    else:
        for finding in findings:
            output.data(f"{finding.status:<6}  {finding.name:<12}  {plain(finding.found)}")
            if finding.hint:
                output.data(f"{'':<22}hint: {plain(finding.hint)}")
    if broken:
        output.error(f"{len(broken)} of {len(findings)} checks failed")
        raise typer.Exit(1)


def demo_corpus(
    ctx: typer.Context,
    out: Annotated[
        str, typer.Option("--out", "-o", metavar="FILE", help="JSONL to write, - for stdout.")
    ] = "-",
    source: Annotated[
        str, typer.Option(help="pydoc:stdlib, pydoc:all, or pydoc: and names of packages.")
    ] = "pydoc:stdlib",
) -> None:
    """Write a corpus of Python documentation.

    JSONL, made from the docstrings of the standard library or of installed packages.
    """
    from lsr.cli_documents import as_line
    from lsr.corpus import read_documents
    from lsr.output import to_json

    if not source.startswith("pydoc:"):
        raise ConfigError(f"--source is {source!r}; expected pydoc:stdlib or pydoc:PACKAGE,...")
    output = session(ctx).output
    session(ctx).settings()
    output.on_interrupt = "the corpus was not written"
    count = 0
    with written(out) as file, output.progress("documents") as bar:
        for count, record in enumerate(read_documents(source), 1):
            file.write(to_json(as_line(record.document)) + "\n")
            bar.update(count)
    output.note(f"{count:,} documents" + ("" if out == "-" else f" in {out}"))


def demo(
    ctx: typer.Context,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder of the index.")],
) -> None:
    """Index Python's documentation and search it.

    Makes the index of the standard library's docstrings unless it is there, and asks it three
    questions.
    """
    from lsr.demo import run_demo

    run_demo(session(ctx), session(ctx).settings(), out)


def config_show(
    ctx: typer.Context,
    origin: Annotated[
        bool, typer.Option("--origin", help="Say where each value came from.")
    ] = False,
    json: Json = False,
) -> None:
    """Show the settings in force."""
    from lsr.config import rows

    found = rows(session(ctx).load())
    output = session(ctx).output
    if json:
        output.json({"settings": found})
        return
    hidden = () if origin else ("origin",)
    output.table([{k: v for k, v in row.items() if k not in hidden} for row in found])
