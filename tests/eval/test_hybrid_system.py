from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from dense_models import write_dense

from lsr.dense_encoder import DenseModelEncoder
from lsr.errors import ConfigError
from lsr.eval.experiment import evaluate
from lsr.eval.measures import measure_run
from lsr.eval.runs import read_run
from lsr.eval.settings import checked_settings
from lsr.index.index import Index

WORDS = ["cats", "dogs", "cows", "birds", "fish", "horses", "sheep", "goats"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BEIR folder of 24 documents and 8 queries."""
    path = tmp_path_factory.mktemp("beir") / "animals"
    (path / "qrels").mkdir(parents=True)
    corpus = [
        {
            "_id": f"d{at}",
            "title": "",
            "text": f"{WORDS[at % 8]} live on farm {at} with {WORDS[-at % 8]}",
        }
        for at in range(24)
    ]
    queries = [{"_id": f"q{at}", "text": f"where do {word} live"} for at, word in enumerate(WORDS)]
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    judged = "".join(f"q{at}\td{at}\t1\nq{at}\td{at + 8}\t1\n" for at in range(8))
    (path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    return path


def test_every_fusion_and_feedback_is_a_row(folder: Path, tmp_path: Path) -> None:
    model = write_dense(tmp_path / "model")
    asked: dict[str, Any] = {
        "systems": ["bm25", "sparse", "dense", "hybrid"],
        "dense_model": str(model),
        "fusions": ["minmax", "rrf"],
        "feedback": ["both"],
        "measures": ["nDCG@10", "R@100"],
        "recalls": [],
        "resamples": 100,
    }
    report = evaluate(str(folder), out=tmp_path / "out", **asked)
    assert report.failed == {}
    [result] = report.datasets
    assert [one.name for one in result.systems] == [
        "BM25",
        "sparse exact",
        "dense",
        "sparse + feedback",
        "bm25 + feedback",
        "dense + feedback",
        "hybrid minmax",
        "hybrid rrf",
        "hybrid minmax + feedback both",
    ]
    texts = {f"q{at}": f"where do {word} live" for at, word in enumerate(WORDS)}
    [built] = (tmp_path / "out" / "work" / "indexes").iterdir()
    index = Index.open(built / "index")
    assert set(index.legs) == {"sparse", "bm25", "dense"}
    grades = {f"q{at}": {f"d{at}": 1, f"d{at + 8}": 1} for at in range(8)}
    for one in result.systems:
        if one.name == "hybrid rrf":
            assert one.run is not None
            run = read_run(tmp_path / "out" / one.run)
            for query, text in texts.items():
                found = index.search(text, k=24, mode="hybrid", fusion="rrf")
                assert run[query] == pytest.approx(dict(zip(found.ids, found.scores, strict=True)))
            values = measure_run(grades, run, ["nDCG@10"])["nDCG@10"]
            assert one.means["nDCG@10"] == pytest.approx(sum(values.values()) / 8)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "hybrid minmax + feedback both" in page


def test_legs_that_an_index_lacks_are_left_out_with_a_reason(folder: Path, tmp_path: Path) -> None:
    with Index.create(tmp_path / "i") as index:
        rows = (folder / "corpus.jsonl").read_text().splitlines()
        index.add([json.loads(line) for line in rows])
    report = evaluate(
        str(folder), index=tmp_path / "i", systems=["sparse", "dense", "hybrid"], resamples=100
    )
    [result] = report.datasets
    assert set(result.skipped) == {"dense", "hybrid"} and "one leg" in result.skipped["hybrid"]


def test_settings_that_mean_nothing_are_refused() -> None:
    for bad, said in (
        ({"systems": ["dense"]}, "needs a model"),
        ({"systems": ["sparse", "hybrid"]}, "two legs"),
        ({"systems": ["sparse", "bm25", "hybrid"], "fusions": ["max"]}, "fusions are 'max'"),
        ({"feedback": ["never"]}, "feedback are 'never'"),
        ({"systems": ["sparse", "bm25", "hybrid"], "fusions": []}, "one fusion"),
    ):
        with pytest.raises(ConfigError, match=said):
            checked_settings(**bad)  # type: ignore[arg-type]


def test_a_dense_leg_that_was_stopped_goes_on_in_the_next_evaluation(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lsr.index.open_segment._BATCH", 8)
    encode, asked = DenseModelEncoder.encode_documents, list[int]()

    def encode_twice(self: DenseModelEncoder, texts: Sequence[str], **how: Any) -> Any:
        asked.append(len(texts))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return encode(self, texts, **how)

    monkeypatch.setattr(DenseModelEncoder, "encode_documents", encode_twice)
    how: dict[str, Any] = {
        "systems": ["bm25", "dense"],
        "dense_model": str(write_dense(tmp_path / "model")),
        "measures": ["RR@10"],
        "resamples": 50,
        "work": tmp_path / "work",
    }
    with pytest.raises(KeyboardInterrupt):
        evaluate(str(folder), **how)
    report = evaluate(str(folder), **how)
    assert report.failed == {} and asked == [8, 8, 8, 8]
