"""Precomputed vectors in and out: Parquet, NumPy archives, Anserini's JSON lines, CIFF."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal, Protocol

from lsr.anserini import JsonVectors, write_json
from lsr.ciff import CiffRows, write_ciff
from lsr.corpus import FieldMap, format_of
from lsr.corpus_bytes import SUFFIXES
from lsr.errors import ConfigError, DataError, StorageError
from lsr.rejects import Rejects
from lsr.rounding import USUAL_SCALE, Rounding, checked_scale
from lsr.sparse import SparseVectors
from lsr.vector_npz import NpzRows, ids_path, npz_file, write_npz
from lsr.vector_rows import Piece, RawRows, VectorBatch
from lsr.vector_tables import ParquetVectors, write_parquet

__all__ = ["VectorBatch", "read_vectors", "write_vectors"]

VectorFormat = Literal["parquet", "npz", "anserini", "ciff"]
FORMATS: tuple[VectorFormat, ...] = ("parquet", "npz", "anserini", "ciff")
Side = Literal["documents", "queries"]

_SIDES = {"documents": "doc", "queries": "query"}
_UNDERSTOOD = (
    "a .parquet file (id, terms, weights), an .npz file (CSR) or lsr-benchmark folder, .jsonl with "
    "Anserini's vectors or .ciff (both also .gz, .zst), or a folder of such files"
)


class _Rows(Protocol):
    name: str
    vocab_size: int | None
    #: Records passed so far, good, bad and skipped, up to and with the last piece.
    seen: int

    def pieces(self, size: int, skip: int) -> Iterator[Piece]: ...


def read_vectors(
    source: str | Path,
    *,
    format: str | None = None,
    vocab_size: int | None = None,
    vocabulary: Mapping[str, int] | None = None,
    scale: float | None = None,
    mapping: FieldMap | None = None,
    rejects: Rejects | None = None,
    batch: int = 4096,
    skip: int = 0,
    side: Side = "documents",
) -> Iterator[VectorBatch]:
    """Yield the vectors of a file or folder with their documents, some thousand at a time.

    Reads Parquet (`id`, `terms`, `weights`, more columns), .npz (CSR; `side` picks the folder of
    an lsr-benchmark embedding), and Anserini's JSON lines and CIFF, whose tokens `vocabulary` maps
    to terms (without it they are term ids) and whose weights were multiplied with `scale`.
    `vocab_size` is needed where neither the file nor `vocabulary` tells it. `skip` passes over
    that many records, good or bad. Raises DataError at the first bad row, unless `rejects` says
    otherwise, and for a CIFF file that is not whole; ConfigError for a source not understood.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     vectors = SparseVectors.from_dicts([{2: 0.5}], vocab_size=8)
    ...     _ = write_vectors(f"{folder}/v", "npz", [(["d1"], vectors)])
    ...     [(found.ids, found.vectors.to_dicts()) for found in read_vectors(f"{folder}/v")]
    [(['d1'], [{2: 0.5}])]
    """
    if batch < 1 or skip < 0:
        raise ConfigError(f"batch is {batch} and skip {skip}; at least 1 and 0 are expected")
    files = _files(source, format, side)
    size = vocab_size
    if size is None and vocabulary is not None:
        size = max(vocabulary.values(), default=0) + 1
    divisor = 1.0 if scale is None else checked_scale(scale)
    _check_scale(scale, {kind for _, kind in files})
    readers = [_reader(path, kind, vocabulary, size, divisor) for path, kind in files]
    size = _agreed_size(readers, size)
    return _batches(readers, size, mapping or FieldMap(), rejects or Rejects(), batch, skip)


def write_vectors(
    path: str | Path,
    format: str,
    batches: Iterable[tuple[Sequence[str], SparseVectors]],
    *,
    tokens: Sequence[str] | None = None,
    scale: float | Rounding | None = None,
    side: Side = "documents",
) -> int:
    """Write (ids, vectors) batches to a file, or a folder for npz; return the number of vectors.

    `format` is parquet, npz, anserini or ciff. npz writes an lsr-benchmark folder, or a file and
    its ids when `path` ends in .npz. anserini and ciff name terms by `tokens` (by id, without).
    anserini has float weights or, given `scale`, rounded `weight * scale`, zeros left out; ciff
    always the latter, 100 times by default. A Rounding in place of a scale counts what is lost.
    An anserini `path` without a suffix is a folder, as Anserini wants it. Nothing is at `path`
    before everything is written.
    """
    target = Path(path)
    checked = _same_vocabulary(batches)
    _check_scale(scale, {format})
    rounding = scale if scale is None or isinstance(scale, Rounding) else Rounding(scale)
    if format == "parquet":
        with _replacing(target) as file:
            return write_parquet(file, checked)
    if format == "anserini":
        target = target if target.suffix else target / "vectors.jsonl"
        with _replacing(target) as file:
            return write_json(file, target.name, checked, tokens=tokens, rounding=rounding)
    if format == "ciff":
        rounding = rounding or Rounding(USUAL_SCALE)
        with _replacing(target) as file:
            return write_ciff(file, target.name, checked, tokens=tokens, rounding=rounding)
    if format != "npz":
        raise ConfigError(f"format is {format!r}; the formats are {', '.join(FORMATS)}")
    if target.suffix != ".npz":
        name = _SIDES[side]
        target = target / name / f"{name}-embeddings.npz"
    # The archive takes its name last: ids without vectors are harmless, the reverse is not.
    with _replacing(target) as archive, _replacing(ids_path(target)) as ids:
        return write_npz(archive, ids, checked)


def _files(source: str | Path, format: str | None, side: Side) -> list[tuple[Path | None, str]]:
    if format is not None and format not in FORMATS:
        raise ConfigError(f"format is {format!r}; the formats are {', '.join(FORMATS)}")
    if str(source) == "-":
        return [(None, format or "anserini")]
    path = Path(source)
    if not path.exists():
        raise ConfigError(f"{path}: there is no such file or folder", hint=f"give {_UNDERSTOOD}")
    archive = npz_file(path, _SIDES[side])
    if archive is not None and format in (None, "npz"):
        return [(archive, "npz")]
    files: list[tuple[Path | None, str]] = []
    for file in [path] if path.is_file() else _shards(path):
        kind = format or _kind_of(file)
        if kind is None:
            raise ConfigError(
                f"{file}: the name does not tell a format of vectors", hint=f"give {_UNDERSTOOD}"
            )
        files.append((file, kind))
    return files


def _shards(folder: Path) -> list[Path]:
    """Return the files of vectors in a folder, by name: `corpus.*` alone where there is one."""
    files = [
        path
        for path in sorted(folder.iterdir(), key=lambda path: path.name)
        if path.is_file() and not path.name.startswith((".", "_")) and _kind_of(path) is not None
    ]
    # A .json beside other files is more often settings than vectors.
    files = [path for path in files if ".json" not in path.suffixes] or files
    files = [path for path in files if path.name.split(".")[0] == "corpus"] or files
    if not files:
        raise ConfigError(f"{folder} holds no files of vectors", hint=f"give {_UNDERSTOOD}")
    kinds = sorted({str(_kind_of(path)) for path in files})
    if len(kinds) > 1:
        raise ConfigError(
            f"{folder} holds vectors in several formats ({', '.join(kinds)}); name one file, or "
            "keep one format in the folder"
        )
    return files


def _kind_of(path: Path) -> str | None:
    """Return the format of vectors that a file's name tells."""
    if path.suffix == ".ciff" or (path.suffix in SUFFIXES and Path(path.stem).suffix == ".ciff"):
        return "ciff"
    return {"jsonl": "anserini", "parquet": "parquet"}.get(format_of(path) or "")


