"""Our measures against ir_measures' own command, trec_eval's code and BEIR's evaluator."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import eval_cases
import pytest
import pytrec_eval

from lsr.errors import ConfigError
from lsr.eval.measures import DEFAULT_MEASURES, mean, measure_run, mteb_key, parse_measures
from lsr.eval.run_files import measure_files
from lsr.eval.runs import read_run, write_run

#: What BEIR's evaluator asks of pytrec_eval, and our name for it.
BEIR = {"ndcg_cut_10": "nDCG@10", "recall_100": "R@100", "map_cut_100": "AP@100", "P_5": "P@5"}


def test_saved_runs_give_what_ir_measures_prints(tmp_path: Path) -> None:
    grades = eval_cases.random_grades(3)
    run = eval_cases.random_run(4)
    del run["q7"]  # a judged query without hits
    run["q99"] = {"d1": 1.0}  # a query that nobody judged
    qrels = eval_cases.write_qrels(tmp_path / "qrels.txt", grades)
    write_run(tmp_path / "run.txt", run, "t")
    done = subprocess.run(
        [sys.executable, "-m", "ir_measures", str(qrels), str(tmp_path / "run.txt"),
         *DEFAULT_MEASURES, "--output_format", "jsonl"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    theirs = [json.loads(line) for line in done.stdout.splitlines()]
    ([ours], _) = measure_files([str(tmp_path / "run.txt")], str(qrels))
    assert {one["measure"]: one["value"] for one in theirs} == pytest.approx(ours.means, abs=1e-12)


def test_values_equal_those_of_beirs_evaluator() -> None:
    grades, run = eval_cases.random_grades(5), eval_cases.random_run(6)
    theirs = pytrec_eval.RelevanceEvaluator(grades, set(BEIR)).evaluate(run)
    ours = measure_run(grades, run, list(BEIR.values()))
    for name, measure in BEIR.items():
        beir = sum(one[name] for one in theirs.values()) / len(theirs)
        assert mean(ours[measure]) == pytest.approx(beir, abs=1e-4)
        for query, one in theirs.items():
            assert ours[measure][query] == pytest.approx(one[name], abs=1e-4)


def test_ndcg_equals_the_formula() -> None:
    grades = {"q": {"a": 3, "b": 1, "c": 2}}
    run = {"q": {"b": 3.0, "x": 2.0, "a": 1.0}}
    gain = 1 / math.log2(2) + 3 / math.log2(4)
    best = 3 / math.log2(2) + 2 / math.log2(3) + 1 / math.log2(4)
    assert measure_run(grades, run, ["nDCG@10"])["nDCG@10"]["q"] == pytest.approx(gain / best)


def test_equal_scores_are_ordered_as_the_report_says() -> None:
    grades = {"q": {"b": 1}}
    run = {"q": {"a": 1.0, "b": 1.0}}
    found = measure_run(grades, run, ["AP", "RR@10"])
    assert found["AP"]["q"] == 1.0  # trec_eval: id descending, b first
    assert found["RR@10"]["q"] == 0.5  # ir_measures' RR@k: id ascending, a first


def test_every_judged_query_counts_and_no_other() -> None:
    found = measure_run({"q": {"a": 1}, "r": {"a": 1}}, {"q": {"a": 1.0}, "z": {"a": 1.0}}, ["AP"])
    assert found == {"AP": {"q": 1.0, "r": 0.0}}


def test_names_of_beir_and_of_mteb() -> None:
    assert parse_measures(["NDCG@10", "MAP@100", "nDCG@10"]) == ["nDCG@10", "AP@100"]
    assert [mteb_key(name) for name in ("nDCG@10", "R@100", "RR@10", "AP@1000")] == [
        "ndcg_at_10", "recall_at_100", "mrr_at_10", "map_at_1000",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["foo", "nDCG@ten", "", "nDCG(x=1)@10"])
def test_an_unknown_measure_is_refused_by_name(name: str) -> None:
    with pytest.raises(ConfigError, match="is not a measure that ir_measures computes"):
        parse_measures([name])


def test_identical_ids_are_dropped_when_asked(tmp_path: Path) -> None:
    (tmp_path / "q.txt").write_text("7 0 8 1\n")
    (tmp_path / "r.txt").write_text("7 Q0 7 1 2.0 t\n7 Q0 8 2 1.0 t\n")
    arguments = ([str(tmp_path / "r.txt")], str(tmp_path / "q.txt"), ["RR@10"])
    ([kept], _) = measure_files(*arguments)
    ([dropped], _) = measure_files(*arguments, drop_identical=True)
    assert kept.means["RR@10"] == 0.5 and dropped.means["RR@10"] == 1.0
    assert "1 hit(s) with the id of their query are kept" in kept.notes[0]
    assert read_run(tmp_path / "r.txt")["7"]["7"] == 2.0
