"""`lsr train`, `lsr mine` and `lsr soup`: encoders of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lsr.cli_index import OnErrorOption
from lsr.cli_session import Json, Model, Threads, session

if TYPE_CHECKING:
    from lsr.train.settings_run import Teacher


def train(
    ctx: typer.Context,
    recipe: Annotated[
        str | None,
        typer.Argument(metavar="RECIPE", help="A recipe's name (--list), or a .toml file."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the run: model, checkpoints, log.")
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change a setting; repeatable."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show every setting and the data; train nothing.")
    ] = False,
    prepare: Annotated[
        bool, typer.Option("--prepare", help="Read the data and score it by teachers; no training.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out where it stopped.")
    ] = False,
    listing: Annotated[bool, typer.Option("--list", help="List the recipes.")] = False,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Train an encoder by a recipe.

    The folder of the run gets model/ (for `lsr index --model` and sentence-transformers),
    checkpoints/, best/ and log.jsonl. Ctrl-C stops after a checkpoint; --resume goes on exactly.
    """
    output = session(ctx).output
    session(ctx).settings()
    from lsr.errors import ConfigError
    from lsr.train.recipe import read_recipe, recipe_names
    from lsr.train.run import data_root, explain, prepare_data, score_data, train

    if listing:
        output.table(
            [
                {"recipe": name, "method": found.method, "paper": found.paper}
                for name in recipe_names()
                for found in [read_recipe(name)]
            ]
        )
        return
    if recipe is None:
        raise ConfigError("no recipe was given", hint="lsr train --list shows the recipes")
    changes = list(change or [])
    if threads is not None:
        changes.append(f"train.threads={threads}")
    is_file = recipe.endswith(".toml") or "/" in recipe
    found = read_recipe(Path(recipe) if is_file else recipe, changes=changes)
    base = Path(recipe).resolve().parent if is_file else Path.cwd()
    if dry_run:
        for line in explain(found, base):
            output.data(line)
        return
    if out is None:
        raise ConfigError("a run needs a folder", hint="--out DIR")
    output.on_interrupt = (
        f"lsr train {recipe} --out {out} --resume goes on from the last checkpoint"
    )
    with output.progress("documents scored") as progress:

        def scored(teacher: str, done: int, total: int) -> None:
            progress.total, progress.done = total, done
            progress.describe(f"teacher {Path(teacher).name}")

        if prepare:
            data = prepare_data(found, out, data_root(found.data, base), output.note)
            scores = score_data(found, data, out, scored)
            output.data(f"{len(data):,} examples, {scores.size:,} scores")
            return
        outcome = train(found, out, base=base, resume=resume, say=output.note, on_score=scored)
    if json:
        output.json(outcome)
    else:
        output.data(str(outcome.model))
    if outcome.why == "signal":
        raise KeyboardInterrupt
    if not outcome.finished:
        output.note(f"stopped after {outcome.step:,} of {outcome.steps:,} steps; --resume goes on")


