from __future__ import annotations

from pathlib import Path

import pytest

from lsr.errors import ConfigError, DataError
from lsr.queries import NamedQuery, read_queries, trec_lines
from lsr.types import Hit, SearchResult

EXPECTED = [NamedQuery("q1", "cats purr"), NamedQuery("q2", "Käse")]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("queries.jsonl", '{"_id": "q1", "text": "cats purr"}\n{"_id": "q2", "text": "Käse"}\n'),
        ("queries.tsv", "q1\tcats purr\r\n\nq2\tKäse"),
    ],
)
def test_queries_are_read_in_order(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_queries(str(tmp_path / name)) == EXPECTED
    if name == "queries.jsonl":
        assert read_queries(str(tmp_path)) == EXPECTED


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"q1\tcats\nq1\tdogs\n", "'q1' comes twice"),
        (b"q1 cats\n", ":1: expected an id, a tab"),
        (b"q1\t\n", ":1: expected an id, a tab"),
        (b"q1\tcats\nq2\t\xff\n", ":2: invalid UTF-8"),
        (b"", "holds no queries"),
    ],
)
def test_bad_queries_are_refused_by_line(tmp_path: Path, text: bytes, reason: str) -> None:
    path = tmp_path / "q.tsv"
    path.write_bytes(text)
    with pytest.raises(DataError, match=reason):
        read_queries(str(path))


def test_a_missing_file_is_a_setting_to_mend() -> None:
    with pytest.raises(ConfigError, match="no such file"):
        read_queries("nowhere.jsonl")


def test_queries_of_ir_datasets(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IR_DATASETS_HOME", str(shared / "data" / "irds-home"))
    monkeypatch.setenv("LSR_OFFLINE", "1")
    found = read_queries("irds:vaswani")
    assert len(found) == 93
    assert found[0].id == "1"


def test_a_run_takes_no_id_with_white_space() -> None:
    result = SearchResult((Hit("a b", 1, 1.0),), "scan")
    with pytest.raises(DataError, match="'a b' holds white space"):
        list(trec_lines("q", result, "lsr"))
