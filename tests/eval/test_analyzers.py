"""Analyzers of an evaluation: each dataset in its own language, and indexes found by it."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest

import lsr.eval.bm25_peer
from lsr.errors import ConfigError
from lsr.eval.analyzers import folder_part, parse_analyzers
from lsr.eval.experiment import evaluate
from lsr.eval.report import to_html
from lsr.eval.results import Report, SystemResult

GERMAN = ["Häuser am See", "Die Katzen schlafen", "ein Hund im Garten", "viele alte Bücher"]
ASKED = ["das Haus", "eine Katze", "mit Hunden", "das Buch"]


def write_beir(folder: Path, texts: list[str], asked: list[str]) -> Path:
    """Write a BEIR folder in which query n asks for document n."""
    (folder / "qrels").mkdir(parents=True)
    for name, rows in (("corpus", texts), ("queries", asked)):
        lines = [json.dumps({"_id": f"{at}", "text": text}) + "\n" for at, text in enumerate(rows)]
        (folder / f"{name}.jsonl").write_text("".join(lines), "utf-8")
    judged = "".join(f"{at}\t{at}\t1\n" for at in range(len(asked)))
    (folder / "qrels" / "test.tsv").write_text(judged)
    return folder


@pytest.fixture
def german(tmp_path: Path) -> Path:
    return write_beir(tmp_path / "de", GERMAN, ASKED)


def bm25(report: Report, at: int = 0) -> SystemResult:
    assert report.failed == {}
    return report.datasets[at].system("BM25")


def test_each_dataset_has_the_analyzer_of_its_language(german: Path, tmp_path: Path) -> None:
    chinese = write_beir(tmp_path / "zh", ["黑猫睡觉", "白狗叫", "旧书"], ["猫睡", "白狗", "旧书"])
    datasets = [str(german), str(chinese)]
    asked = {"systems": ["bm25"], "measures": ["RR@10"], "resamples": 50}
    report = evaluate(datasets, analyzer={"de": "de", "*": "zh"}, out=tmp_path / "out", **asked)
    assert bm25(report).settings["analyzer"] == "german" and "german" in bm25(report).title
    assert bm25(report, 1).settings["analyzer"] == "standard"
    assert [bm25(report, at).means["RR@10"] for at in (0, 1)] == [1.0, 1.0]
    settings = report.provenance["settings"]
    assert isinstance(settings, dict)
    assert settings["analyzers"] == {"*": {"name": "standard"}, "de": {"name": "german"}}
    # With words of another language only the words that happen to be the same are found.
    english = evaluate(datasets[:1], work=tmp_path / "out" / "work", **asked)
    assert bm25(english).means["RR@10"] < 0.6


def test_an_index_is_found_again_by_its_analyzer(german: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    asked = {"systems": ["bm25"], "measures": ["RR@10"], "resamples": 50, "work": work}
    values = [
        bm25(evaluate(str(german), analyzer=name, resume=True, **asked)).means["RR@10"]
        for name in ("de", "standard", "german", {"de": "german"})
    ]
    assert values[0] == values[2] == values[3] > values[1]
    names = sorted(path.name for path in (work / "indexes").iterdir())
    assert [name.split("-", 1)[1].split("-format")[0] for name in names] == [
        "no-model-german",
        "no-model-standard",
    ]
    assert len(list((work / "results").iterdir())) == 2  # the others were taken over
    made = {path: path.stat().st_mtime_ns for path in work.glob("indexes/*/made.json")}
    bm25(evaluate(str(german), analyzer="de", **asked))
    assert made == {path: path.stat().st_mtime_ns for path in work.glob("indexes/*/made.json")}


def test_a_tokenizer_is_a_part_of_the_key_with_its_content() -> None:
    one = folder_part({"name": "hf:/models/t", "fingerprint": "1"})
    other = folder_part({"name": "hf:/models/t", "fingerprint": "2"})
    assert one != other and one.startswith("-hf-") and "/" not in one
    assert folder_part({"name": "english"}) == ""


@pytest.mark.skipif(lsr.eval.bm25_peer.missing() is not None, reason="needs bm25s")
@pytest.mark.parametrize("analyzer", ["german", "hf:bundled"])
def test_the_peer_scores_the_same_words(german: Path, analyzer: str) -> None:
    """And the figures of systems that agree to the last digit can be drawn."""
    report = evaluate(
        str(german), systems=["bm25", "bm25s"], analyzer=analyzer, measures=["AP"], resamples=50
    )
    peer = report.datasets[0].system("BM25 (bm25s)")
    assert peer.means == pytest.approx(bm25(report).means)
    assert str(peer.settings["analyzer"]).startswith(analyzer)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "FLOPS" in to_html(report, [])


@pytest.mark.skipif(lsr.eval.bm25_peer.missing() is not None, reason="needs bm25s")
def test_a_query_of_words_that_no_document_has_finds_nothing(tmp_path: Path) -> None:
    """The library raises for it, and for a query without words."""
    folder = write_beir(tmp_path / "d", ["cats purr", "dogs bark"], ["cats", "zebra"])
    report = evaluate(str(folder), systems=["bm25s"], measures=["RR@10"], resamples=50)
    assert report.failed == {}
    [peer] = report.datasets[0].systems
    assert peer.per_query["RR@10"] == {"0": 1.0, "1": 0.0}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"analyzer": "klingon"}, "there is no analyzer 'klingon'"),
        ({"analyzer": {"deu": "german"}}, "the dataset 'deu'; the datasets are de"),
        ({"analyzer": "german", "systems": ["sparse"]}, "no system that has words"),
        ({"analyzer": "german", "index": "shop"}, "shop has words of its own"),
    ],
)
def test_analyzers_that_cannot_be_used(german: Path, options: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        evaluate(str(german), **options)  # type: ignore[arg-type]


def test_analyzers_are_parsed_and_misspelt_ones_refused() -> None:
    assert parse_analyzers(["hf:a=b", "irds:miracl/yo/dev=standard"]) == {
        "*": "hf:a=b",
        "irds:miracl/yo/dev": "standard",
    }
    for given, says in (
        (["=german"], "expected NAME or DATASET=NAME"),
        (["de="], "expected NAME or DATASET=NAME"),
        (["de", "fr"], "twice for all datasets"),
        (["a=de", "a=fr"], "twice for a"),
    ):
        with pytest.raises(ConfigError, match=says):
            parse_analyzers(given)


@pytest.mark.parametrize(("language", "least"), [("de", 0.94), ("hi", 0.95)])
def test_a_dataset_in_its_language(
    shared: Path, tmp_path: Path, language: str, least: float
) -> None:
    folder = shared / "data" / "xquad" / language
    found = evaluate(
        str(folder), systems=["bm25"], analyzer=language, measures=["nDCG@10"], resamples=50
    )
    values = bm25(found).per_query["nDCG@10"]
    assert len(values) == 1190 and bm25(found).means["nDCG@10"] > least
