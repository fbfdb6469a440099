"""Vectors in Parquet files, read and written piece by piece."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lsr.corpus_bytes import Broken
from lsr.errors import ConfigError, DataError
from lsr.sparse import SparseVectors
from lsr.vector_rows import Piece, RawRows, rows_of_lists

if TYPE_CHECKING:
    import pyarrow as pa

Triple = tuple[npt.NDArray[np.int64], npt.NDArray[Any], npt.NDArray[Any]]

#: Where a Parquet file says how many terms its vocabulary has.
VOCAB_KEY = b"lsr.vocab_size"


class ParquetVectors:
    """Vectors in Parquet: `terms` list of integers, `weights` list of numbers, and the document.

    The id is in `id` or `_id`; `title`, `text` and any other columns are read too.
    """

    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.name = str(path)
        self.seen = 0
        self._path = path
        try:
            schema = pq.read_schema(path)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path}: not a readable Parquet file ({error})") from error
        for name, kind in (("terms", "integers"), ("weights", "numbers")):
            _check_column(self.name, schema, name, kind)
        size = (schema.metadata or {}).get(VOCAB_KEY)
        self.vocab_size = None if size is None else int(size)

    def pieces(self, size: int, skip: int) -> Iterator[Piece]:
        """Yield the rows behind the first `skip`, at most `size` at a time."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.seen = 0
        try:
            with pq.ParquetFile(self._path) as file:
                for batch in file.iter_batches(size):
                    before, self.seen = self.seen, self.seen + batch.num_rows
                    first = max(0, skip - before)
                    if first < batch.num_rows:
                        yield self._rows(batch.slice(first), before + first)
        except (pa.ArrowException, OSError) as error:
            self.seen += 1
            reason = str(error).splitlines()[0]
            yield self.seen, Broken(f"the file is damaged behind row {self.seen - 1} ({reason})")

    def _rows(self, batch: pa.RecordBatch, before: int) -> RawRows:
        lines = list(range(before + 1, before + batch.num_rows + 1))
        terms, weights = batch.column("terms"), batch.column("weights")
        values = batch.drop_columns(["terms", "weights"]).to_pylist()
        flat = _flat(terms, weights)
        if flat is not None:
            return RawRows(self.name, lines, values, *flat)
        vectors = [_row(terms[at].as_py(), weights[at].as_py()) for at in range(batch.num_rows)]
        return rows_of_lists(self.name, lines, values, vectors)


def _check_column(source: str, schema: pa.Schema, name: str, kind: str) -> None:
    import pyarrow as pa

    at = schema.get_field_index(name)
    if at < 0:
        raise DataError(f"{source}: there is no column {name!r}; the columns are {schema.names}")
    found = schema.field(at).type
    is_list = pa.types.is_list(found) or pa.types.is_large_list(found)
    good = is_list and (
        pa.types.is_integer(found.value_type)
        or (kind == "numbers" and pa.types.is_floating(found.value_type))
    )
    if not good:
        raise DataError(f"{source}: column {name!r} is {found}; a list of {kind} is expected")


def _flat(
    terms: Any, weights: Any
) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any], npt.NDArray[Any]] | None:
    """Return indptr, terms and weights without a Python value a number; None if rows differ."""
    if terms.null_count or weights.null_count:
        return None
    values = terms.flatten(), weights.flatten()
    starts = [column.offsets.to_numpy().astype(np.int64) for column in (terms, weights)]
    indptr = starts[0] - starts[0][0]
    if any(part.null_count for part in values) or (indptr != starts[1] - starts[1][0]).any():
        return None
    return indptr, values[0].to_numpy(), values[1].to_numpy(zero_copy_only=False)


def _row(terms: list[Any] | None, weights: list[Any] | None) -> tuple[list[int], list[float]] | str:
    if terms is None or weights is None:
        return f"{'terms' if terms is None else 'weights'} is null; a list is expected"
    if len(terms) != len(weights):
        return f"there are {len(terms)} terms but {len(weights)} weights"
    if None in terms or None in weights:
        return f"{'terms' if None in terms else 'weights'} holds a null"
    return terms, weights


def write_parquet(path: Path, batches: Iterable[tuple[Sequence[str], SparseVectors]]) -> int:
    """Write columns `id`, `terms` list<uint32>, `weights` list<float32>; return the rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = 0
    with ExitStack() as stack:
        writer: pq.ParquetWriter | None = None
        for ids, vectors in batches:
            if writer is None:
                schema = pa.schema(
                    [
                        ("id", pa.string()),
                        ("terms", pa.list_(pa.uint32())),
                        ("weights", pa.list_(pa.float32())),
                    ],
                    metadata={VOCAB_KEY: str(vectors.vocab_size).encode()},
                )
                writer = stack.enter_context(pq.ParquetWriter(path, schema, compression="zstd"))
            offsets = pa.array(vectors.indptr, pa.int32())
            columns = [
                pa.array(list(ids), pa.string()),
                pa.ListArray.from_arrays(offsets, pa.array(vectors.terms, pa.uint32())),
                pa.ListArray.from_arrays(offsets, pa.array(vectors.weights, pa.float32())),
            ]
            writer.write_batch(pa.record_batch(columns, schema=schema))
            rows += len(vectors)
        if writer is None:
            raise ConfigError(f"{path}: there are no vectors to write")
    return rows
