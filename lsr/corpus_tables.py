"""Tables in: CSV, TSV and Parquet files, one document a row."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from lsr.corpus_bytes import LINE_LIMIT, Broken, CountedFile, lines, opened
from lsr.corpus_fields import BadRecord, storable
from lsr.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pyarrow as pa

#: Rows of a Parquet file that are held as Python values at a time.
_BATCH_ROWS = 1024


class CsvRows:
    """The rows of a CSV file (comma, RFC 4180 quotes) or a TSV file (tabs, no quotes).

    The first row names the columns. Every cell is a string, an empty one is absent; say which
    columns are numbers, dates and so on with the types of a FieldMap. The line of a row is the
    one it begins on.
    """

    def __init__(
        self,
        name: str,
        source: Path | IO[bytes] | None,
        *,
        tabs: bool = False,
        limit: int = LINE_LIMIT,
    ) -> None:
        self.name = name
        self._source = source
        self._tabs = tabs
        self._limit = limit
        self._file: CountedFile | None = None
        self._header: list[str] = []
        self._line = 0
        self._trouble: tuple[int, Broken] | None = None

    @property
    def bytes_read(self) -> int:
        """Bytes taken from the file so far, as they are stored (compressed)."""
        return 0 if self._file is None else self._file.taken

    def items(self) -> Iterator[tuple[int, list[str] | Broken]]:
        """Yield the line and the cells of each row below the header."""
        csv.field_size_limit(max(csv.field_size_limit(), self._limit))
        with opened(self._source) as self._file:
            text = self._text(self._file)
            if self._tabs:
                rows = csv.reader(text, delimiter="\t", quoting=csv.QUOTE_NONE, strict=True)
            else:
                rows = csv.reader(text, strict=True)
            for number, row in self._rows(rows):
                if self._header:
                    yield number, row
                else:
                    self._header = self._checked_header(number, row)

    def parse(self, payload: Sequence[str]) -> Mapping[str, Any]:
        """Return a row as column to cell, or raise BadRecord."""
        if len(payload) != len(self._header):
            raise BadRecord(f"the row has {len(payload)} cells for {len(self._header)} columns")
        values = {}
        for name, cell in zip(self._header, payload, strict=True):
            if not cell:
                continue
            if not storable(cell):
                raise BadRecord(f"invalid UTF-8 in column {name!r}")
            values[name] = cell
        return values

    def _text(self, file: CountedFile) -> Iterator[str]:
        for number, line in lines(file, self.name, limit=self._limit):
            self._line = number
            if isinstance(line, Broken):
                self._trouble = (number, line)
                yield "\n"
            else:
                # Bytes that are not UTF-8 come through as surrogates; `parse` finds them, so
                # that only their row is rejected.
                yield line.decode("utf-8", "surrogateescape") + "\n"

    def _rows(self, rows: Iterator[list[str]]) -> Iterator[tuple[int, list[str] | Broken]]:
        while True:
            begins = self._line + 1
            row: list[str] | Broken
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                row = Broken(f"malformed CSV: {error}")
            if self._trouble is not None:
                yield self._trouble
                self._trouble = None
            elif row:
                yield begins, row

    def _checked_header(self, number: int, row: list[str] | Broken) -> list[str]:
        if isinstance(row, Broken):
            raise DataError(f"{self.name}:{number}: the header cannot be read: {row.reason}")
        for at, name in enumerate(row):
            if not storable(name):
                raise DataError(f"{self.name}:{number}: invalid UTF-8 in the header")
            if not name.strip():
                raise DataError(f"{self.name}:{number}: column {at + 1} of the header has no name")
            if name in row[:at]:
                raise DataError(f"{self.name}:{number}: the header names {name!r} twice")
        return row


class ParquetRows:
    """The rows of a Parquet file, read in small batches; the line of a row counts from 1."""

    def __init__(
        self, name: str, source: Path | IO[bytes], *, wanted: frozenset[str] | None = None
    ) -> None:
        if not isinstance(source, Path) and not source.seekable():
            raise ConfigError(f"{name}: Parquet cannot be read from a pipe; give a file")
        self.name = name
        self._source = source
        self._wanted = wanted
        self._size = source.stat().st_size if isinstance(source, Path) else 0
        self._share = 0.0

    @property
    def bytes_read(self) -> int:
        """Bytes of the file, in proportion to the rows read so far."""
        return int(self._size * self._share)

    def items(self) -> Iterator[tuple[int, Any]]:
        """Yield the number of each row and what `parse` needs to read it."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        number = 0
        try:
            with pq.ParquetFile(self._source) as file:
                columns = [
                    name
                    for name in file.schema_arrow.names
                    if self._wanted is None or name in self._wanted
                ]
                total = file.metadata.num_rows
                for batch in file.iter_batches(_BATCH_ROWS, columns=columns):
                    rows = _Batch(batch)
                    for at in range(batch.num_rows):
                        number += 1
                        self._share = number / total
                        yield number, (rows, at)
        except (pa.ArrowException, OSError) as error:
            what = "ends early or is damaged" if number else "is not a readable Parquet file"
            reason = str(error).splitlines()[0]
            yield number + 1, Broken(f"the file {what} after row {number} ({reason})")

    def parse(self, payload: tuple[_Batch, int]) -> Mapping[str, Any]:
        """Return a row as column to value, or raise BadRecord."""
        batch, at = payload
        return batch.row(at)


class _Batch:
    """Rows as Python values, converted when the first of them is asked for."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self._batch = batch
        self._rows: list[dict[str, Any]] | None = None
        self._faulty = False

    def row(self, at: int) -> dict[str, Any]:
        if self._rows is None and not self._faulty:
            try:
                self._rows = _python_rows(self._batch)
            except UnicodeDecodeError:
                self._faulty = True
        if self._rows is not None:
            return self._rows[at]
        try:
            return _python_rows(self._batch.slice(at, 1))[0]
        except UnicodeDecodeError as error:
            raise BadRecord(f"invalid UTF-8 at byte {error.start} of a string") from error


def _python_rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    import pyarrow as pa

    names = batch.schema.names
    columns = []
    for column in batch.columns:
        if pa.types.is_timestamp(column.type):
            # Nanoseconds have no Python value without pandas; microseconds do.
            column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
        columns.append(column.to_pylist())
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
