"""Fields and tables that the filter tests share."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from lsr.index.columns import Fields
from lsr.types import Document

FIELDS = Fields(
    {
        "lang": "string",
        "year": "number",
        "open": "boolean",
        "published": "date",
        "tags": "strings",
        "my field": "string",
    }
)


def table_of(
    rows: list[dict[str, Any]], fields: Fields = FIELDS, *, chunk: int | None = None
) -> pa.Table:
    documents = [Document(f"d{at}", fields=row) for at, row in enumerate(rows)]
    schema = pa.schema([pa.field("_id", pa.string()), *fields.arrow_fields()])
    size = chunk or max(len(rows), 1)
    batches = []
    for start in range(0, len(rows), size):
        part = documents[start : start + size]
        ids = pa.array([each.id for each in part], pa.string())
        batches.append(pa.record_batch([ids, *fields.arrays(part)], schema=schema))
    return pa.Table.from_batches(batches, schema=schema)
