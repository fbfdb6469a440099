"""Runs and judgements: what is read, and what a bad line says."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsr.errors import DataError, LsrError
from lsr.eval.runs import (
    check_overlap,
    identical_hits,
    read_run,
    tied_queries,
    without_identical,
    write_run,
)
from lsr.qrels import read_qrels

GOOD = "q1 Q0 d1 1 2.5 tag\n"


def written(folder: Path, text: str | bytes, name: str = "file.txt") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("q1 Q0 d2 2 nan tag\n", r":2: the score is 'nan'"),
        ("q1 Q0 d2 2 inf tag\n", r":2: the score is 'inf'"),
        ("q1 Q0 d2 2 high tag\n", r":2: the score is 'high'"),
        ("q1 Q0 d1 2 1.0 tag\n", r":2: document 'd1' comes twice for query 'q1'"),
        ("q1 Q0 d2 1.0 tag\n", r":2: 5 columns; expected six"),
        ("q1 Q0 d 2 2 1.0 tag\n", r":2: 7 columns; expected six"),
        ("\n\nq1 Q0 d2 1.0\n", r":4: 4 columns"),
    ],
)
def test_a_bad_line_of_a_run_is_named(tmp_path: Path, line: str, says: str) -> None:
    path = written(tmp_path, GOOD + line)
    with pytest.raises(DataError, match=says) as caught:
        read_run(path)
    assert str(path) in caught.value.message


def test_a_line_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=":2: invalid UTF-8: byte 6 of the line is 0xff"):
        read_run(written(tmp_path, GOOD.encode() + b"q1 Q0 \xff 1 1 t\n"))


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_an_empty_run_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match="the run is empty"):
        read_run(written(tmp_path, text))


def test_a_missing_run_and_missing_judgements_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such run file"):
        read_run(tmp_path / "none.txt")
    with pytest.raises(DataError, match="no such qrels file"):
        read_qrels(tmp_path / "none.txt")


def test_bom_crlf_tabs_and_gzip_are_read(tmp_path: Path) -> None:
    text = b"\xef\xbb\xbfq1\tQ0\td1\t1\t2.5\tt\r\nq1 Q0 d2 2 1.5 t\r\n"
    for name, data in (("run.txt", text), ("run.txt.gz", gzip.compress(text))):
        assert read_run(written(tmp_path, data, name)) == {"q1": {"d1": 2.5, "d2": 1.5}}
    judged = b"\xef\xbb\xbfquery-id\tcorpus-id\tscore\r\nq1\td 1\t1\r\n"
    for name, data in (("q.tsv", judged), ("q.tsv.gz", gzip.compress(judged))):
        assert read_qrels(written(tmp_path, data, name)).grades == {"q1": {"d 1": 1}}


def test_a_cut_gzip_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, gzip.compress(GOOD.encode() * 1)[:-9], "run.txt.gz")
    with pytest.raises(DataError, match="gzip data are cut off"):
        read_run(path)


scores = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.dictionaries(st.sampled_from("abcdefgh"), scores, min_size=1))
def test_a_written_run_has_the_same_single_precision_scores(
    tmp_path_factory: pytest.TempPathFactory, hits: dict[str, float]
) -> None:
    path = tmp_path_factory.mktemp("run") / "run.txt"
    write_run(path, {"q": hits}, "a tag")
    found = read_run(path)["q"]
    assert found.keys() == hits.keys()
    assert all(np.float32(found[one]) == np.float32(hits[one]) for one in hits)
    assert list(found.values()) == sorted(found.values(), reverse=True)


def test_an_id_with_white_space_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'d 1' holds white space"):
        write_run(tmp_path / "run.txt", {"q": {"d 1": 1.0}}, "t")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("q1 0 d1\n", None),  # a head without numbers: nothing follows
        ("q1 0 d1 1\nq1 0\n", ":2: 2 columns; expected"),
        ("q1 0 d1 1\nq1 0 d2 much\n", ":2: the grade is 'much'"),
        ("q1 0 d1 1\nq1 0 d2 0.5\n", ":2: the grade is '0.5'"),
        ("q1 0 d1 1\nq1 0 d2 inf\n", ":2: the grade is 'inf'"),
        ("q1 0 d1 1\nq1 0 d1 2\n", ":2: query 'q1' and document 'd1' are judged 2, but 1 before"),
        ("query-id\tcorpus-id\tscore\n", "holds no judgements"),
        ("", "holds no judgements"),
    ],
)
def test_a_bad_line_of_judgements_is_named(tmp_path: Path, text: str, says: str | None) -> None:
    with pytest.raises(DataError, match=says or "holds no judgements"):
        read_qrels(written(tmp_path, text))


def test_repeated_judgements_and_queries_without_relevant_documents_are_counted(
    tmp_path: Path,
) -> None:
    found = read_qrels(written(tmp_path, "q1 0 d1 1\nq1 0 d1 1\nq2 0 d1 0\nq2 0 d2 -1\n"))
    assert found.grades == {"q1": {"d1": 1}, "q2": {"d1": 0, "d2": -1}}
    assert found.n_judgements == 3
    assert "1 judgement(s) come twice" in found.notes[0]
    assert "1 of 2 judged queries have no relevant document" in found.notes[1]


def test_queries_that_do_not_match_are_counted_or_refused() -> None:
    run = {"q1": {"a": 1.0}, "q3": {"a": 1.0}}
    notes = check_overlap(run, {"q1": {}, "q2": {}}, "run.txt")
    assert notes[0].startswith("1 of 2 queries of the run are not judged")
    assert notes[1].startswith("1 of 2 judged queries have no hits; they count as 0")
    with pytest.raises(LsrError, match=r"no query in common: the run has 'q1', 'q3', …"):
        check_overlap(run, {"7": {}}, "run.txt")


def test_ties_are_seen_in_single_precision_and_only_near_the_top() -> None:
    close = {"q": {"a": 1.0, "b": 1.0 + 1e-12}}
    assert tied_queries(close) == 1
    deep = {"q": {str(at): float(100 - min(at, 20)) for at in range(30)}}
    assert tied_queries(deep, 10) == 0 and tied_queries(deep, 21) == 1


def test_hits_with_the_id_of_their_query_are_counted_and_dropped() -> None:
    run = {"q": {"q": 2.0, "a": 1.0}, "r": {"a": 1.0}}
    assert identical_hits(run) == 1
    assert without_identical(run) == {"q": {"a": 1.0}, "r": {"a": 1.0}}
