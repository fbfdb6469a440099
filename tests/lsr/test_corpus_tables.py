from __future__ import annotations

import datetime as dt
import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lsr.corpus import FieldMap, count_hint, open_corpus, read_documents
from lsr.errors import DataError
from lsr.rejects import Rejects
from lsr.types import Document


def rows(path: Path, **options: Any) -> list[tuple[int, Document]]:
    return [(record.line, record.document) for record in read_documents(path, **options)]


def skipped(path: Path, **options: Any) -> tuple[list[str], list[tuple[int, str]]]:
    """Return the ids that could be read, and the lines and reasons of the others."""
    seen: list[tuple[int, str]] = []

    class Seen(Rejects):
        def reject(self, source: str, line: int, reason: str, raw: str | bytes = "") -> None:
            assert source == str(path)
            seen.append((line, reason))
            super().reject(source, line, reason, raw)

    found = read_documents(path, rejects=Seen("skip"), **options)
    return [record.document.id for record in found], seen


def test_a_csv_row_is_at_the_line_it_begins_on(tmp_path: Path) -> None:
    path = tmp_path / "docs.csv"
    path.write_bytes(b'id,title,text,year\r\n1,"A, b","two\nlines",1999\r\n\r\n2,,x,\r\n')
    assert rows(path, mapping=FieldMap(types={"year": "number"})) == [
        (2, Document("1", "A, b", "two\nlines", {"year": 1999})),
        (5, Document("2", "", "x")),
    ]


def test_a_csv_cell_stays_a_string_unless_its_type_is_declared(tmp_path: Path) -> None:
    path = tmp_path / "docs.csv.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbfid,text,year\n1,x,1999\n"))
    assert rows(path) == [(2, Document("1", "", "x", {"year": "1999"}))]


def test_tabs_have_no_quotes(tmp_path: Path) -> None:
    path = tmp_path / "docs.tsv"
    path.write_text('docno\ttext\n7\t"Quoted" he said\n8\tan inch (")\n')
    assert rows(path) == [
        (2, Document("7", "", '"Quoted" he said')),
        (3, Document("8", "", 'an inch (")')),
    ]


def test_bad_csv_rows_are_named_and_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "docs.csv"
    path.write_bytes(b'id,text\na,x\nb\nc,x,y\nd,\xff\ne,"x"y\nf,x\ng,"open\n')
    ids, reasons = skipped(path)
    assert ids == ["a", "f"]
    assert [line for line, _ in reasons] == [3, 4, 5, 6, 8]
    assert reasons[0][1] == "the row has 1 cells for 2 columns"
    assert reasons[2][1] == "invalid UTF-8 in column 'text'"
    assert reasons[3][1].startswith("malformed CSV: ")


def test_a_long_line_of_a_csv_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "docs.csv"
    path.write_bytes(b"id,text\na,x\nb," + b"x" * 300 + b"\nc,x\n")
    from lsr.corpus_tables import CsvRows

    reader = CsvRows(str(path), path, limit=100)
    found = list(reader.items())
    assert [(line, row) for line, row in found if isinstance(row, list)] == [
        (2, ["a", "x"]),
        (4, ["c", "x"]),
    ]
    assert len(found) == 3


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"id,,text\n", "column 2 of the header has no name"),
        (b"id,text,text\n", "the header names 'text' twice"),
        (b"id,t\xffxt\n", "invalid UTF-8 in the header"),
    ],
)
def test_a_bad_header_stops_under_any_policy(tmp_path: Path, header: bytes, expected: str) -> None:
    path = tmp_path / "docs.csv"
    path.write_bytes(header + b"1,2,3\n")
    with pytest.raises(DataError, match=f":1: {expected}"):
        list(read_documents(path, rejects=Rejects("skip")))


def test_a_csv_that_is_cut_off_keeps_what_could_be_read(tmp_path: Path) -> None:
    path = tmp_path / "docs.csv.gz"
    data = gzip.compress(b"id,text\n" + b"".join(b"%d,x\n" % n for n in range(20_000)))
    path.write_bytes(data[:-40])
    ids, [(line, reason)] = skipped(path)
    assert "cut off" in reason
    assert len(ids) == line - 2


def parquet(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=2)
    return path


def test_parquet_columns_keep_their_types(tmp_path: Path) -> None:
    when = dt.datetime(2024, 5, 1, 12)
    path = parquet(
        tmp_path / "docs.parquet",
        _id=["a", "b", "c"],
        title=["A", None, ""],
        text=pa.array(["x", "y", "z"]).dictionary_encode(),
        year=[2000, None, 2002],
        score=pa.array([0.5, 1.5, 2.5], pa.float32()),
        open=[True, False, None],
        tags=[["p", "q"], [], None],
        day=pa.array([when.date()] * 3),
        at=pa.array([when] * 3, pa.timestamp("ns")),
    )
    found = rows(path)
    assert [line for line, _ in found] == [1, 2, 3]
    noon = when.replace(tzinfo=dt.UTC)
    day = noon.replace(hour=0)
    assert found[0][1] == Document(
        "a",
        "A",
        "x",
        {"year": 2000, "score": 0.5, "open": True, "tags": ["p", "q"], "day": day, "at": noon},
    )
    assert dict(found[1][1].fields) == {
        "score": 1.5,
        "open": False,
        "tags": [],
        "day": day,
        "at": noon,
    }
    assert count_hint(path) == 3


def test_only_the_wanted_parquet_columns_are_read(tmp_path: Path) -> None:
    path = parquet(tmp_path / "d.parquet", id=[1, 2], text=["x", "y"], a=[1, 2], b=[[1], [2]])
    assert rows(path, mapping=FieldMap(keep=("a",)))[1] == (2, Document("2", "", "y", {"a": 2}))
    with pytest.raises(DataError, match="field 'b' is a list that holds an integer"):
        rows(path)


def test_bad_parquet_rows_are_named_by_number(tmp_path: Path) -> None:
    broken = pa.array([b"x", b"\xff\xfe", b"y"], pa.binary()).view(pa.string())
    path = parquet(tmp_path / "docs.parquet", id=["a", "b", "c"], text=broken)
    ids, reasons = skipped(path)
    assert ids == ["a", "c"]
    assert reasons == [(2, "invalid UTF-8 at byte 0 of a string")]


def test_a_parquet_file_that_is_cut_off_is_one_bad_record(tmp_path: Path) -> None:
    path = parquet(tmp_path / "docs.parquet", id=["a", "b"], text=["x", "y"])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"docs\.parquet:1: the file is not a readable Parquet"):
        rows(path)
    assert len(skipped(path)[1]) == 1


def test_a_folder_of_parquet_shards_is_read_in_order_of_name(tmp_path: Path) -> None:
    for shard in ("b", "a"):
        parquet(tmp_path / f"{shard}.parquet", id=[f"{shard}{n}" for n in range(3)], text=["x"] * 3)
    corpus = open_corpus(tmp_path, skip=4)
    found = [(Path(record.source).name, record.line) for record in corpus.records()]
    assert found == [("b.parquet", 2), ("b.parquet", 3)]
    assert corpus.position == 6
    assert corpus.bytes_read == corpus.total_bytes
    assert count_hint(tmp_path) == 6
