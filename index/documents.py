"""The documents of a segment: an Arrow file, written in batches and read by ordinal."""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from io import RawIOBase
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lsr.errors import DataError
from lsr.types import Document, Span

from . import disk
from .columns import Fields

DOCUMENTS = "documents.arrow"
SPANS = pa.list_(pa.struct([pa.field("start", pa.int32()), pa.field("end", pa.int32())]))

#: A record batch ends with the document that takes it past this many bytes of text.
BATCH_BYTES = 2_000_000
#: What a document counts for beside its text, so that batches of empty documents end, too.
_DOCUMENT_BYTES = 64

IntArray = npt.NDArray[np.int64]


def documents_schema(fields: Fields, *, passages: bool) -> pa.Schema:
    """Return the columns of a segment's Arrow file."""
    columns = [
        pa.field("_id", pa.string()),
        pa.field("_title", pa.string()),
        pa.field("_text", pa.large_string()),
        *fields.arrow_fields(),
    ]
    return pa.schema([*columns, pa.field("_spans", SPANS)] if passages else columns)


def documents_batch(
    documents: Sequence[Document], spans: Sequence[Sequence[Span]] | None, fields: Fields
) -> pa.RecordBatch:
    """Return documents as one record batch; DataError names one that does not fit."""
    schema = documents_schema(fields, passages=spans is not None)
    try:
        columns = [
            pa.array([document.id for document in documents], pa.string()),
            pa.array([document.title for document in documents], pa.string()),
            pa.array([document.text for document in documents], pa.large_string()),
            *fields.arrays(documents),
        ]
    except (pa.ArrowException, UnicodeError, TypeError) as error:
        raise _unfit(documents, error) from error
    if spans is not None:
        columns.append(_spans_array(spans))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


class DocumentsWriter:
    """Writes record batches to an Arrow file, cut anew so that only the documents decide where.

    However many documents come in one `append`, the file's bytes are the same.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema = schema
        self._file = disk.FileWriter(path)
        self._pending: list[pa.RecordBatch] = []
        self._pending_bytes = 0
        try:
            self._writer = pa.ipc.new_file(pa.PythonFile(_Unclosed(self._file), mode="w"), schema)
        except BaseException:
            self._file.abandon()
            raise

    def append(self, batch: pa.RecordBatch) -> None:
        """Add a batch of the writer's schema."""
        start = 0
        ends = np.cumsum(_text_bytes(batch))
        while start < batch.num_rows:
            before = int(ends[start - 1]) if start else 0
            cut = int(np.searchsorted(ends, before + BATCH_BYTES - self._pending_bytes))
            stop = min(cut + 1, batch.num_rows)
            self._pending.append(batch.slice(start, stop - start))
            self._pending_bytes += int(ends[stop - 1]) - before
            start = stop
            if self._pending_bytes >= BATCH_BYTES:
                self._write()

    def finish(self) -> disk.Written:
        """Write what is left and make the file durable."""
        if self._pending:
            self._write()
        self._writer.close()
        return self._file.finish()

    def abandon(self) -> None:
        """Close the file as it is."""
        self._file.abandon()

    def _write(self) -> None:
        whole = pa.Table.from_batches(self._pending, self._schema).combine_chunks()
        self._pending, self._pending_bytes = [], 0
        # Arrow writes slices with what lies around them; a copy of the rows has nothing around.
        for batch in whole.take(np.arange(whole.num_rows)).to_batches():
            self._writer.write_batch(batch)


class _Unclosed(RawIOBase):
    """A FileWriter as Arrow wants it; closing this one leaves the file to us."""

    def __init__(self, file: disk.FileWriter) -> None:
        self._file = file

    def write(self, data: Any) -> int:
        return self._file.write(data)

    def tell(self) -> int:
        return self._file.tell()

    def writable(self) -> bool:
        return True


