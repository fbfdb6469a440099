"""Segment: an immutable folder of memory-mapped arrays and documents, read only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from xxhash import xxh3_64_hexdigest

from lsr.errors import IndexFormatError
from lsr.sparse import SparseVectors
from lsr.types import Document, FieldValue, Span

from . import disk
from .blocks import BLOCK_ARRAYS, Blocks
from .columns import Fields
from .documents import DOCUMENTS, Documents
from .ids import find_in_table, hash_ids
from .manifest import CHECK_HINT, FORMAT, HALVES_FORMAT, damaged, parsed, seal, unseal
from .windows import Postings

HEADER = "header.json"
WEIGHTS = "forward.weights"

#: The arrays of a segment and their types; `None` is uint16 or uint32 by size of vocabulary.
ARRAYS: dict[str, str | None] = {
    "forward.indptr": "<i8",
    "forward.terms": None,
    WEIGHTS: "<f4",
    "postings.windows": "<i8",
    "postings.lists": "<u4",
    "postings.records": "<u4",
    "postings.entries": "<u4",
    "documents.id_rank": "<u4",
    "documents.id_hash": "<u8",
    "documents.id_ordinal": "<u4",
}
#: What takes the place of `forward.weights` where 16 bits hold every weight of a segment exactly.
HALVES = "forward.halves"
HALVES_ARRAYS: dict[str, str | None] = {HALVES: "<f2"}
#: Arrays of segments whose documents have passages.
PASSAGE_ARRAYS: dict[str, str | None] = {"rows.document": "<u4", "documents.rows": "<i8"}
#: Every name that a segment's folder may hold; those of blocks only where blocks were made.
FILES = frozenset([*ARRAYS, HALVES, *PASSAGE_ARRAYS, *BLOCK_ARRAYS, DOCUMENTS, HEADER])


def array_type(name: str, vocab_size: int) -> np.dtype[Any]:
    """Return the type of a segment's array.

    >>> array_type("forward.terms", 30522), array_type("forward.terms", 250000)
    (dtype('uint16'), dtype('uint32'))
    """
    kind = {**ARRAYS, **HALVES_ARRAYS, **PASSAGE_ARRAYS, **BLOCK_ARRAYS}[name]
    return np.dtype(kind or ("<u2" if vocab_size <= 1 << 16 else "<u4"))


class FileEntry(NamedTuple):
    """A file as the header describes it; documents have no dtype and no shape."""

    bytes: int
    xxh3: str
    dtype: str = ""
    shape: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Header:
    """What a segment's `header.json` says, with the checksum of every file."""

    n_documents: int
    n_rows: int
    vocab_size: int
    passages: bool
    fields: Fields
    files: Mapping[str, FileEntry]

    @property
    def weights(self) -> str:
        """The name of the array with the weights of the rows."""
        return HALVES if HALVES in self.files else WEIGHTS

    @property
    def has_blocks(self) -> bool:
        """Whether the segment has blocks."""
        return BLOCK_ARRAYS.keys() <= self.files.keys()

    def to_bytes(self) -> bytes:
        """Return the header as its file holds it."""
        arrays = {
            name: {
                "file": name,
                "dtype": entry.dtype,
                "shape": list(entry.shape),
                "bytes": entry.bytes,
                "xxh3": entry.xxh3,
            }
            for name, entry in self.files.items()
            if name != DOCUMENTS
        }
        documents = self.files[DOCUMENTS]
        return seal(
            {
                "format": FORMAT if self.weights == WEIGHTS else HALVES_FORMAT,
                "n_documents": self.n_documents,
                "n_rows": self.n_rows,
                "vocab_size": self.vocab_size,
                "passages": self.passages,
                "fields": self.fields.to_json(),
                "arrays": arrays,
                "documents": {
                    "file": DOCUMENTS,
                    "bytes": documents.bytes,
                    "xxh3": documents.xxh3,
                },
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes, path: Path) -> Header:
        """Return the header in `data`, every byte checked; `path` is for messages."""
        content = unseal(data, path)

        def parse() -> Header:
            documents = content["documents"]
            files = {DOCUMENTS: FileEntry(int(documents["bytes"]), documents["xxh3"])}
            passages = bool(content["passages"])
            blocks = BLOCK_ARRAYS if BLOCK_ARRAYS.keys() & content["arrays"].keys() else ()
            halves = HALVES in content["arrays"]
            arrays = [HALVES if halves and name == WEIGHTS else name for name in ARRAYS]
            for name in [*arrays, *(PASSAGE_ARRAYS if passages else ()), *blocks]:
                entry = content["arrays"][name]
                files[name] = FileEntry(
                    int(entry["bytes"]), entry["xxh3"], entry["dtype"], tuple(entry["shape"])
                )
            return cls(
                int(content["n_documents"]),
                int(content["n_rows"]),
                int(content["vocab_size"]),
                passages,
                Fields.from_json(content["fields"]),
                files,
            )

        return parsed(path, parse)


class Forward(NamedTuple):
    """The rows as CSR: `indptr` int64 (n_rows+1,), `terms` uint16|uint32, `weights`.

    Weights are float16 where that holds all of the segment exactly, float32 elsewhere.
    """

    indptr: npt.NDArray[np.int64]
    terms: npt.NDArray[Any]
    weights: npt.NDArray[Any]


class Segment:
    """An immutable part of an index: documents and their rows, read from memory-mapped files.

    It goes on reading after its files are removed. Safe to use from many threads.
    """

    #: The weights of rows count as they are.
    saturation = None

    def __init__(self, folder: Path, header: Header) -> None:
        self.folder = folder
        self.name = folder.name
        self.header = header
        self.n_documents = header.n_documents
        self.n_rows = header.n_rows
        self.vocab_size = header.vocab_size
        self.fields = header.fields
        self.forward = Forward(
            self._map("forward.indptr"), self._map("forward.terms"), self._map(header.weights)
        )
        self.postings = Postings(*(self._map(f"postings.{name}") for name in Postings._fields))
        self.id_rank: npt.NDArray[np.uint32] = self._map("documents.id_rank")
        self._id_hash: npt.NDArray[np.uint64] = self._map("documents.id_hash")
        self._id_ordinal: npt.NDArray[np.uint32] = self._map("documents.id_ordinal")
        self.row_document: npt.NDArray[np.uint32] | None = None
        self.document_rows: npt.NDArray[np.int64] | None = None
        if header.passages:
            self.row_document = self._map("rows.document")
            self.document_rows = self._map("documents.rows")
        self.blocks: Blocks | None = None
        if header.has_blocks:
            self.blocks = Blocks(*(self._map(name) for name in BLOCK_ARRAYS))
        self._documents = self._open_documents()

    @classmethod
    def open(cls, folder: Path, verify: bool = True, *, header_xxh3: str | None = None) -> Segment:
        """Return the segment in a folder, with all its checksums verified unless told not to.

        `header_xxh3` is the checksum that the manifest has for the header; sizes are always
        checked. Raises IndexFormatError that names the first file that is not as written.
        """
        header, problems = _inspect(folder, header_xxh3, verify)
        if header is None or problems:
            raise problems[0]
        return cls(folder, header)

    def verify(self) -> list[str]:
        """Return what is wrong with the files now, a sentence for each; empty when sound."""
        return segment_problems(self.folder)

    @property
    def table(self) -> pa.Table:
        """The documents and their metadata as an Arrow table, memory-mapped.

        A field that the index learned after this segment was written has no column here.
        """
        return self._documents.table

    def rows_of(self, document: int) -> range:
        """Return the rows of a document, by ordinal."""
        if self.document_rows is None:
            return range(document, document + 1)
        return range(int(self.document_rows[document]), int(self.document_rows[document + 1]))

    def row_documents(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the ordinal of the document that each row belongs to."""
        if self.row_document is None:
            return np.asarray(rows, np.int64)
        return self.row_document[rows].astype(np.int64)

    def find(
        self, ids: Sequence[str], hashes: npt.NDArray[np.uint64] | None = None
    ) -> npt.NDArray[np.int64]:
        """Return the ordinal of each id, -1 when absent; `hashes` if they are known already."""

        def matches(
            wanted: npt.NDArray[np.int64], found: npt.NDArray[np.int64]
        ) -> npt.NDArray[np.bool_]:
            pairs = zip(wanted.tolist(), self.ids(found), strict=True)
            return np.array([ids[at] == there for at, there in pairs], np.bool_)

        wanted = hash_ids(ids) if hashes is None else hashes
        return find_in_table(self._id_hash, self._id_ordinal, wanted, matches)

    def ids(self, ordinals: Sequence[int] | npt.NDArray[Any]) -> list[str]:
        """Return the ids of documents, by ordinal."""
        return self._documents.ids(np.asarray(ordinals, np.int64))

    def document(self, ordinal: int) -> Document:
        """Return a document with its title, text and metadata, by ordinal."""
        return Document(*self.parts(ordinal))

    def parts(self, ordinal: int) -> tuple[str, str, str, Mapping[str, FieldValue]]:
        """Return id, title, text and metadata of a document, by ordinal."""
        name, title, text = self._documents.strings(ordinal)
        if not self.fields:
            return name, title, text, {}
        batch, row = self._documents.place(ordinal)
        return name, title, text, self.fields.row_fields(batch, row)

    def texts(self, start: int, stop: int) -> list[Document]:
        """Return documents `start` to `stop` (exclusive) without their metadata."""
        return [Document(*self._documents.strings(ordinal)) for ordinal in range(start, stop)]

    def spans(self, ordinal: int) -> list[Span] | None:
        """Return the passages of a document, by ordinal; None if the index has no passages."""
        if not self.header.passages:
            return None
        batch, row = self._documents.place(ordinal)
        found = batch.column(batch.num_columns - 1)[row].as_py()
        return [Span(span["start"], span["end"]) for span in found]

    def vectors(self, start: int, stop: int | None = None) -> SparseVectors:
        """Return a checked copy of rows `start` to `stop` (exclusive), or of row `start` alone."""
        stop = start + 1 if stop is None else stop
        bounds = self.forward.indptr[start : stop + 1]
        span = slice(int(bounds[0]), int(bounds[-1]))
        return SparseVectors.from_arrays(
            bounds - bounds[0],
            self.forward.terms[span],
            self.forward.weights[span].astype(np.float32),
            vocab_size=self.vocab_size,
        )

    def __repr__(self) -> str:
        return f"Segment({self.name}, {self.n_documents} documents, {self.n_rows} rows)"

    def _map(self, name: str) -> npt.NDArray[Any]:
        entry = self.header.files[name]
        try:
            return disk.map_array(self.folder / name, np.dtype(entry.dtype), entry.shape)
        except FileNotFoundError as error:
            raise _missing(self.folder / name) from error

    def _open_documents(self) -> Documents:
        path = self.folder / DOCUMENTS
        try:
            documents = Documents(path)
        except FileNotFoundError as error:
            raise _missing(path) from error
        except (pa.ArrowException, OSError, ValueError) as error:
            raise damaged(path, f"Arrow cannot read it ({error})", "an Arrow file") from error
        if len(documents) != self.n_documents:
            raise damaged(path, f"it has {len(documents)} documents", f"{self.n_documents}")
        return documents


def segment_problems(folder: Path, header_xxh3: str | None = None) -> list[str]:
    """Return what is wrong with a segment's files, a sentence for each; empty when sound."""
    return [problem.message for problem in _inspect(folder, header_xxh3, True)[1]]


def _inspect(
    folder: Path, header_xxh3: str | None, verify: bool
) -> tuple[Header | None, list[IndexFormatError]]:
    path = folder / HEADER
    try:
        data = disk.read_bytes(path)
        header, found = Header.from_bytes(data, path), xxh3_64_hexdigest(data)
    except IndexFormatError as error:
        return None, [error]
    except FileNotFoundError:
        return None, [_missing(path)]
    if header_xxh3 not in (None, found):
        return header, [damaged(path, f"its checksum is {found}", f"{header_xxh3} (manifest)")]
    problems = (_file_problem(folder / name, header, name, verify) for name in sorted(header.files))
    return header, [problem for problem in problems if problem is not None]


def _file_problem(path: Path, header: Header, name: str, verify: bool) -> IndexFormatError | None:
    entry = header.files[name]
    try:
        found = disk.checksum(path) if verify else disk.Written(disk.size(path), entry.xxh3)
        if found.bytes != entry.bytes:
            return damaged(path, f"it has {found.bytes:,} bytes", f"{entry.bytes:,}")
        if name != DOCUMENTS and not _is_shaped(name, entry, header):
            described = f"the header calls it {entry.dtype} of shape {list(entry.shape)}"
            return damaged(path, described, "the type and shape of that array")
        if found.xxh3 != entry.xxh3:
            return damaged(path, f"its checksum is {found.xxh3}", f"{entry.xxh3} (header)")
    except FileNotFoundError:
        return _missing(path)
    return None


def _is_shaped(name: str, entry: FileEntry, header: Header) -> bool:
    """Return whether an array has the type and length that the header's counts ask for."""
    lengths = {
        "forward.indptr": header.n_rows + 1,
        "rows.document": header.n_rows,
        "documents.rows": header.n_documents + 1,
        "documents.id_rank": header.n_documents,
        "documents.id_hash": header.n_documents,
        "documents.id_ordinal": header.n_documents,
        "blocks.lists": header.vocab_size + 1,
        "blocks.largest": header.vocab_size,
    }
    dtype = array_type(name, header.vocab_size)
    return (
        entry.dtype == dtype.str
        and len(entry.shape) == 1
        and entry.shape[0] == lengths.get(name, entry.shape[0])
        and entry.shape[0] * dtype.itemsize == entry.bytes
    )


def _missing(path: Path) -> IndexFormatError:
    return IndexFormatError(f"{path} is missing", hint=CHECK_HINT)
