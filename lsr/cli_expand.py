"""`lsr expand`: a corpus with the terms that an encoder would add to its documents."""

from __future__ import annotations

import json as jsonlib
import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lsr.cli_index import OnErrorOption, RejectsFile
from lsr.cli_session import Json, Model, Threads, session
from lsr.errors import ConfigError

if TYPE_CHECKING:
    from lsr.types import Document

_BATCH = 1024


def expand(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SRC", help="The corpus.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="A .jsonl file.")],
    terms: Annotated[int, typer.Option(min=1, help="Most terms that a document gets.")] = 200,
    stop_words: Annotated[
        str | None, typer.Option(metavar="LANGUAGE", help="Leave its stop words out.")
    ] = None,
    format: Annotated[str | None, typer.Option(help="Format of SRC.")] = None,
    model: Model = None,
    threads: Threads = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an expansion that was stopped.")
    ] = False,
    on_error: OnErrorOption = None,
    rejects: RejectsFile = None,
    json: Json = False,
) -> None:
    """Add the words to documents that an encoder expects.

    Writes the corpus with a field `added_terms`, which models of kind expmlp (recipes deepimpact
    and tildev2) weigh together with the text, in training and in an index.
    """
    current = session(ctx)
    settings = current.settings(model=model, threads=threads, on_error=on_error)
    if out.suffix != ".jsonl":
        raise ConfigError(f"{out}: the name of a .jsonl file is expected")
    from lsr.analysis import CODES
    from lsr.cli_estimate import estimate_documents
    from lsr.corpus import read_documents
    from lsr.encoder import load_encoder
    from lsr.expand import Expander
    from lsr.rejects import Rejects
    from lsr.stop_words import stop_words as words_of

    encoder = load_encoder(settings.model, threads=settings.threads)
    language = (stop_words or "").lower()
    left_out = words_of(CODES.get(language, language))
    if stop_words and not left_out:
        raise ConfigError(f"there is no list of stop words for {stop_words!r}")
    expander = Expander(encoder, leave_out=left_out)
    partial = out.with_name(f"{out.name}.partial")
    about = {"source": source, "model": encoder.fingerprint, "terms": terms, "stop": stop_words}
    done = _taken_over(partial, about, resume)
    current.output.on_interrupt = (
        f"{out} was not written; the same command with --resume goes on from the last {_BATCH:,} "
        "documents"
    )
    path = rejects or out.with_name(f"{out.name}.rejects.jsonl")
    with (
        Rejects(settings.on_error, path) as bad,
        current.output.progress("documents", estimate_documents([source], format)) as bar,
        partial.open("ab") as file,
    ):
        records = read_documents(source, format=format, rejects=bad)
        started = done
        for batch in _batches(record.document for record in islice(records, done, None)):
            texts = [document.full_text() for document in batch]
            added = expander.added(texts, most=terms, threads=settings.threads)
            file.write(b"".join(map(_line, batch, added)))
            file.flush()
            os.fsync(file.fileno())
            done += len(batch)
            bar.update(done, done - started)
    partial.replace(out)
    _about_file(partial).unlink()
    if json:
        current.output.json({"out": out, "documents": done, "rejected": bad.count})
        return
    current.output.note(f"{done:,} documents in {out}")
    if bad.count:
        current.output.note(f"{bad.count:,} record(s) left out; see {bad.path}")


def _about_file(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.json")


def _taken_over(partial: Path, about: dict[str, Any], resume: bool) -> int:
    """Return how many documents the partial file holds; a line that is not whole is cut off."""
    notes = _about_file(partial)
    if not partial.exists() or not partial.stat().st_size:  # nothing was finished
        partial.parent.mkdir(parents=True, exist_ok=True)
        notes.write_text(jsonlib.dumps(about), encoding="utf-8")
        return 0
    if not resume:
        raise ConfigError(
            f"{partial} holds what is finished of an expansion that was stopped",
            hint="add --resume to go on with it, or remove that file to begin again",
        )
    found = jsonlib.loads(notes.read_text(encoding="utf-8")) if notes.exists() else None
    if found != about:
        raise ConfigError(
            f"{partial} is of another expansion: {found}; this is {about}",
            hint="resume with the same source, model and options, or remove that file",
        )
    lines = end = 0
    with partial.open("rb+") as file:
        for line in file:
            if line.endswith(b"\n"):
                lines, end = lines + 1, end + len(line)
        file.truncate(end)
    return lines


def _batches(documents: Iterator[Document]) -> Iterator[list[Document]]:
    while batch := list(islice(documents, _BATCH)):
        yield batch


def _line(document: Document, added: Sequence[str]) -> bytes:
    from lsr.added_terms import FIELD

    fields = {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in document.fields.items()
    }
    earlier = fields.pop(FIELD, [])
    known = earlier if isinstance(earlier, list) else [str(earlier)]
    record = {"_id": document.id, "title": document.title, "text": document.text, **fields}
    record[FIELD] = [*known, *added]
    return jsonlib.dumps(record, ensure_ascii=False).encode() + b"\n"