def mine(
    ctx: typer.Context,
    source: Annotated[
        str, typer.Argument(metavar="SRC", help="Pairs (JSONL, Parquet), a BEIR folder, irds:<id>.")
    ],
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="File to write: .jsonl, .jsonl.gz|.zst, .parquet.")
    ],
    split: Annotated[str | None, typer.Option(help="BEIR folder: the split to take.")] = None,
    query: Annotated[
        str | None, typer.Option(metavar="FIELD", help="Pairs by rule: field of the query.")
    ] = None,
    document: Annotated[
        str | None, typer.Option(metavar="FIELD", help="Pairs by rule: field of the document.")
    ] = None,
    corpus: Annotated[
        str | None, typer.Option(metavar="SRC", help="More documents to take negatives from.")
    ] = None,
    negatives: Annotated[int, typer.Option(min=1, help="Negatives for each query.")] = 15,
    depth: Annotated[int, typer.Option(min=1, help="Hits among which they are chosen.")] = 100,
    skip: Annotated[int, typer.Option(min=0, help="Pass over the best so many hits.")] = 0,
    margin: Annotated[
        float | None,
        typer.Option(help="Leave out what a teacher scores above (1 - margin) x the positive."),
    ] = None,
    teacher: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND:FOLDER", help="sparse:, dense: or cross: a model; repeatable."),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of teachers' scores, kept.")
    ] = None,
    max_length: Annotated[int, typer.Option(min=8, help="Teachers read so many tokens.")] = 256,
    limit: Annotated[int | None, typer.Option(min=1, help="Take the first examples only.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn.")] = 42,
    on_error: OnErrorOption = None,
    model: Model = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Find hard negatives for training pairs.

    Writes lines of `query`, `positives` and `negatives`, which recipes read.
    """
    settings = session(ctx).settings(model=model, threads=threads, on_error=on_error)
    output = session(ctx).output
    from lsr.encoder import load_encoder
    from lsr.train.mining import MineSettings
    from lsr.train.mining import mine as find
    from lsr.train.settings_run import DataSettings, SourceSettings, TeacherSettings

    given = SourceSettings(path=source, split=split, query=query, document=document, limit=limit)
    output.on_interrupt = "no file was written; scores in --cache are kept"
    teachers = [_teacher(text, max_length) for text in teacher or []]
    found = find(
        DataSettings(sources=[given], on_error=settings.on_error),
        load_encoder(settings.model, threads=settings.threads),
        out,
        settings=MineSettings(negatives, depth, skip, margin, seed),
        corpus=corpus,
        teachers=TeacherSettings(models=teachers),
        cache=cache,
        threads=settings.threads,
        say=output.note,
        on_score=lambda name, done, total: output.note(f"{name}: {done:,} of {total:,} documents"),
    )
    if json:
        output.json(found._asdict())
        return
    output.note(
        f"{found.examples:,} examples, {found.negatives / max(1, found.examples):.1f} negatives "
        f"each; {found.taken_out:,} taken out by teachers"
    )
    output.data(str(out))


def soup(
    ctx: typer.Context,
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Models or checkpoints of one run.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the averaged model.")],
    share: Annotated[
        list[float] | None, typer.Option(help="Weight of each model, in order; repeatable.")
    ] = None,
    dev: Annotated[
        list[str] | None,
        typer.Option(metavar="DIR", help="Dev set (BEIR folder) to measure on; repeatable."),
    ] = None,
    measure: Annotated[str, typer.Option(help="What is measured.")] = "nDCG@10",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Average models of one run, and measure the average."""
    settings = session(ctx).settings(threads=threads)
    output = session(ctx).output
    from lsr.encoder import load_encoder
    from lsr.train.dev import dev_measurer
    from lsr.train.settings_run import DevSettings
    from lsr.train.soup import make_soup, model_in

    wanted = DevSettings(sets=list(dev or []), measure=measure)
    measurer = dev_measurer(wanted, None, settings.threads)
    make_soup(folders, out, shares=share)
    rows = []
    for folder in [*folders, out]:
        if measurer is None:
            break
        output.note(f"measuring {folder}")
        scores = measurer(load_encoder(model_in(folder), threads=settings.threads))
        row: dict[str, object] = {"model": str(folder)}
        row |= {name: score.value for name, score in scores.items()}
        row["mean"] = sum(score.value for score in scores.values()) / len(scores)
        row["terms"] = sum(score.document_terms for score in scores.values()) / len(scores)
        rows.append(row)
    if json:
        output.json({"model": str(out), "scores": rows})
        return
    output.table(rows)
    output.data(str(out))


def _teacher(text: str, max_length: int) -> Teacher:
    from lsr.errors import ConfigError
    from lsr.train.settings_run import Teacher

    kind, colon, model = text.partition(":")
    if not colon or kind not in ("sparse", "dense", "cross"):
        raise ConfigError(
            f"--teacher {text!r} does not say what kind of model it is",
            hint="--teacher sparse:FOLDER, dense:FOLDER or cross:FOLDER",
        )
    return Teacher.model_validate({"kind": kind, "model": model, "max_length": max_length})