def _reader(
    path: Path | None,
    kind: str,
    vocabulary: Mapping[str, int] | None,
    size: int | None,
    scale: float,
) -> _Rows:
    if kind in ("anserini", "ciff"):
        name = "stdin" if path is None else str(path)
        if size is None:
            raise _size_unknown(name)
        if kind == "ciff":
            return CiffRows(path, vocabulary=vocabulary, vocab_size=size, scale=scale)
        return JsonVectors(name, path, vocabulary=vocabulary, vocab_size=size, scale=scale)
    if path is None:
        raise ConfigError(f"{kind} cannot be read from the standard input; give a file")
    return NpzRows(path) if kind == "npz" else ParquetVectors(path)


def _check_scale(scale: float | Rounding | None, kinds: Iterable[str]) -> None:
    for kind in kinds:
        if scale is not None and kind in ("parquet", "npz"):
            raise ConfigError(f"scale is for integer weights; {kind} holds weights as they are")


def _size_unknown(name: str) -> ConfigError:
    return ConfigError(
        f"{name} does not say how many terms its vocabulary has",
        hint="give vocab_size (--vocab-size), or the vocabulary of the encoder that made it",
    )


def _agreed_size(readers: Sequence[_Rows], size: int | None) -> int:
    for reader in readers:
        if size is None:
            size = reader.vocab_size
        elif reader.vocab_size is not None and reader.vocab_size != size:
            raise DataError(
                f"{reader.name} has a vocabulary of {reader.vocab_size} terms; {size} are expected"
            )
    if size is None:
        raise _size_unknown(readers[0].name)
    return size


def _batches(
    readers: Sequence[_Rows],
    size: int,
    mapping: FieldMap,
    rejects: Rejects,
    batch: int,
    skip: int,
) -> Iterator[VectorBatch]:
    before = 0
    for reader in readers:
        for piece in reader.pieces(batch, max(0, skip - before)):
            if not isinstance(piece, RawRows):
                line, broken = piece
                rejects.reject(reader.name, line, broken.reason, broken.raw)
                continue
            found = piece.check(size, mapping, rejects)
            if found is not None:
                yield replace(found, position=before + reader.seen)
        before += reader.seen


def _same_vocabulary(
    batches: Iterable[tuple[Sequence[str], SparseVectors]],
) -> Iterator[tuple[Sequence[str], SparseVectors]]:
    size: int | None = None
    for ids, vectors in batches:
        if len(ids) != len(vectors):
            raise DataError(f"there are {len(ids)} ids but {len(vectors)} vectors")
        if size not in (None, vectors.vocab_size):
            raise DataError(f"a batch has {vectors.vocab_size} terms, the one before it {size}")
        size = vectors.vocab_size
        yield ids, vectors


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Give a name to write to, which becomes `path` when the body ends well."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error
