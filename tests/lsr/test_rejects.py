from __future__ import annotations

import json
from pathlib import Path

import pytest

from lsr.errors import ConfigError, DataError, StorageError
from lsr.rejects import Rejects


def test_stopping_raises_with_source_line_reason_and_hint() -> None:
    rejects = Rejects()
    with pytest.raises(DataError, match=r"^docs\.jsonl:7: empty text$") as caught:
        rejects.reject("docs.jsonl", 7, "empty text", b"{}")
    assert caught.value.hint is not None
    assert "--on-error skip" in caught.value.hint
    assert rejects.count == 0


def test_skipping_counts_and_writes_one_json_line_for_each(tmp_path: Path) -> None:
    path = tmp_path / "rejected.jsonl"
    with Rejects("skip", path) as rejects:
        rejects.reject("a.jsonl", 1, "malformed JSON", b'{"x": \xff')
        rejects.reject("a.jsonl", 9, "half of a pair", 'x\ud800"\n')
    assert rejects.count == 2
    assert [json.loads(line) for line in path.read_text("utf-8").splitlines()] == [
        {"source": "a.jsonl", "line": 1, "reason": "malformed JSON", "raw": '{"x": \\xff'},
        {"source": "a.jsonl", "line": 9, "reason": "half of a pair", "raw": 'x\\ud800"\n'},
    ]


def test_a_long_raw_record_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "rejected.jsonl"
    with Rejects("skip", path) as rejects:
        rejects.reject("a", 1, "too long", b"x" * 10_000_000)
        rejects.reject("a", 2, "too long", "é" * 10_000)
    assert path.stat().st_size < 10_000


def test_an_older_file_is_replaced_unless_the_work_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "rejected.jsonl"
    for append, lines in ((False, 1), (True, 2), (False, 1)):
        with Rejects("skip", path, append=append) as rejects:
            rejects.reject("a", 1, "bad", "")
        assert len(path.read_text().splitlines()) == lines
    Rejects("skip", path).close()
    assert not path.exists()


def test_without_a_path_rejects_are_only_counted() -> None:
    with Rejects("skip") as rejects:
        rejects.reject("a", 1, "bad", "")
    assert rejects.count == 1


def test_a_file_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    rejects = Rejects("skip", tmp_path / "missing" / "rejected.jsonl")
    with pytest.raises(StorageError, match="cannot be written"):
        rejects.reject("a", 1, "bad", "")


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(ConfigError, match="must be 'stop' or 'skip'"):
        Rejects("ignore")  # type: ignore[arg-type]
