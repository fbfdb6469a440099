"""`lsr get`, `delete`, `info`, `check`, `merge` and `calibrate`: an index and what is in it."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lsr.cli_legs import described
from lsr.cli_session import Filter, IndexDir, Json, Model, session
from lsr.errors import ConfigError, IndexFormatError, LsrError
from lsr.output import Output, number, plain, size

if TYPE_CHECKING:
    from lsr.index.info import IndexInfo
    from lsr.types import Document

_DELETE_BATCH = 10_000


#: What `lsr info` says where no encoder is, by whether there are sparse vectors.
_NO_ENCODER = {True: "none (ready-made vectors)", False: "none (no sparse leg)"}


def get(
    ctx: typer.Context,
    directory: IndexDir,
    id: Annotated[str, typer.Argument(metavar="ID", help="Id of the document.")],
    json: Json = False,
) -> None:
    """Show a document."""
    from lsr.index.index import Index

    settings = session(ctx).settings()
    found = Index.open(directory, verify=settings.verify).get(id)
    if found is None:
        raise LsrError(f"{directory} has no document {id!r}")
    output = session(ctx).output
    if json:
        output.json(as_line(found))
        return
    output.data(output.strong(plain(found.id)) + (f"  {plain(found.title)}" if found.title else ""))
    for name, value in found.fields.items():
        output.data(f"{plain(name)}: {plain(str(value))}")
    output.data()
    for line in found.text.splitlines():
        output.data(plain(line))


def as_line(document: Document) -> dict[str, object]:
    """Return a document as the line of JSONL that would be read as it again."""
    return {
        "_id": document.id,
        "title": document.title,
        "text": document.text,
        **document.fields,
    }


def delete(
    ctx: typer.Context,
    directory: IndexDir,
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID...]", help="Ids of documents.")
    ] = None,
    file: Annotated[
        str | None,
        typer.Option("--ids", metavar="FILE", help="File with an id on each line; - for stdin."),
    ] = None,
    filter: Filter = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what would go, and change nothing.")
    ] = False,
    json: Json = False,
) -> None:
    """Delete documents by id or by filter.

    They are gone from results at once; their text leaves the disk with `lsr merge`.
    """
    if not ids and file is None and filter is None:
        raise ConfigError("nothing to delete: give ids, --ids FILE or --filter EXPR")
    from lsr.index.index import Index

    settings = session(ctx).settings()
    index = Index.open(directory, verify=settings.verify)
    wanted = list(ids or [])
    if file is not None:
        wanted += _ids_of(file)
    if filter is not None:
        wanted += _matching(directory, filter)
    wanted = list(dict.fromkeys(wanted))
    if dry_run:
        count = sum(id in index for id in wanted)
    else:
        with index:
            count = sum(
                index.delete(wanted[at : at + _DELETE_BATCH])
                for at in range(0, len(wanted), _DELETE_BATCH)
            )
    output = session(ctx).output
    missing = len(wanted) - count
    if json:
        done = {"deleted": 0 if dry_run else count, "would_delete": count, "not_found": missing}
        output.json({"index": directory, **done, "generation": index.generation})
        return
    absent = f"; {missing:,} were not there" if missing else ""
    output.note(f"{directory}: {'would delete' if dry_run else 'deleted'} {count:,}{absent}")


def _ids_of(file: str) -> list[str]:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not UTF-8: {error}") from error
    return [line for line in map(str.strip, text.split("\n")) if line]


def _matching(directory: Path, filter: str) -> list[str]:
    """Return the ids of the live documents that a filter keeps."""
    import numpy as np

    from lsr.index.filters import bind, parse_filter
    from lsr.index.store import Store

    snapshot = Store.open(directory, verify=False).snapshot()
    bound = bind(parse_filter(filter), snapshot.manifest.fields)
    found: list[str] = []
    for live in snapshot.segments:
        mask = bound.mask(live.segment.table)
        if live.deleted is not None:
            mask = mask & ~live.deleted
        found += live.segment.ids(np.flatnonzero(mask))
    return found


def info(ctx: typer.Context, directory: IndexDir, json: Json = False) -> None:
    """Show what an index holds and weighs."""
    from lsr.index.index import Index

    session(ctx).settings()
    found = Index.open(directory, verify=False).info()
    if json:
        session(ctx).output.json(asdict(found))
    else:
        _show(found, session(ctx).output)


def _show(found: IndexInfo, output: Output) -> None:
    encoder = found.settings.get("encoder") or {}
    passages = found.settings.get("passages")
    lines = {
        "index": found.path,
        "documents": f"{found.n_documents:,}",
        "rows": f"{found.n_rows:,}" + (" (passages)" if passages else ""),
        "deleted, not merged": f"{found.n_deleted:,}",
        "segments": f"{found.n_segments:,}",
        "generation": f"{found.generation:,}",
        "terms per row": number(found.terms_per_row),
        "size": f"{size(found.bytes)}, {number(found.bytes_per_document)} bytes a document",
        "encoder": encoder.get("name") or _NO_ENCODER["sparse" in found.legs],
        "licence": encoder.get("licence") or "not stated",
        "fingerprint": encoder.get("fingerprint") or "-",
        "fields": ", ".join(f"{name}:{kind}" for name, kind in found.fields.items()) or "none",
    }
    if found.settings.get("dtype"):
        lines["weights"] = f"rounded to {found.settings['dtype']}"
    if set(found.legs) != {"sparse"}:
        lines["legs"] = "; ".join(f"{leg}: {described(of)}" for leg, of in found.legs.items())
    if passages:
        lines["passages"] = ", ".join(f"{name} {value}" for name, value in passages.items())
    width = max(map(len, lines))
    for name, value in lines.items():
        output.data(f"{name:<{width}}  {plain(str(value))}")
    if found.unfinished_build:
        output.note(
            "an unfinished build is here; the command that began it goes on with --resume, or "
            "begins again with --restart"
        )


def check(
    ctx: typer.Context,
    directory: IndexDir,
    orphans: Annotated[
        bool, typer.Option("--orphans", help="List what belongs to no commit, too.")
    ] = False,
    json: Json = False,
) -> None:
    """Look for damage in an index.

    Reads every byte and compares the checksums; exit code 4 when something is damaged.
    """
    from lsr.index.check import check_folder

    session(ctx).settings()
    if not directory.is_dir():
        raise IndexFormatError(f"there is no folder {directory}")
    report = check_folder(directory)
    output = session(ctx).output
    if json:
        output.json({**asdict(report), "sound": report.ok})
    else:
        for problem in report.problems:
            output.data(plain(problem))
        for note in report.notes if orphans else ():
            output.data(plain(note))
    if not report.ok:
        count = len(report.problems)
        raise IndexFormatError(
            f"{directory} is damaged: {count} problem{'s' * (count > 1)} found",
            hint="restore the folder from a copy, or index the corpus again",
        )
    output.note(f"{directory} is sound: {report.n_documents:,} documents")


def merge(
    ctx: typer.Context,
    directory: IndexDir,
    blocks: Annotated[
        bool | None,
        typer.Option(
            "--blocks/--no-blocks",
            help='Have blocks, which `path="blocks"` searches, from now on, or not.',
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Rewrite an index without deleted documents."""
    from lsr.index.index import Index

    settings = session(ctx).settings()
    output = session(ctx).output
    output.on_interrupt = f"{directory} is as it was"
    index = Index.open(directory, verify=settings.verify)
    before = index.info()
    try:
        with output.progress("percent", 100) as bar:

            def show(step: str, share: float) -> None:
                bar.update(int(100 * share))
                bar.describe(step)

            index.merge(blocks=blocks, progress=show)
    finally:
        index.close()
    after = index.info()
    if json:
        output.json(
            {
                "index": directory,
                "generation": after.generation,
                "segments": [before.n_segments, after.n_segments],
                "bytes": [before.bytes, after.bytes],
            }
        )
        return
    output.note(
        f"{directory}: {before.n_segments:,} segments became {after.n_segments:,}, "
        f"{size(before.bytes)} became {size(after.bytes)}"
    )


