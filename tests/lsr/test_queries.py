from __future__ import annotations

import os
import shutil
import subprocess
import sys
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


def irds_queries(home: Path) -> subprocess.CompletedProcess[str]:
    # In a process of its own: ir_datasets settles on its home once.
    code = (
        "from lsr.queries import read_queries; "
        "found = read_queries('irds:vaswani'); print(len(found), found[0].id)"
    )
    places = {"IR_DATASETS_HOME": str(home), "IR_DATASETS_TMP": str(home / "tmp")}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | places | {"LSR_OFFLINE": "1"},
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )


def test_queries_of_ir_datasets(shared: Path, tmp_path: Path) -> None:
    # copyfile: the originals may be read-only, which a copy must not be.
    (tmp_path / "vaswani").mkdir()
    for file in (shared / "data" / "irds-home" / "vaswani").iterdir():
        shutil.copyfile(file, tmp_path / "vaswani" / file.name)
    done = irds_queries(tmp_path)
    assert done.stdout.split() == ["93", "1"], done.stderr


def test_queries_that_would_have_to_be_downloaded_are_an_offline_error(tmp_path: Path) -> None:
    done = irds_queries(tmp_path)
    assert done.returncode == 1
    assert "OfflineError" in done.stderr.splitlines()[-1]


def test_a_run_takes_no_id_with_white_space() -> None:
    result = SearchResult((Hit("a b", 1, 1.0),), "scan")
    with pytest.raises(DataError, match="'a b' holds white space"):
        list(trec_lines("q", result, "lsr"))
