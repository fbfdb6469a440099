"""`lsr encode`, `export-vectors` and `bench encode`: texts to vectors."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lsr.cli_session import IndexDir, Json, Model, Threads, session
from lsr.errors import ConfigError
from lsr.output import Output, plain

if TYPE_CHECKING:
    from lsr.encoder import Encoder
    from lsr.sparse import SparseVectors


class Side(StrEnum):
    """Which network of an encoder reads the text."""

    query = "query"
    document = "document"


def encode(
    ctx: typer.Context,
    source: Annotated[
        str,
        typer.Argument(metavar="TEXT|SRC|-", help="A text, - for a text on each line of stdin."),
    ],
    side: Annotated[Side, typer.Option(help="Encode as a query or as a document.")] = Side.document,
    model: Model = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Show the vectors of texts."""
    settings = session(ctx).settings(model=model, threads=threads)
    texts = [line.rstrip("\r\n") for line in sys.stdin] if source == "-" else [source]
    if not any(text.strip() for text in texts):
        raise ConfigError("there is no text to encode")
    from lsr.encoder import load_encoder

    encoder = load_encoder(settings.model, side="query" if side is Side.query else "both")
    run = encoder.encode_queries if side is Side.query else encoder.encode_documents
    vectors = run(texts, threads=settings.threads)
    for number, text in enumerate(texts):
        _show(session(ctx).output, encoder, vectors, number, text, json)


def _show(
    output: Output,
    encoder: Encoder,
    vectors: SparseVectors,
    number: int,
    text: str,
    json: bool,
) -> None:
    terms, weights = vectors[number]
    pairs = sorted(zip(weights.tolist(), terms.tolist(), strict=True), key=lambda p: (-p[0], p[1]))
    named = [{"token": encoder.token(t), "term": t, "weight": w} for w, t in pairs]
    if json:
        output.json({"text": text, "terms": named})
        return
    if number:
        output.data()
    for one in named:
        output.data(f"{one['weight']:8.4f}  {plain(str(one['token']))}")
    output.note(f"{len(named)} terms")


def export_vectors(
    ctx: typer.Context,
    directory: IndexDir,
    out: Annotated[Path, typer.Option("--out", "-o", help="File or folder to write.")],
) -> None:
    """Write the vectors of an index to a file."""


def bench_encode(ctx: typer.Context) -> None:
    """Measure."""