class Documents:
    """The documents of an open segment, memory-mapped, found by ordinal."""

    def __init__(self, path: Path) -> None:
        with disk.reading(path), pa.memory_map(str(path)) as file:
            mapped = file.read_buffer()
        reader = pa.ipc.open_file(pa.BufferReader(mapped))
        self._batches = [reader.get_batch(at) for at in range(reader.num_record_batches)]
        self.schema: pa.Schema = reader.schema
        self._starts = [0, *accumulate(batch.num_rows for batch in self._batches)]
        self._ids = [_strings(batch.column(0)) for batch in self._batches]
        self._titles = [_strings(batch.column(1)) for batch in self._batches]
        self._texts = [_strings(batch.column(2), "q") for batch in self._batches]
        self._addresses: tuple[IntArray, IntArray] | None = None

    def __len__(self) -> int:
        return self._starts[-1]

    @property
    def table(self) -> pa.Table:
        """All documents as one table, still mapped."""
        return pa.Table.from_batches(self._batches, self.schema)

    def place(self, ordinal: int) -> tuple[pa.RecordBatch, int]:
        """Return the batch a document is in, and its row there."""
        at = bisect_right(self._starts, ordinal) - 1
        return self._batches[at], ordinal - self._starts[at]

    def strings(self, ordinal: int) -> tuple[str, str, str]:
        """Return id, title and text of a document."""
        at = bisect_right(self._starts, ordinal) - 1
        row = ordinal - self._starts[at]
        # Through the buffers: Arrow's scalars take several times as long.
        return (
            _string(self._ids[at], row),
            _string(self._titles[at], row),
            _string(self._texts[at], row),
        )

    def ids(self, ordinals: IntArray) -> list[str]:
        """Return the ids of the given documents, in that order."""
        gather = getattr(sys.modules.get(f"{__package__}.kernels"), "gather", None)
        return self._ids_slowly(ordinals) if gather is None else self._ids_by(gather, ordinals)

    def _ids_by(self, gather: Any, ordinals: IntArray) -> list[str]:
        """Do what `ids` does with a kernel: after a search little of Python is in the caches."""
        if not len(ordinals):
            return []
        if self._addresses is None:
            # The batches hold the buffers.
            self._addresses = (
                np.array([_addresses(batch.column(0)) for batch in self._batches]).reshape(-1),
                np.array(self._starts),
            )
        places, out = np.empty(2 * len(ordinals), np.int64), np.empty(64 * len(ordinals), np.uint8)
        size = gather(*self._addresses, ordinals, places, out)
        if size < 0:
            out = np.empty(-size, np.uint8)
            size = gather(*self._addresses, ordinals, places, out)
        if not size:
            return self._ids_slowly(ordinals)
        return out[: size - 1].tobytes().decode().split("\0")

    def _ids_slowly(self, ordinals: IntArray) -> list[str]:
        found = []
        offsets, data, first, end = memoryview(b""), memoryview(b""), 0, 0
        for ordinal in ordinals.tolist():
            if not first <= ordinal < end:
                at = bisect_right(self._starts, ordinal) - 1
                offsets, data = self._ids[at]
                first, end = self._starts[at], self._starts[at + 1]
            row = ordinal - first
            # Through the buffers: Arrow's scalars take several times as long.
            found.append(str(data[offsets[row] : offsets[row + 1]], "utf-8"))
        return found


def _string(strings: tuple[memoryview, memoryview], row: int) -> str:
    offsets, data = strings
    return str(data[offsets[row] : offsets[row + 1]], "utf-8")


def _strings(column: Any, width: Literal["i", "q"] = "i") -> tuple[memoryview, memoryview]:
    """Return the offsets and the bytes of a column of strings; offsets from the column's start.

    `width` is that of the offsets: "i" in columns of strings, "q" in those of large strings.
    """
    _, offsets, data = column.buffers()
    if not len(column):
        return memoryview(b""), memoryview(b"")
    bounds = memoryview(offsets).cast(width)[column.offset : column.offset + len(column) + 1]
    return bounds, memoryview(data if data is not None else b"")


def _addresses(column: Any) -> tuple[int, int, int]:
    """Return where a column of strings has its first offset and its bytes, and their number."""
    _, offsets, data = column.buffers()
    if not len(column):
        return 0, 0, 0
    first = offsets.address + 4 * column.offset
    return (first, 0, 0) if data is None else (first, data.address, data.size)


def stream_batches(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yield an Arrow file's batches with the columns of `schema`, null where the file has none.

    Read, not mapped: a merge goes through every page once and should not hold on to them.
    """
    with disk.reading(path), pa.OSFile(str(path), "r") as file:
        reader = pa.ipc.open_file(file)
        for at in range(reader.num_record_batches):
            batch = reader.get_batch(at)
            columns = []
            for field in schema:
                where = batch.schema.get_field_index(field.name)
                known = where >= 0
                columns.append(
                    batch.column(where) if known else pa.nulls(batch.num_rows, field.type)
                )
            yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _text_bytes(batch: pa.RecordBatch) -> IntArray:
    """Return how many bytes of text each document of a batch has, and a little for the rest."""
    import pyarrow.compute as pc  # a tenth of a second that reading does not need

    total = np.full(batch.num_rows, _DOCUMENT_BYTES, np.int64)
    for column in batch.columns:
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            total += _lengths(column)
        elif pa.types.is_list(column.type) and pa.types.is_string(column.type.value_type):
            parents = pc.list_parent_indices(column).to_numpy(zero_copy_only=False)
            np.add.at(total, parents, _lengths(pc.list_flatten(column)))
    return total


def _lengths(strings: pa.Array[Any]) -> npt.NDArray[Any]:
    import pyarrow.compute as pc

    lengths = pc.call_function("binary_length", [strings])
    found: npt.NDArray[Any] = pc.fill_null(lengths, 0).to_numpy(zero_copy_only=False)
    return found


def _spans_array(spans: Sequence[Sequence[Span]]) -> pa.Array[Any]:
    bounds = np.zeros(len(spans) + 1, np.int32)
    np.cumsum([len(part) for part in spans], out=bounds[1:])
    flat = np.array([span for part in spans for span in part], np.int32).reshape(-1, 2)
    starts, ends = pa.array(flat[:, 0].copy()), pa.array(flat[:, 1].copy())
    struct = pa.StructArray.from_arrays([starts, ends], fields=list(SPANS.value_type))
    offsets: Any = pa.array(bounds)
    spans_array: pa.Array[Any] = pa.ListArray.from_arrays(offsets, struct, type=SPANS)
    return spans_array


def _unfit(documents: Sequence[Document], error: Exception) -> DataError:
    for document in documents:
        for name in ("id", "title", "text"):
            value = getattr(document, name)
            found = f"document {document.id!r}: its {name} is"
            if not isinstance(value, str):
                return DataError(f"{found} {type(value).__name__}; a string is expected")
            try:
                value.encode()
            except UnicodeEncodeError:
                return DataError(f"{found} not valid Unicode: it has half a surrogate pair")
    return DataError(f"the documents do not fit the columns of the index: {error}")
