"""SegmentWriter: documents and rows streamed into a new segment, a window in memory at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lsr.errors import ConfigError, DataError, StorageError
from lsr.sparse import SparseVectors
from lsr.types import Document, Span

from . import disk
from .block_build import BlockWriter
from .columns import Fields
from .documents import DOCUMENTS, DocumentsWriter, documents_batch, documents_schema
from .halves import LARGEST, Dtype, as_halves, rounded
from .ids import GrowingIds, hash_ids
from .segment import (
    ARRAYS,
    FILES,
    HALVES,
    HEADER,
    PASSAGE_ARRAYS,
    WEIGHTS,
    FileEntry,
    Header,
    array_type,
)
from .windows import MAX_WINDOW_ROWS, invert_window

#: Postings of a window when nothing else is asked for: about 400 MB while it is inverted.
WINDOW_POSTINGS = 36_000_000

_MOST_DOCUMENTS = 2**32 - 1
#: Documents are turned into Arrow this many at a time.
_CHUNK = 4096

IntArray = npt.NDArray[np.int64]


class Rows(NamedTuple):
    """Rows for a writer: CSR with `indptr` from 0, and the first row of each document."""

    indptr: IntArray
    terms: npt.NDArray[Any]
    weights: npt.NDArray[np.float32]
    document_rows: IntArray


class SegmentWriter:
    """Writes a new segment into `folder`, which must not exist.

    Memory is bounded by one window (at most `window_rows` rows, and about `window_postings`
    postings), a batch of text and some 50 bytes for each document, never by the segment. The
    same documents give the same bytes, however they are cut into calls of `append`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        vocab_size: int,
        fields: Fields,
        passages: bool,
        window_rows: int = MAX_WINDOW_ROWS,
        window_postings: int = WINDOW_POSTINGS,
        blocks: BlockWriter | None = None,
        dtype: Dtype = "float32",
    ) -> None:
        if not 1 <= window_rows <= MAX_WINDOW_ROWS or window_postings < 1:
            raise ConfigError(
                f"a window of {window_rows} rows and {window_postings} postings cannot be written; "
                f"1 to {MAX_WINDOW_ROWS} rows and at least 1 posting are expected"
            )
        self.folder = folder
        self.vocab_size = vocab_size
        self.fields = fields
        self.passages = passages
        self.n_documents = 0
        self.n_rows = 0
        self._window_rows = window_rows
        self._window_postings = window_postings
        self._blocks = blocks
        self._dtype = dtype
        self._ids = GrowingIds()
        self._sound = True
        self._files: dict[str, disk.FileWriter] = {}
        disk.make_folder(folder)
        try:
            self._open_files()
        except BaseException:
            self.abort()
            raise

    def append(
        self,
        documents: Sequence[Document],
        vectors: SparseVectors,
        spans: Sequence[Sequence[Span]] | None = None,
    ) -> None:
        """Add documents with one vector each, or one for each of their `spans`, in that order.

        Nothing is written if something is wrong: DataError for an id that is there already, a
        vocabulary or a number of vectors that does not fit, a document with no passage or with
        more than fit a window, a weight beyond what the index keeps weights in.
        """
        per_document = self._rows_of_each(documents, vectors, spans)
        chunks = [slice(at, at + _CHUNK) for at in range(0, len(documents), _CHUNK)]
        batches = [
            documents_batch(documents[chunk], None if spans is None else spans[chunk], self.fields)
            for chunk in chunks
        ]
        ids = [document.id for document in documents]
        hashes = hash_ids(ids)
        self._check_ids(ids, hashes)
        bounds = np.concatenate([[0], np.cumsum(per_document)]).astype(np.int64)
        weights = vectors.weights
        if self._dtype == "float16":
            self._check_weights(documents, vectors, bounds)
            weights = rounded(weights)
        rows = Rows(vectors.indptr, vectors.terms, weights, bounds)
        self.write(batches, ids, hashes, rows)

    def contains(
        self, ids: Sequence[str], hashes: npt.NDArray[np.uint64] | None = None
    ) -> list[bool]:
        """Return for each id whether a document has it; `hashes` if they are known already."""
        found = self._ids.find(ids, hash_ids(ids) if hashes is None else hashes)
        return [bool(there) for there in found >= 0]

    def write(
        self,
        batches: Sequence[pa.RecordBatch],
        ids: Sequence[str],
        hashes: npt.NDArray[np.uint64],
        rows: Rows,
    ) -> None:
        """Add documents that are known to be sound, as a merge has them; `append` checks first."""
        self._check_sound()
        if self.n_documents + len(ids) > _MOST_DOCUMENTS:
            raise DataError(f"a segment cannot hold more than {_MOST_DOCUMENTS:,} documents")
        self._sound = False
        for batch in batches:
            self._documents.append(batch)
        if self.passages:
            ordinals = np.arange(self.n_documents, self.n_documents + len(ids), dtype=np.uint32)
            self._put("rows.document", np.repeat(ordinals, np.diff(rows.document_rows)))
            self._put("documents.rows", self.n_rows + rows.document_rows[1:])
        self._ids.append(ids, hashes)
        self._write_rows(rows)
        self.n_documents += len(ids)
        self._sound = True

    def close(self) -> None:
        """Finish the segment and make it durable; the header, written last, makes it whole."""
        self._check_sound()
        if not self.n_documents:
            raise DataError(f"the segment {self.folder.name} is empty; a segment has documents")
        self._sound = False
        self._close_window()
        hashes, ordinals = self._ids.table()
        self._put("documents.id_hash", hashes)
        self._put("documents.id_ordinal", ordinals)
        self._put("documents.id_rank", self._ids.ranks())
        blocks = {} if self._blocks is None else self._write_blocks(self._blocks)
        if HALVES in self._files:
            self._drop(WEIGHTS)
        files = {
            name: self._finished(name)
            for name in (*ARRAYS, HALVES, *PASSAGE_ARRAYS)
            if name in self._files
        }
        files |= blocks
        files[DOCUMENTS] = FileEntry(*self._documents.finish())
        header = Header(
            self.n_documents, self.n_rows, self.vocab_size, self.passages, self.fields, files
        )
        disk.write_new(self.folder / HEADER, header.to_bytes())
        disk.sync_folder(self.folder)

    def spoil(self) -> None:
        """Refuse to go on: a leg has not got the documents that are here."""
        self._sound = False

    def abort(self) -> None:
        """Remove what has been written. May be called at any time, more than once."""
        self._sound = False
        for file in self._files.values():
            file.abandon()
        documents = getattr(self, "_documents", None)
        if documents is not None:
            documents.abandon()
        remove_segment(self.folder)

    def _open_files(self) -> None:
        for name in [*ARRAYS, HALVES, *(PASSAGE_ARRAYS if self.passages else ())]:
            self._files[name] = disk.FileWriter(self.folder / name)
        schema = documents_schema(self.fields, passages=self.passages)
        self._documents = DocumentsWriter(self.folder / DOCUMENTS, schema)
        zero = np.zeros(1, np.int64)
        self._put("forward.indptr", zero)
        self._put("postings.windows", zero)
        if self.passages:
            self._put("documents.rows", zero)
        self._nnz = 0
        self._n_lists = 0
        self._window_start = 0
        self._window_nnz = 0
        #: Lengths of the rows in the window, gathered until it is inverted.
        self._window_lengths: list[IntArray] = []

    def _write_blocks(self, writer: BlockWriter) -> dict[str, FileEntry]:
        """Write the blocks of the rows, which are all in their files; return the new files."""
        indptr, terms, weights = (
            self._map_written(name, count)
            for name, count in (
                ("forward.indptr", self.n_rows + 1),
                ("forward.terms", self._nnz),
                (WEIGHTS, self._nnz),
            )
        )
        opened: dict[str, disk.FileWriter] = {}

        def put(name: str, array: npt.NDArray[Any]) -> None:
            if name not in opened:
                opened[name] = self._files[name] = disk.FileWriter(self.folder / name)
            self._put(name, array)

        if not writer.write((indptr, terms, weights), self.vocab_size, put):
            return {}
        return {name: self._finished(name) for name in opened}

    def _map_written(self, name: str, count: int) -> npt.NDArray[Any]:
        """Return an array that has been written, as far as it has."""
        self._files[name].flush()
        return disk.map_array(self.folder / name, array_type(name, self.vocab_size), (count,))

    def _finished(self, name: str) -> FileEntry:
        written, dtype = self._files[name].finish(), array_type(name, self.vocab_size)
        return FileEntry(*written, dtype.str, (written.bytes // dtype.itemsize,))

    def _check_sound(self) -> None:
        if not self._sound:
            raise StorageError(
                f"the segment {self.folder} cannot be written to; an earlier write failed or it "
                "is closed",
                hint="roll the transaction back and begin again",
            )

    def _rows_of_each(
        self,
        documents: Sequence[Document],
        vectors: SparseVectors,
        spans: Sequence[Sequence[Span]] | None,
    ) -> IntArray:
        """Return how many rows each document has, after checking that all the numbers agree."""
        if vectors.vocab_size != self.vocab_size:
            raise DataError(
                f"the vectors have a vocabulary of {vectors.vocab_size} terms; "
                f"the index has {self.vocab_size}"
            )
        if (spans is not None) != self.passages:
            has, given = ("passages", "no spans") if self.passages else ("no passages", "spans")
            raise DataError(f"the index has {has}, but {given} came with the documents")
        if spans is None:
            counts = np.ones(len(documents), np.int64)
        elif len(spans) != len(documents):
            raise DataError(f"there are {len(documents)} documents but spans for {len(spans)}")
        else:
            counts = np.array([len(part) for part in spans], np.int64)
        if int(counts.sum()) != len(vectors):
            what = "documents" if spans is None else "passages"
            raise DataError(f"there are {counts.sum()} {what} but {len(vectors)} vectors")
        unfit = np.flatnonzero((counts < 1) | (counts > self._window_rows))
        if len(unfit):
            at = int(unfit[0])
            raise DataError(
                f"document {documents[at].id!r} has {counts[at]} passages; "
                f"1 to {self._window_rows} are expected",
                hint="make the passages longer, or split the document",
            )
        return counts

    def _check_ids(self, ids: Sequence[str], hashes: npt.NDArray[np.uint64]) -> None:
        seen: set[str] = set()
        for document_id, known in zip(ids, self.contains(ids, hashes), strict=True):
            if not document_id:
                raise DataError("a document has an empty id; at least one character is expected")
            if known or document_id in seen:
                raise DataError(
                    f"document {document_id!r} comes twice; ids are unique in an index",
                    hint="use upsert to put a document in place of another",
                )
            seen.add(document_id)

    def _check_weights(
        self, documents: Sequence[Document], vectors: SparseVectors, bounds: IntArray
    ) -> None:
        """Refuse weights that float16 cannot hold."""
        large = np.flatnonzero(vectors.weights > LARGEST)
        if len(large):
            row = int(np.searchsorted(vectors.indptr, large[0], side="right")) - 1
            at = int(np.searchsorted(bounds, row, side="right")) - 1
            raise DataError(
                f"document {documents[at].id!r} has the weight {vectors.weights[large[0]]:g}; this "
                f"index keeps weights as float16, {LARGEST:g} at most",
                hint="index again without --dtype float16",
            )

    def _write_rows(self, rows: Rows) -> None:
        """Append whole documents to the window; when the next one does not fit, begin another."""
        starts, n_documents = rows.document_rows, len(rows.document_rows) - 1
        postings = rows.indptr[starts]
        at = 0
        while at < n_documents:
            in_window = self.n_rows - self._window_start
            room = int(starts[at]) + self._window_rows - in_window
            most = int(postings[at]) + self._window_postings - self._window_nnz
            stop = min(
                int(np.searchsorted(starts, room, side="right")) - 1,
                int(np.searchsorted(postings, most, side="right")) - 1,
                n_documents,
            )
            if stop <= at:
                if in_window:
                    self._close_window()
                    continue
                stop = at + 1  # one document with more postings than a window is a window itself
            self._write_part(rows, int(starts[at]), int(starts[stop]))
            at = stop

    def _write_part(self, rows: Rows, start: int, stop: int) -> None:
        bounds = rows.indptr[start : stop + 1]
        first, last = int(bounds[0]), int(bounds[-1])
        self._put("forward.indptr", bounds[1:] + (self._nnz - first))
        self._put("forward.terms", rows.terms[first:last])
        self._put_weights(rows.weights[first:last])
        self._window_lengths.append(np.diff(bounds))
        self._window_nnz += last - first
        self._nnz += last - first
        self.n_rows += stop - start

    def _put_weights(self, weights: npt.NDArray[np.float32]) -> None:
        """Append weights; as float16, too, as long as that holds all of them exactly."""
        self._put(WEIGHTS, weights)
        if HALVES not in self._files:
            return
        halves = as_halves(weights)
        if halves is None:
            self._drop(HALVES)
        else:
            self._put(HALVES, halves)

    def _drop(self, name: str) -> None:
        """Remove an array that the segment does not need."""
        self._files.pop(name).abandon()
        disk.remove_file(self.folder / name)

    def _close_window(self) -> None:
        """Invert the window's rows, read back from the forward files, and append the postings."""
        indptr = np.concatenate([[0], np.cumsum(np.concatenate(self._window_lengths))])
        first = self._nnz - self._window_nnz
        terms = self._read_back("forward.terms", first)
        weights = self._read_back(WEIGHTS, first)
        inverted = invert_window(indptr.astype(np.int64), terms, weights, self.vocab_size)
        lists = np.zeros(self.vocab_size, np.uint32)
        lists[inverted.terms] = np.arange(1, len(inverted.terms) + 1) + self._n_lists
        self._n_lists += len(inverted.terms)
        self._put("postings.lists", lists)
        self._put("postings.records", inverted.records)
        self._put("postings.entries", inverted.entries)
        self._put("postings.windows", np.array([self.n_rows], np.int64))
        self._window_start, self._window_nnz, self._window_lengths = self.n_rows, 0, []

    def _read_back(self, name: str, first: int) -> npt.NDArray[Any]:
        file, dtype = self._files[name], array_type(name, self.vocab_size)
        file.flush()
        with disk.reported(file.path, "read"):
            return np.fromfile(
                file.path, dtype, count=self._window_nnz, offset=first * dtype.itemsize
            )

    def _put(self, name: str, array: npt.NDArray[Any]) -> None:
        dtype = array_type(name, self.vocab_size)
        self._files[name].write(np.ascontiguousarray(array, dtype))


def remove_segment(folder: Path) -> bool:
    """Remove a segment's folder; return false if it stays because it holds files of others."""
    for name in sorted(FILES):
        disk.remove_file(folder / name)
    return disk.remove_folder(folder)
