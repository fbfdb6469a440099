from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from train_cases import NEGATIVES, POSITIVES, QUERIES

from lsr.encoder import Encoder, load_encoder
from lsr.errors import ConfigError
from lsr.train import bundled_data
from lsr.train.mining import MineSettings, choose_negatives, mine
from lsr.train.settings_run import DataSettings, SourceSettings, Teacher, TeacherSettings
from lsr.train.sources import read_examples


@pytest.fixture(scope="module")
def encoder(masked: Path) -> Encoder:
    return load_encoder(masked, threads=1)


@pytest.fixture
def pairs(tmp_path: Path) -> DataSettings:
    path = tmp_path / "pairs.jsonl"
    rows = [{"query": q, "positive": p} for q, p in zip(QUERIES, POSITIVES, strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return DataSettings(sources=[SourceSettings(path=str(path))])


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_mined_negatives_are_the_best_hits_that_are_not_relevant(
    pairs: DataSettings, encoder: Encoder, tmp_path: Path
) -> None:
    found = mine(pairs, encoder, tmp_path / "out.jsonl", settings=MineSettings(2, 5), threads=1)
    assert (found.examples, found.negatives, found.taken_out) == (6, 12, 0)
    queries = encoder.encode_queries(QUERIES).to_scipy()
    documents = encoder.encode_documents(POSITIVES).to_scipy()
    scores = np.asarray((queries @ documents.T).todense())
    for at, row in enumerate(rows_of(tmp_path / "out.jsonl")):
        assert row["query"] == QUERIES[at] and row["positives"] == [POSITIVES[at]]
        order = [POSITIVES[other] for other in np.argsort(-scores[at]) if other != at]
        assert row["negatives"][0] == order[0]
        assert POSITIVES[at] not in row["negatives"]


def test_more_documents_to_choose_from_and_every_format_of_file(
    pairs: DataSettings, encoder: Encoder, tmp_path: Path
) -> None:
    corpus = tmp_path / "corpus.jsonl"
    lines = [json.dumps({"_id": str(at), "text": text}) for at, text in enumerate(NEGATIVES)]
    corpus.write_text("\n".join(lines), "utf-8")
    settings = MineSettings(4, 8)
    names = ("a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.parquet")
    for name in names:
        mine(pairs, encoder, tmp_path / name, settings=settings, corpus=str(corpus), threads=1)
    every = [
        [one.documents for one in read_examples(SourceSettings(path=str(tmp_path / name)))]
        for name in names
    ]
    assert every[0] == every[1] == every[2] == every[3]
    assert {text for documents in every[0] for text in documents} & set(NEGATIVES)
    assert pq.read_metadata(tmp_path / "a.parquet").num_rows == 6
    with pytest.raises(ConfigError, match="does not tell a format"):
        mine(pairs, encoder, tmp_path / "a.txt", settings=settings, threads=1)


def test_a_teacher_takes_out_what_it_likes_as_much_as_the_relevant_document(
    pairs: DataSettings, encoder: Encoder, masked: Path, tmp_path: Path
) -> None:
    teachers = TeacherSettings(models=[Teacher(kind="sparse", model=str(masked))])
    settings = MineSettings(5, 5, margin=0.1)
    found = mine(
        pairs, encoder, tmp_path / "out.jsonl", settings=settings, teachers=teachers,
        cache=tmp_path / "cache", threads=1,
    )  # fmt: skip
    queries = encoder.encode_queries(QUERIES).to_scipy()
    documents = encoder.encode_documents(POSITIVES).to_scipy()
    scores = np.asarray((queries @ documents.T).todense())
    for at, row in enumerate(rows_of(tmp_path / "out.jsonl")):
        limit = 0.9 * scores[at, at]
        below = {POSITIVES[one] for one in range(6) if one != at and scores[at, one] <= limit}
        assert set(row["negatives"]) == below
    assert found.taken_out == 30 - found.negatives > 0
    assert list((tmp_path / "cache").rglob("*.parquet"))
    with pytest.raises(ConfigError, match="needs a teacher"):
        mine(pairs, encoder, tmp_path / "x.jsonl", settings=settings)


def test_half_of_the_negatives_are_the_best_and_the_rest_are_drawn() -> None:
    candidates = [str(number) for number in range(20)]
    found = choose_negatives(candidates, 6, np.random.default_rng(0))
    assert found[:3] == ["0", "1", "2"] and len(set(found)) == 6
    assert found == sorted(found, key=int)
    assert choose_negatives(candidates[:3], 6, np.random.default_rng(0)) == ["0", "1", "2"]
    assert choose_negatives(candidates, -1, np.random.default_rng(0)) == []


@pytest.mark.parametrize("settings", [{"negatives": 9, "depth": 10, "skip": 2}, {"margin": 1.0}])
def test_settings_of_mining_that_cannot_work_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        MineSettings(**settings)


def test_the_bundled_data_hold_out_what_no_training_file_has(
    masked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = tmp_path / "collections" / "words"
    collection.mkdir(parents=True)
    rows = [
        {"_id": str(at), "title": f"{word} {at}", "text": f"{word} of the {at} kind is {other}"}
        for at, (word, other) in enumerate(
            (w, o) for w in POSITIVES[0].split() for o in ("cold", "warm", "old", "new", "far")
        )
    ]
    (collection / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    source = SourceSettings(path="words/corpus.jsonl", query="title", document="text")
    monkeypatch.setattr(bundled_data, "PARTS", (bundled_data.Part("words", source, 30, dev=True),))
    monkeypatch.setattr(bundled_data, "HELD_OUT", 5)
    out = tmp_path / "out"
    counts = bundled_data.make_data(tmp_path / "collections", out, str(masked))
    assert counts == {"words": 30}
    trained = list(read_examples(SourceSettings(path=str(out / "words.jsonl.zst"))))
    held = list(read_examples(SourceSettings(path=str(out / "dev" / "words"), split="dev")))
    assert len(held) == 5
    assert {one.query for one in held}.isdisjoint(one.query for one in trained)
    texts = {text for one in trained for text in one.documents}
    assert texts.isdisjoint(text for one in held for text in one.documents)
