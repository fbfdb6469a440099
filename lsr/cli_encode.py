"""`lsr encode`: texts to vectors, shown or written to files."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lsr.cli_formats import VectorFormat, format_of
from lsr.cli_index import OnErrorOption, RejectsFile
from lsr.cli_session import Json, Model, Session, Threads, session
from lsr.errors import ConfigError
from lsr.output import Output, Progress, duration, number, plain

if TYPE_CHECKING:
    from lsr.config import Settings
    from lsr.encoder import Encoder
    from lsr.rejects import Rejects
    from lsr.sparse import SparseVectors

_BATCH = 4096


class Side(StrEnum):
    """Which side of an encoder reads the texts."""

    query = "query"
    document = "document"


def encode(
    ctx: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            metavar="TEXT|-|SRC",
            help="A text, - for a text on each line of stdin, or with --out a corpus.",
        ),
    ],
    side: Annotated[Side, typer.Option(help="Encode as queries or as documents.")] = Side.document,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FILE", help="Encode the corpus SRC into this file of vectors."
        ),
    ] = None,
    out_format: Annotated[
        VectorFormat | None, typer.Option(help="Format of --out, where its name does not tell it.")
    ] = None,
    format: Annotated[str | None, typer.Option(help="Format of SRC.")] = None,
    model: Model = None,
    threads: Threads = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="With --out, go on with an encoding that was stopped.")
    ] = False,
    on_error: OnErrorOption = None,
    rejects: RejectsFile = None,
    json: Json = False,
) -> None:
    """Turn texts into sparse vectors.

    Shows the vectors of a text or of the lines of standard input. With --out, SRC is a corpus
    (or queries, with --side query) and its vectors go into a file.
    """
    settings = session(ctx).settings(model=model, threads=threads, on_error=on_error)
    if out is not None:
        kind = format_of(out, out_format)
        from lsr.rejects import Rejects

        path = rejects or out.with_name(f"{out.name}.rejects.jsonl")
        with Rejects(settings.on_error, path, append=resume) as left_out:
            corpus = _Corpus(source, format, side, left_out)
            _encode_corpus(session(ctx), settings, corpus, out, kind, resume, json)
        return
    texts = [line.rstrip("\r\n") for line in sys.stdin] if source == "-" else [source]
    if not any(text.strip() for text in texts):
        raise ConfigError("there is no text to encode")
    encoder = _load(settings, side)
    vectors = _encode(encoder, texts, side, settings.threads, None)
    for at, text in enumerate(texts):
        _show(session(ctx).output, encoder, vectors, at, text, json)


def _load(settings: Settings, side: Side) -> Encoder:
    from lsr.encoder import load_encoder

    return load_encoder(settings.model, side="query" if side is Side.query else "both")


def _encode(
    encoder: Encoder, texts: Sequence[str], side: Side, threads: int | None, bar: Progress | None
) -> SparseVectors:
    if side is Side.query:
        return encoder.encode_queries(texts, threads=threads)
    done = 0 if bar is None else bar.done

    def show(count: int) -> None:
        nonlocal done
        done += count
        if bar is not None:
            bar.update(done)

    return encoder.encode_documents(texts, threads=threads, on_progress=show)


@dataclass(frozen=True, slots=True)
class _Corpus:
    """What is encoded into a file: the documents or the queries of a source."""

    source: str
    format: str | None
    side: Side
    rejects: Rejects

    def batches(self, skip: int) -> Iterator[tuple[list[str], list[str], int]]:
        """Yield ids, texts and the position after them, from the record after `skip` on."""
        if self.side is Side.query:
            from lsr.queries import read_queries

            queries = islice(read_queries(self.source), skip, None)
            while part := list(islice(queries, _BATCH)):
                skip += len(part)
                yield [one[0] for one in part], [one[1] for one in part], skip
            return
        from lsr.added_terms import encoder_text
        from lsr.corpus import open_corpus

        corpus = open_corpus(self.source, format=self.format, rejects=self.rejects, skip=skip)
        records = corpus.records()
        while found := [record.document for record in islice(records, _BATCH)]:
            yield [one.id for one in found], [encoder_text(one) for one in found], corpus.position


def _encode_corpus(
    current: Session,
    settings: Settings,
    corpus: _Corpus,
    out: Path,
    kind: VectorFormat,
    resume: bool,
    json: bool,
) -> None:
    import time

    from lsr.cli_estimate import estimate_documents
    from lsr.encode_parts import Parts
    from lsr.vector_files import write_vectors

    started = time.perf_counter()
    side, source = corpus.side, corpus.source
    total = estimate_documents([source], corpus.format) if side is Side.document else None
    encoder = _load(settings, side)
    about = {"source": source, "side": side.value, "model": encoder.fingerprint}
    parts = Parts(out, about, vocab_size=encoder.vocab_size, resume=resume)
    current.output.on_interrupt = (
        f"{out} was not written; the same command with --resume goes on from the last "
        f"{_BATCH:,} texts"
    )
    with current.output.progress("texts", total) as bar:
        for ids, texts, position in corpus.batches(parts.position):
            parts.add(ids, _encode(encoder, texts, side, settings.threads, bar), position)
    count = write_vectors(
        out,
        kind.value,
        parts.batches(),
        tokens=_tokens(encoder) if kind in (VectorFormat.anserini, VectorFormat.ciff) else None,
        side="queries" if side is Side.query else "documents",
    )
    parts.remove()
    seconds = time.perf_counter() - started
    rejects = corpus.rejects
    if json:
        done = {"vectors": count, "rejected": rejects.count, "seconds": seconds}
        current.output.json({"out": out, "format": kind, **done})
        return
    current.output.note(
        f"{count:,} vectors in {out}, {duration(seconds)} ({number(count / seconds)}/s)"
    )
    if rejects.count:
        current.output.note(f"{rejects.count:,} record(s) left out; see {rejects.path}")


def _tokens(encoder: Encoder) -> list[str]:
    return encoder.tokens(range(encoder.vocab_size))


def _show(
    output: Output, encoder: Encoder, vectors: SparseVectors, at: int, text: str, json: bool
) -> None:
    terms, weights = vectors[at]
    pairs = sorted(zip(weights.tolist(), terms.tolist(), strict=True), key=lambda p: (-p[0], p[1]))
    named = [{"token": encoder.token(t), "term": t, "weight": w} for w, t in pairs]
    if json:
        output.json({"text": text, "terms": named})
        return
    if at:
        output.data()
    for one in named:
        output.data(f"{one['weight']:8.4f}  {plain(str(one['token']))}")
    output.note(f"{len(named)} terms")
