from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lsr.corpus_fields import BadRecord
from lsr.errors import ConfigError, DataError
from lsr.rejects import Rejects
from lsr.train.examples import Example, example_from_record
from lsr.train.settings_run import SourceSettings
from lsr.train.sources import read_examples


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def read(path: Path, **settings: object) -> list[Example]:
    return list(read_examples(SourceSettings.model_validate({"path": str(path), **settings})))


@pytest.mark.parametrize(
    ("record", "documents", "n_positives"),
    [
        ({"query": "q", "positive": "a"}, ("a",), 1),
        ({"anchor": "q", "positive": "a", "negative": "b"}, ("a", "b"), 1),
        ({"query": "q", "pos": ["a", "b"], "negs": ["c"]}, ("a", "b", "c"), 2),
        ({"query": "q", "docs": ["a", "b"]}, ("a", "b"), 1),
        ({"query": "q", "docs": ["a", "b", "c"], "labels": [0, 1, 0]}, ("b", "a", "c"), 1),
        ({"query": "q", "positive": {"title": "T", "text": "x"}}, ("T x",), 1),
        ({"query": "q", "positive": "a", "negatives": []}, ("a",), 1),
    ],
)
def test_records_of_every_shape_are_understood(
    record: dict[str, object], documents: tuple[str, ...], n_positives: int
) -> None:
    found = example_from_record(record)
    assert (found.query, found.documents, found.n_positives) == ("q", documents, n_positives)


def test_scores_follow_their_documents_when_labels_reorder_them() -> None:
    record = {"query": "q", "docs": ["a", "b"], "labels": [0, 2], "scores": [1, 9.5]}
    found = example_from_record(record, score_fields=["scores"])
    assert found.documents == ("b", "a")
    assert found.scores == {"scores": (9.5, 1.0)}


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({}, "no query"),
        ({"query": "q"}, "no relevant document"),
        ({"query": " ", "positive": "a"}, "'query' is empty"),
        ({"query": "q", "positive": 3}, "a text is expected"),
        ({"query": "q", "docs": []}, "empty list"),
        ({"query": "q", "docs": ["a"], "labels": [0]}, "no label is above 0"),
        ({"query": "q", "docs": ["a"], "labels": [1, 2]}, "one for each document"),
        ({"query": "q", "docs": ["a"]}, "no 'scores'"),
        ({"query": "q", "docs": ["a"], "scores": [1, 2]}, "2 numbers for 1 documents"),
        ({"query": "q", "docs": ["a"], "scores": ["x"]}, "numbers are expected"),
        ({"query": "q", "docs": ["a"], "scores": [float("nan")]}, "finite"),
        ({"query": "q\ud800", "positive": "a"}, "lone surrogate"),
    ],
)
def test_bad_records_are_refused_with_the_reason(record: dict[str, object], reason: str) -> None:
    with pytest.raises(BadRecord, match=reason):
        example_from_record(record, score_fields=["scores"] if "docs" in record else [])


def test_a_bad_line_is_named_or_counted(tmp_path: Path) -> None:
    path = lines(tmp_path / "p.jsonl", {"query": "q", "positive": "a"}, {"query": "r"})
    with pytest.raises(DataError, match=r"p\.jsonl:2: there is no relevant document"):
        read(path)
    rejects = Rejects("skip")
    source = SourceSettings(path=str(path))
    assert len(list(read_examples(source, rejects=rejects))) == 1
    assert rejects.count == 1


def test_compressed_and_parquet_files_give_the_same_examples(tmp_path: Path) -> None:
    rows = [{"query": f"q{n}", "positive": f"a{n}", "negatives": [f"b{n}"]} for n in range(5)]
    plain = lines(tmp_path / "p.jsonl", *rows)
    packed = tmp_path / "p.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    table = tmp_path / "p.parquet"
    pq.write_table(pa.Table.from_pylist(rows), table)
    texts = [(one.query, one.documents) for one in read(plain)]
    assert [(one.query, one.documents) for one in read(packed)] == texts
    assert [(one.query, one.documents) for one in read(table)] == texts
    assert len(read(plain, limit=2)) == 2


def test_an_empty_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no examples"):
        read(lines(tmp_path / "p.jsonl"))


def beir(folder: Path, qrels: str) -> Path:
    (folder / "qrels").mkdir(parents=True)
    lines(folder / "corpus.jsonl", {"_id": "d1", "title": "T", "text": "x"},
          {"_id": "d2", "text": "y"}, {"_id": "d3", "text": "z"})  # fmt: skip
    lines(folder / "queries.jsonl", {"_id": "q1", "text": "one"}, {"_id": "q2", "text": "two"})
    (folder / "qrels" / "train.tsv").write_text(f"query-id\tcorpus-id\tscore\n{qrels}", "utf-8")
    return folder


def test_a_judged_collection_gives_relevant_documents_before_irrelevant_ones(
    tmp_path: Path,
) -> None:
    folder = beir(tmp_path / "set", "q1\td2\t0\nq1\td1\t1\nq2\td3\t2\nq2\td2\t1\n")
    first, second = read(folder, split="train")
    assert (first.query, first.documents, first.n_positives) == ("one", ("T x", "y"), 1)
    assert (second.documents, second.n_positives) == (("z", "y"), 2)


@pytest.mark.parametrize(("row", "kind"), [("q9\td1\t1", "query"), ("q1\td9\t1", "document")])
def test_judged_ids_without_a_text_are_named(tmp_path: Path, row: str, kind: str) -> None:
    folder = beir(tmp_path / "set", f"q1\td1\t1\n{row}\n")
    with pytest.raises(DataError, match=rf"judged {kind} id\(s\) without a text: '.9'"):
        read(folder, split="train")
    rejects = Rejects("skip")
    source = SourceSettings(path=str(folder), split="train")
    assert [one.query for one in read_examples(source, rejects=rejects)] == ["one"]


def test_any_corpus_gives_pairs_by_rule(tmp_path: Path) -> None:
    rows = [{"_id": "1", "title": "tea", "text": "a hot drink of leaves"},
            {"_id": "2", "title": "tin", "text": "a metal"}]  # fmt: skip
    path = lines(tmp_path / "corpus.jsonl", *rows)
    pairs = read(path, query="title", document=["title", "text"], min_words=4)
    assert [(one.query, one.documents) for one in pairs] == [
        ("tea", ("tea a hot drink of leaves",))
    ]
    with pytest.raises(ConfigError, match="both sides"):
        read(path, query="title")


def test_an_ir_datasets_id_is_read(monkeypatch: pytest.MonkeyPatch, shared: Path) -> None:
    monkeypatch.setenv("LSR_OFFLINE", "1")
    monkeypatch.setenv("IR_DATASETS_HOME", str(shared / "data" / "irds-home"))
    source = SourceSettings(path="irds:cranfield", limit=3)
    with pytest.raises(DataError, match=r"judged document id.* without a text: '995'"):
        next(read_examples(source))
    found = list(read_examples(source, rejects=Rejects("skip")))
    assert len(found) == 3
    assert all(one.documents[0] and one.n_positives >= 1 for one in found)
