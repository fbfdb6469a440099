"""Documents in: from files, folders, pipes, ir_datasets and Python packages."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

from lsr.corpus_bytes import SUFFIXES, Broken
from lsr.corpus_fields import BadRecord, FieldMap
from lsr.errors import ConfigError, DataError
from lsr.rejects import Rejects
from lsr.types import Document, Record

__all__ = [
    "Corpus",
    "FieldMap",
    "count_hint",
    "document_from_mapping",
    "open_corpus",
    "read_documents",
]

Source = str | Path | IO[bytes]

#: Formats by the suffix of a file name, after a suffix of compression is taken off.
FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "tsv",
}
UNDERSTOOD = (
    "a .jsonl, .ndjson, .json, .csv or .tsv file (also .gz, .zst, .bz2, .xz), a .parquet file, a "
    "BEIR folder, a folder of such files, irds:<id>, pydoc:<packages>, or - for the standard input"
)


class Reader(Protocol):
    """One source of records; `items` yields places and payloads, `parse` reads a payload."""

    name: str

    @property
    def bytes_read(self) -> int:
        """Bytes taken from the source so far."""

    def items(self) -> Iterator[tuple[int, Any]]:
        """Yield (line, payload); a payload that is Broken cannot be parsed."""

    def parse(self, payload: Any) -> Mapping[str, Any]:
        """Return the record as name to value, or raise BadRecord."""


class Entry(NamedTuple):
    """A record as its source holds it: where, its fields, and what they were read from."""

    source: str
    line: int
    values: Mapping[str, Any]
    payload: object


class Corpus:
    """A source that is open for reading: its records, and how far the reading has come.

    `position` is the number of input records, good or bad, up to and with the last one that
    `records` gave; opening the same source with `skip=position` goes on behind it.
    `bytes_read` of `total_bytes` (None when unknown) is for a progress bar.
    """

    def __init__(
        self,
        readers: Sequence[Reader],
        *,
        mapping: FieldMap | None = None,
        rejects: Rejects | None = None,
        skip: int = 0,
        total_bytes: int | None = None,
    ) -> None:
        if skip < 0:
            raise ConfigError(f"skip is {skip}; it must be 0 or more")
        self.mapping = mapping or FieldMap()
        self.rejects = rejects or Rejects()
        self.position = 0
        self.total_bytes = total_bytes
        self._skip = skip
        self._readers = readers

    @property
    def bytes_read(self) -> int:
        """Bytes taken from the source so far, as they are stored (compressed)."""
        return sum(reader.bytes_read for reader in self._readers)

    def records(self) -> Iterator[Record]:
        """Yield the good records in order; the others go to the rejects.

        Memory stays that of a few records, whatever the size of the source.
        """
        for entry in self.entries():
            try:
                document = self.mapping.document(entry.values)
            except BadRecord as error:
                self.reject(entry, str(error))
            else:
                yield Record(document, entry.source, entry.line)

    def entries(self) -> Iterator[Entry]:
        """Yield every record that can be read, with its fields as they stand there."""
        for reader in self._readers:
            for line, payload in reader.items():
                self.position += 1
                if self.position <= self._skip:
                    continue
                if isinstance(payload, Broken):
                    self.rejects.reject(reader.name, line, payload.reason, payload.raw)
                    continue
                try:
                    values = reader.parse(payload)
                except BadRecord as error:
                    self.rejects.reject(reader.name, line, str(error), _raw(payload))
                else:
                    yield Entry(reader.name, line, values, payload)

    def reject(self, entry: Entry, reason: str) -> None:
        """Hand a record that `entries` gave to the rejects."""
        raw = entry.payload if isinstance(entry.payload, bytes) else _raw(entry.values)
        self.rejects.reject(entry.source, entry.line, reason, raw)


def read_documents(
    source: Source,
    *,
    format: str | None = None,
    mapping: FieldMap | None = None,
    rejects: Rejects | None = None,
    skip: int = 0,
) -> Iterator[Record]:
    """Yield the documents of a source, each with the place it came from.

    `source` is a JSONL, CSV, TSV or Parquet file, a BEIR folder, a folder of such files,
    `irds:<id>`, `pydoc:<packages>`, `-` or an open binary stream; `format` (jsonl, csv, tsv,
    parquet) overrules the name. `skip` passes over that many input records, good or bad. Raises
    DataError at the first bad record, unless `rejects` says otherwise.

    >>> import io
    >>> [found] = read_documents(io.BytesIO(b'{"_id": "d1", "text": "Cats purr."}'))
    >>> found.document.text, found.line
    ('Cats purr.', 1)
    """
    corpus = open_corpus(source, format=format, mapping=mapping, rejects=rejects, skip=skip)
    return corpus.records()


def open_corpus(
    source: Source,
    *,
    format: str | None = None,
    mapping: FieldMap | None = None,
    rejects: Rejects | None = None,
    skip: int = 0,
) -> Corpus:
    """Return the source as a Corpus, for a caller that shows progress or resumes.

    Takes what `read_documents` takes. Raises ConfigError for a source that is not understood.
    """
    mapping = mapping or FieldMap()
    paths = _paths(source, format)
    total: int | None = None
    if paths is None:
        readers = [_special(source, format, mapping)]
    else:
        readers = [_file_reader(str(path), path, kind, mapping) for path, kind in paths]
        total = sum(path.stat().st_size for path, _ in paths)
    return Corpus(readers, mapping=mapping, rejects=rejects, skip=skip, total_bytes=total)


def document_from_mapping(
    values: Mapping[str, Any], *, where: str = "document", mapping: FieldMap | None = None
) -> Document:
    """Return a document made of a mapping, by the rules for a line of a file.

    Raises DataError "WHERE: reason".

    >>> document_from_mapping({"_id": "d1", "text": "Cats purr.", "year": 2024}).fields
    {'year': 2024}
    """
    try:
        return (mapping or FieldMap()).document(values)
    except BadRecord as error:
        raise DataError(f"{where}: {error}") from error


def count_hint(source: Source, *, format: str | None = None) -> int | None:
    """Return the number of records where it costs nothing to know, else None."""
    if isinstance(source, str) and source.startswith("irds:"):
        from lsr.corpus_irds import IrDataset

        return IrDataset(source.removeprefix("irds:")).count()
    paths = _paths(source, format)
    if not paths or any(kind != "parquet" for _, kind in paths):
        return None
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return sum(int(pq.read_metadata(path).num_rows) for path, _ in paths)
    except (pa.ArrowException, OSError):
        return None


def format_of(path: Path) -> str | None:
    """Return the format that a file's name tells, None when it tells none.

    >>> format_of(Path("shop/docs.JSONL.gz")), format_of(Path("notes.txt"))
    ('jsonl', None)
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in SUFFIXES:
        suffixes.pop()
        if suffixes and FORMATS.get(suffixes[-1]) == "parquet":
            return None
    return FORMATS.get(suffixes[-1]) if suffixes else None


