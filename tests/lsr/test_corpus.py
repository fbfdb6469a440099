from __future__ import annotations

import gzip
import io
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from lsr.corpus import (
    FieldMap,
    count_hint,
    document_from_mapping,
    open_corpus,
    read_documents,
)
from lsr.errors import ConfigError, DataError
from lsr.rejects import Rejects
from lsr.types import Document

GOOD = [b'{"_id": "a", "text": "x"}', b'{"_id": "b", "title": "T", "text": "y", "year": 1999}']


def write(path: Path, *lines: bytes) -> Path:
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def ids(source: str | Path | io.BytesIO, skip: int = 0) -> list[str]:
    return [record.document.id for record in read_documents(source, skip=skip)]


def test_records_carry_document_source_and_line(tmp_path: Path) -> None:
    path = write(tmp_path / "docs.jsonl", GOOD[0], b"", b"  \r", GOOD[1] + b"\r")
    first, second = read_documents(path)
    assert first == (Document("a", "", "x"), str(path), 1)
    assert second == (Document("b", "T", "y", {"year": 1999}), str(path), 4)


@pytest.mark.parametrize(
    ("name", "compress"),
    [
        ("docs.jsonl", bytes),
        ("docs.ndjson", bytes),
        ("docs.json", bytes),
        ("docs.JSONL.GZ", gzip.compress),
        ("docs.jsonl.zst", zstandard.ZstdCompressor().compress),
    ],
)
def test_json_lines_are_told_by_name(
    tmp_path: Path, name: str, compress: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / name
    path.write_bytes(compress(b"\xef\xbb\xbf" + b"\n".join(GOOD)))
    assert ids(path) == ["a", "b"]


def test_a_format_overrules_the_name(tmp_path: Path) -> None:
    path = write(tmp_path / "docs.txt", *GOOD)
    with pytest.raises(ConfigError, match="the name does not tell the format"):
        read_documents(path)
    assert [record.document.id for record in read_documents(path, format="jsonl")] == ["a", "b"]
    with pytest.raises(ConfigError, match="the formats are csv, jsonl, parquet, tsv"):
        read_documents(path, format="xml")


def test_a_source_that_is_not_there_is_refused_with_what_is_understood(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file or folder") as caught:
        read_documents(tmp_path / "none.jsonl")
    assert "BEIR folder" in str(caught.value.hint)


def test_the_standard_input_is_json_lines_plain_or_compressed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for data in (b"\n".join(GOOD), gzip.compress(b"\n".join(GOOD))):
        reading, writing = os.pipe()
        os.write(writing, data)
        os.close(writing)
        with os.fdopen(reading, "rb") as stream:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(stream))
            found = list(read_documents("-"))
        assert [(record.source, record.document.id) for record in found] == [
            ("stdin", "a"),
            ("stdin", "b"),
        ]


def test_parquet_from_a_pipe_is_refused() -> None:
    with pytest.raises(ConfigError, match="give a file"):
        read_documents("-", format="parquet")


BAD = [
    (b'{"_id": "z", "text": "x"', "malformed JSON: Expecting ',' delimiter at character 24"),
    (b"[1]", "the line holds a JSON list; an object is expected"),
    (b"null", "the line holds a JSON null; an object is expected"),
    (b'{"_id": "z", "text": "\xff"}', "invalid UTF-8: byte 22 of the line is 0xff"),
    (b'{"_id": "z", "text": "x", "n": NaN}', "malformed JSON: NaN is not a JSON number"),
    (b'{"_id": "z", "text": "x", "n": -Infinity}', "malformed JSON: -Infinity is not a JSON"),
    (b'{"_id": "z", "text": "x", "n": 1e999}', "field 'n' is inf; a finite number is expected"),
    (b'{"_id": "z", "text": "x", "n": ' + b"9" * 5000 + b"}", "malformed JSON: a number has too"),
    (b'{"_id": "z", "text": ' + b"[" * 100_000, "malformed JSON: lists or objects are nested too"),
    (b'{"_id": "\\ud800", "text": "x"}', "the id '\\ud800' holds half of a surrogate pair"),
    (b'{"text": "x"}', "no id: there is no field '_id' (the fields are: text)"),
    (b'{"_id": "z", "text": ""}', "empty text: 'title' and 'text' hold nothing"),
    (b'{"_id": "z", "text": 5}', "field 'text' is an integer; a string is expected there"),
    (b'{"_id": "z", "text": "x", "o": {}}', "field 'o' is an object; a string, a number,"),
]


@pytest.mark.parametrize(("line", "reason"), BAD)
def test_a_bad_line_stops_with_file_line_and_reason(
    tmp_path: Path, line: bytes, reason: str
) -> None:
    path = write(tmp_path / "docs.jsonl", GOOD[0], line, GOOD[1])
    records = read_documents(path)
    assert next(records).document.id == "a"
    with pytest.raises(DataError) as caught:
        next(records)
    assert caught.value.message.startswith(f"{path}:2: {reason}")


def test_bad_lines_are_passed_over_counted_and_written_down(tmp_path: Path) -> None:
    path = write(tmp_path / "docs.jsonl", GOOD[0], *(line for line, _ in BAD), GOOD[1])
    rejected = tmp_path / "rejected.jsonl"
    with Rejects("skip", rejected) as rejects:
        found = [(r.line, r.document.id) for r in read_documents(path, rejects=rejects)]
    assert found == [(1, "a"), (len(BAD) + 2, "b")]
    assert rejects.count == len(BAD)
    entries = [json.loads(line) for line in rejected.read_text("utf-8").splitlines()]
    assert [entry["line"] for entry in entries] == list(range(2, len(BAD) + 2))
    for entry, (line, reason) in zip(entries, BAD, strict=True):
        assert entry["reason"].startswith(reason)
        assert entry["raw"][:20] == line.decode("utf-8", "backslashreplace")[:20]


def test_a_file_that_is_cut_off_keeps_its_documents_when_bad_records_are_passed_over(
    tmp_path: Path,
) -> None:
    path = tmp_path / "docs.jsonl.gz"
    data = gzip.compress(b"".join(b'{"_id": "%d", "text": "x"}\n' % n for n in range(30_000)))
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"gz:(\d+): the gzip data are cut off; what could be read"):
        list(read_documents(path))
    rejects = Rejects("skip")
    found = list(read_documents(path, rejects=rejects))
    assert rejects.count == 1
    assert [record.document.id for record in found] == [str(n) for n in range(len(found))]
    assert len(found) > 5000