def calibrate(
    ctx: typer.Context,
    directory: IndexDir,
    queries: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Real queries: queries.jsonl, .tsv or irds:ID."),
    ] = None,
    model: Model = None,
    json: Json = False,
) -> None:
    """Find how little work reaches which recall.

    The index keeps it, and searches go by it. Without --queries some of the terms of documents are
    searched for. Indexing and merging do this by themselves; do it again with real queries.
    """
    from lsr.index.index import Index

    settings = session(ctx).settings()
    output = session(ctx).output
    output.on_interrupt = f"{directory} is as it was"
    index = Index.open(directory, encoder=model, verify=settings.verify)
    texts = None
    if queries is not None:
        from lsr.queries import read_queries

        texts = [query.text for query in read_queries(queries)]
    try:
        with output.progress("calibrating", 100) as bar:
            table = index.calibrate(texts, lambda share: bar.update(int(100 * share)))
    finally:
        index.close()
    rows = [] if table is None else table.to_json()["rows"]
    if json:
        output.json({"index": directory, "rows": rows})
        return
    if table is None:
        output.note(f"{directory} is small; every search of it is exact")
        return
    shown = [{key: "exact" if row[key] is None else row[key] for key in row} for row in rows]
    output.table(shown)
    output.note(f"calibrated with {table.n_queries:,} {table.source}")