def shards(folder: Path) -> list[tuple[Path, str]]:
    """Return the files of a folder that hold its documents, in order of name, with their format.

    `corpus.*` alone when it is there (a BEIR folder), else every file of a known format; files of
    two formats side by side are a ConfigError.
    """
    files = [
        (path, kind)
        for path in sorted(folder.iterdir(), key=lambda path: path.name)
        if path.is_file()
        and not path.name.startswith((".", "_"))
        and (kind := format_of(path)) is not None
    ]
    corpus = [entry for entry in files if entry[0].name.split(".")[0] == "corpus"]
    if len(corpus) > 1:
        names = ", ".join(path.name for path, _ in corpus)
        raise ConfigError(f"{folder} has more than one corpus file: {names}; name one of them")
    found = corpus or [(path, kind) for path, kind in files if path.suffix != ".json"]
    if not found:
        raise ConfigError(
            f"{folder} holds no documents: neither corpus.jsonl (BEIR) nor files of a known format",
            hint=f"give {UNDERSTOOD}",
        )
    kinds = sorted({kind for _, kind in found})
    if len(kinds) > 1:
        raise ConfigError(
            f"{folder} holds files of several formats ({', '.join(kinds)}); name one file, or "
            "keep one format in the folder"
        )
    return found


def _paths(source: Source, format: str | None) -> list[tuple[Path, str]] | None:
    """Return the files behind a source; None when it is not made of files."""
    if format is not None and format not in FORMATS.values():
        known = ", ".join(sorted(set(FORMATS.values())))
        raise ConfigError(f"format is {format!r}; the formats are {known}")
    if not isinstance(source, str | Path):
        return None
    if isinstance(source, str) and (source == "-" or source.startswith(("irds:", "pydoc:"))):
        return None
    path = Path(source)
    if path.is_dir():
        return [(found, format or kind) for found, kind in shards(path)]
    kind = format or format_of(path)
    if not path.exists():
        raise ConfigError(f"{source}: there is no such file or folder", hint=f"give {UNDERSTOOD}")
    if kind is None:
        raise ConfigError(
            f"{source}: the name does not tell the format",
            hint=f"say it with --format jsonl|csv|tsv|parquet, or give {UNDERSTOOD}",
        )
    return [(path, kind)]


def _special(source: Source, format: str | None, mapping: FieldMap) -> Reader:
    if not isinstance(source, str):
        if isinstance(source, Path):
            raise ConfigError(f"{source} is not a file")
        name = str(getattr(source, "name", "stream"))
        return _file_reader(name, source, format or "jsonl", mapping)
    if source == "-":
        return _file_reader("stdin", None, format or "jsonl", mapping)
    if source.startswith("irds:"):
        from lsr.corpus_irds import IrDataset

        return IrDataset(source.removeprefix("irds:"))
    from lsr.corpus_pydoc import PythonDocs

    return PythonDocs(source.removeprefix("pydoc:"))


def _file_reader(
    name: str, source: Path | IO[bytes] | None, format: str, mapping: FieldMap
) -> Reader:
    if format == "jsonl":
        from lsr.corpus_jsonl import JsonLines

        return JsonLines(name, source)
    from lsr.corpus_tables import CsvRows, ParquetRows

    if format == "parquet":
        if source is None:
            raise ConfigError("Parquet cannot be read from the standard input; give a file")
        return ParquetRows(name, source, wanted=mapping.wanted())
    return CsvRows(name, source, tabs=format == "tsv")


def _raw(payload: object) -> str | bytes:
    """Return something readable to write down beside a reason, at most a few kilobytes long."""
    if isinstance(payload, bytes):
        return payload
    return json.dumps(_short(payload), ensure_ascii=False, default=str)


def _short(value: object) -> object:
    if isinstance(value, str):
        return value[:500]
    if isinstance(value, Mapping):
        return {str(name): _short(inner) for name, inner in list(value.items())[:50]}
    if isinstance(value, list | tuple):
        return [_short(item) for item in list(value)[:20]]
    return value