@pytest.mark.parametrize("first", [b"[", b'[{"_id": "a"},', b"{"])
def test_json_over_many_lines_stops_at_once_under_any_policy(tmp_path: Path, first: bytes) -> None:
    path = write(tmp_path / "docs.json", b"", first, *GOOD)
    with pytest.raises(DataError, match="one object on each line is expected") as caught:
        list(read_documents(path, rejects=Rejects("skip")))
    assert str(caught.value.hint).startswith("jq -c ")


def test_reading_goes_on_behind_the_position_whatever_was_rejected(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    for shard in range(3):
        lines = [b'{"_id": "%d-%d", "text": "x"}' % (shard, n) for n in range(5)]
        lines[shard] = b"bad"
        write(folder / f"part-{shard}.jsonl", *lines[:2], b"", *lines[2:])
    whole = open_corpus(folder, rejects=Rejects("skip"))
    found = [(record, whole.position) for record in whole.records()]
    assert len(found) == 12
    assert whole.position == 15
    assert whole.bytes_read == whole.total_bytes
    for at, (_, position) in enumerate(found):
        rejects = Rejects("skip")
        rest = list(open_corpus(folder, rejects=rejects, skip=position).records())
        assert rest == [record for record, _ in found[at + 1 :]]


JUNK = st.lists(
    st.sampled_from(GOOD)
    | st.binary(max_size=30)
    | st.dictionaries(
        st.sampled_from(["_id", "id", "title", "text", "metadata", "x"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner),
            max_leaves=4,
        ),
    ).map(lambda values: json.dumps(values).encode()),
    max_size=8,
)


@pytest.mark.parametrize("format", ["jsonl", "csv", "tsv"])
@settings(max_examples=40)
@given(
    lines=JUNK, head=st.sampled_from([b"id,text\n", b"", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh"])
)
def test_whatever_the_bytes_every_record_is_a_document_or_a_reject(
    format: str, lines: list[bytes], head: bytes
) -> None:
    rejects = Rejects("skip")
    corpus = open_corpus(io.BytesIO(head + b"\n".join(lines)), format=format, rejects=rejects)
    found = 0
    try:
        for record in corpus.records():
            found += 1
            json.dumps(asdict(record.document)).encode("utf-8")
    except DataError as error:
        assert error.hint is not None or "header" in error.message
    else:
        assert corpus.position == found + rejects.count


def test_a_folder_of_mixed_formats_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", *GOOD)
    write(tmp_path / "b.csv", b"id,text", b"1,x")
    with pytest.raises(ConfigError, match=r"several formats \(csv, jsonl\)"):
        read_documents(tmp_path)


def test_a_folder_without_documents_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "notes.txt", b"x")
    write(tmp_path / "info.json", b"{}")
    with pytest.raises(ConfigError, match="holds no documents"):
        read_documents(tmp_path)


def test_a_beir_folder_is_its_corpus_alone(tmp_path: Path) -> None:
    write(tmp_path / "corpus.jsonl", *GOOD)
    write(tmp_path / "queries.jsonl", b'{"_id": "q", "text": "x"}')
    assert ids(tmp_path) == ids(str(tmp_path)) == ["a", "b"]
    write(tmp_path / "corpus.csv", b"id,text")
    with pytest.raises(ConfigError, match="more than one corpus file"):
        read_documents(tmp_path)


def test_a_negative_skip_is_refused() -> None:
    with pytest.raises(ConfigError, match="skip is -1"):
        open_corpus(io.BytesIO(b""), skip=-1)


def test_a_mapping_becomes_a_document_by_the_same_rules() -> None:
    assert document_from_mapping({"id": 1, "text": "x"}) == Document("1", "", "x")
    renamed = FieldMap(text="body")
    assert document_from_mapping({"id": 1, "body": "x"}, mapping=renamed).text == "x"
    with pytest.raises(DataError, match=r"^document 3: empty text"):
        document_from_mapping({"id": 1, "text": ""}, where="document 3")


def test_the_number_of_records_is_known_only_where_it_is_free(tmp_path: Path) -> None:
    assert count_hint(write(tmp_path / "docs.jsonl", *GOOD)) is None
    assert count_hint("-") is None


@pytest.mark.parametrize(
    ("name", "count", "first", "tenth", "last"),
    [
        ("scifact", 5183, "4983", "70490", "198309074"),
        ("scale-foldoc", 11902, "foldoc-3127", "foldoc-7766", "foldoc-5576868"),
    ],
)
def test_real_collections_are_read_whole(
    shared: Path, name: str, count: int, first: str, tenth: str, last: str
) -> None:
    found = ids(shared / "data" / name)
    assert (len(found), found[0], found[9], found[-1]) == (count, first, tenth, last)
    assert ids(shared / "data" / name, skip=count - 1) == [last]
