"""`lsr export`: the vectors of an index to files that other engines read."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lsr.cli_session import IndexDir, Json, session
from lsr.errors import ConfigError

if TYPE_CHECKING:
    from lsr.index.index import Index
    from lsr.sparse import SparseVectors

_SUFFIXES = {
    ".parquet": "parquet",
    ".npz": "npz",
    ".jsonl": "anserini",
    ".ciff": "ciff",
    "": "npz",
}


class VectorFormat(StrEnum):
    """The files of vectors that are written."""

    parquet = "parquet"
    npz = "npz"
    anserini = "anserini"
    ciff = "ciff"


class TokenNames(StrEnum):
    """What stands for a term in a file that names terms."""

    text = "text"
    id = "id"


_NAMED = (VectorFormat.anserini, VectorFormat.ciff)

VectorFile = Annotated[
    Path,
    typer.Option(
        "--out",
        "-o",
        metavar="FILE",
        help="File of vectors: .parquet, .npz, .jsonl, .ciff (the last two also .gz, .zst), "
        "or a folder.",
    ),
]
VocabularyFile = Annotated[
    Path | None,
    typer.Option(
        "--vocabulary",
        metavar="FILE",
        help="Tokens of the terms: one on each line, or a tokenizer.json; default the encoder's.",
    ),
]


def export(
    ctx: typer.Context,
    directory: IndexDir,
    out: VectorFile,
    format: Annotated[
        VectorFormat | None, typer.Option(help="Format, where the name does not tell it.")
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="anserini, ciff: weights times this, rounded; default floats, and 100 for ciff.",
        ),
    ] = None,
    tokens: Annotated[
        TokenNames, typer.Option(help="anserini, ciff: name terms by their text or their id.")
    ] = TokenNames.text,
    vocabulary: VocabularyFile = None,
    json: Json = False,
) -> None:
    """Write the vectors of an index to a file.

    Parquet and npz hold them as they are. Anserini's JSON may, and CIFF must, hold integers;
    what rounding lost is told at the end. Passages are documents of their own, ID#0, ID#1, ....
    """
    kind = format_of(out, format)
    settings = session(ctx).settings()
    from lsr.index.index import Index
    from lsr.rounding import USUAL_SCALE, Rounding
    from lsr.vector_files import write_vectors

    if scale is None and kind is VectorFormat.ciff:
        scale = USUAL_SCALE
    rounding = None if scale is None else Rounding(scale)
    index = Index.open(directory, verify=settings.verify)
    names = _names(index, tokens, vocabulary) if kind in _NAMED else None
    output = session(ctx).output
    output.on_interrupt = f"{out} was not written"
    with output.progress("vectors", index.info().n_rows) as bar:

        def batches() -> Iterator[tuple[list[str], SparseVectors]]:
            for ids, vectors in _vectors(index):
                yield ids, vectors
                bar.update(bar.done + len(ids))

        count = write_vectors(out, kind.value, batches(), tokens=names, scale=rounding)
    if json:
        lost = None
        if rounding is not None:
            share = rounding.zeros / rounding.weights if rounding.weights else 0.0
            lost = {"scale": rounding.scale, "zeros": share, "error": rounding.error}
        done = {"index": directory, "out": out, "format": kind, "vectors": count, "rounding": lost}
        output.json(done)
        return
    output.note(
        f"{count:,} vectors in {out}" + ("" if rounding is None else f"; {rounding.summary()}")
    )


def format_of(out: Path, asked: VectorFormat | None) -> VectorFormat:
    """Return the format of a file of vectors: the one asked for, or what its name tells."""
    if asked is not None:
        return asked
    suffixes = [suffix for suffix in out.suffixes if suffix not in (".gz", ".zst")]
    found = _SUFFIXES.get(suffixes[-1] if suffixes else "")
    if found is None:
        raise ConfigError(
            f"{out}: the name does not tell the format of vectors",
            hint="end it in .parquet, .npz, .jsonl or .ciff, or name the format",
        )
    return VectorFormat(found)


def _names(index: Index, tokens: TokenNames, vocabulary: Path | None) -> list[str] | None:
    """Return the name of each term; None when the ids are to stand for them."""
    size = index.settings.vocab_size
    if vocabulary is not None:
        from lsr.vocabulary import read_vocabulary

        found = {term: token for token, term in read_vocabulary(vocabulary).items()}
        if absent := size - sum(term in found for term in range(size)):
            raise ConfigError(
                f"{vocabulary} has no token for {absent:,} of the index's {size:,} terms",
                hint="give the vocabulary of the encoder that made the vectors, or --tokens id",
            )
        return [found[term] for term in range(size)]
    if tokens is TokenNames.id or index.settings.encoder_name is None:
        return None
    return index.encoder.tokens(range(size))


def _vectors(index: Index) -> Iterator[tuple[list[str], SparseVectors]]:
    """Yield ids and vectors of all rows; the passages of a document get numbers."""
    if index.settings.passages is None:
        yield from index.vectors()
        return
    last, number = None, 0
    for ids, vectors in index.vectors():
        numbered = []
        for id in ids:
            number = number + 1 if id == last else 0
            last = id
            numbered.append(f"{id}#{number}")
        yield numbered, vectors
