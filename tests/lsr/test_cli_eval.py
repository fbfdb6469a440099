"""`lsr eval` and `lsr compare` as a person meets them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]

QRELS = "1 0 a 1\n2 0 b 1\n3 0 c 1\n"
BASE = "1 Q0 a 1 2.0 base\n1 Q0 b 2 1.0 base\n2 Q0 a 1 2.0 base\n3 Q0 c 1 1.0 base\n"
OTHER = "1 Q0 a 1 2.0 x\n2 Q0 b 1 2.0 x\n3 Q0 a 1 2.0 x\n3 Q0 c 2 1.0 x\n"


@pytest.fixture
def files(cli: Cli, tmp_path: Path) -> Path:
    """The judgements and runs, in the folder where the command line runs."""
    for name, text in (("qrels.txt", QRELS), ("base.txt", BASE), ("other.txt", OTHER)):
        (tmp_path / name).write_text(text)
    queries = [json.dumps({"_id": str(at), "text": f"question {at}"}) for at in (1, 2, 3)]
    (tmp_path / "queries.jsonl").write_text("\n".join(queries))
    return tmp_path


@pytest.fixture
def corpus(files: Path, animals_jsonl: Path) -> Path:
    """A BEIR folder of the three animals."""
    folder = files / "animals"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_bytes(animals_jsonl.read_bytes())
    asked = {"1": "purring cats", "2": "barking dogs", "3": "a cow in the meadow"}
    rows = [json.dumps({"_id": query, "text": text}) for query, text in asked.items()]
    (folder / "queries.jsonl").write_text("\n".join(rows))
    (folder / "qrels" / "test.tsv").write_text("1\ta\t1\n2\tb\t1\n3\tc\t1\n")
    return folder


def test_a_run_is_measured(cli: Cli, files: Path) -> None:
    done = cli("eval", "base.txt", "--qrels", "qrels.txt", "-m", "RR@10,R@100")
    assert done.code == 0, done.err
    head, row, *_ = [line.split() for line in done.out.splitlines()]
    assert head == ["run", "RR@10", "R@100"] and row == ["base", "0.6667", "0.6667"]


def test_runs_as_json(cli: Cli, files: Path) -> None:
    found = cli(
        "eval", "base.txt", "other.txt", "--qrels", "qrels.txt", "-m", "AP", "--json"
    ).json()
    assert [one["measures"] for one in found["runs"]] == [{"AP": 2 / 3}, {"AP": 2.5 / 3}]


@pytest.mark.parametrize(
    ("run", "says", "code"),
    [
        ("", "the run is empty", 4),
        ("1 Q0 a 1 nan x\n", "bad.txt:1: the score is 'nan'", 4),
        ("1 Q0 a 1 1.0 x\n1 Q0 a 2 0.5 x\n", "bad.txt:2: document 'a' comes twice", 4),
        ("9 Q0 a 1 1.0 x\n", "have no query in common", 4),
    ],
)
def test_a_bad_run_is_one_sentence(cli: Cli, files: Path, run: str, says: str, code: int) -> None:
    (files / "bad.txt").write_text(run)
    done = cli("eval", "bad.txt", "--qrels", "qrels.txt")
    assert done.code == code and done.out == ""
    assert done.err.startswith("error: ") and says in done.err and "Traceback" not in done.err


def test_what_is_neither_a_dataset_nor_a_run(cli: Cli, files: Path, animals_jsonl: Path) -> None:
    corpus = cli("eval", animals_jsonl, "--qrels", "qrels.txt")
    assert corpus.code == 2 and "is not a TREC run by its name" in corpus.err
    unjudged = cli("eval", "base.txt", "-m", "AP")
    assert unjudged.code == 1 and "or a TREC run with --qrels" in unjudged.err


def test_runs_are_compared_with_texts(cli: Cli, files: Path) -> None:
    asked = ("compare", "base.txt", "other.txt", "--qrels", "qrels.txt", "-m", "RR@10")
    done = cli(*asked, "--queries", "queries.jsonl")
    assert done.code == 0, done.err
    assert "against base" in done.out and "1/1/1" in done.out
    assert "+1.0000  2  question 2" in done.out and "-0.5000  3  question 3" in done.out
    [test] = cli(*asked, "--json").json()["comparisons"]
    assert (test["wins"], test["losses"]) == (1, 1)
    assert test["r_p"] == 1.0 and test["n"] == 3  # 8 patterns: |mean| >= 1/6 in all of them


def test_a_comparison_takes_two_runs(cli: Cli, files: Path) -> None:
    done = cli("compare", "base.txt", "--qrels", "qrels.txt")
    assert done.code == 2 and "two runs or more" in done.err


def test_a_dataset_is_evaluated_and_checked(cli: Cli, corpus: Path, tmp_path: Path) -> None:
    expect = tmp_path / "expect.toml"
    expect.write_text('[datasets.animals."sparse exact"]\n"RR@10" = 1.0\n')
    options = ("--legs", "sparse", "--recall", "0.9", "-m", "RR@10,AP", "--expect", expect)
    done = cli("eval", corpus, *options, "--out", "report")
    assert done.code == 0, done.err
    assert "[OK] animals, sparse exact, RR@10: 1.0000" in done.out.splitlines()
    page = (tmp_path / "report" / "report.html").read_text("utf-8")
    assert "[OK] animals" in page and "sparse exact" in page
    assert json.loads((tmp_path / "report" / "report.json").read_text())["checks"]
    expect.write_text('[datasets.animals."sparse exact"]\n"RR@10" = 0.5\n')
    missed = cli("eval", corpus, *options, "--out", "report", "--resume")
    assert missed.code == 3
    assert "[FAIL] animals, sparse exact, RR@10: 1.0000, expected 0.5000" in missed.out
    assert "taken over" in missed.err


def test_a_dataset_that_fails_ends_in_1_after_the_others(cli: Cli, corpus: Path) -> None:
    done = cli("eval", "nothing", corpus, "--legs", "sparse", "-m", "AP", "--recall", "0.9")
    assert done.code == 1
    assert "error: nothing: there is no such folder or file" in done.err
    assert "animals (test)" in done.out


def test_options_that_belong_to_one_dataset(cli: Cli, corpus: Path) -> None:
    done = cli("eval", corpus, corpus, "--queries", "queries.jsonl")
    assert done.code == 2 and "belong to one dataset" in done.err


def test_a_dataset_in_words_of_its_own(cli: Cli, corpus: Path, tmp_path: Path) -> None:
    options = ("--legs", "bm25", "-m", "RR@10", "--out", "report")
    done = cli("eval", corpus, *options, "--analyzer", "german", "--analyzer", "animals=standard")
    assert done.code == 0, done.err
    found = json.loads((tmp_path / "report" / "report.json").read_text())
    assert found["provenance"]["settings"]["analyzers"] == {
        "*": {"name": "german"},
        "animals": {"name": "standard"},
    }
    [built] = (tmp_path / "report" / "work" / "indexes").iterdir()
    assert "-no-model-standard-" in built.name
    for wrong, says in (("birds=de", "the datasets are animals"), ("elvish", "no analyzer")):
        refused = cli("eval", corpus, *options, "--analyzer", wrong)
        assert refused.code == 2 and says in refused.err and "Traceback" not in refused.err
