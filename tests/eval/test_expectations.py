"""Expectation files: verdicts, and what is wrong with a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lsr.errors import ConfigError, DataError
from lsr.eval.expectations import check, read_expectations
from lsr.eval.indexes import model_fingerprint
from lsr.eval.results import DatasetResult, Report, SystemResult


def report(value: float, *, fingerprint: str = "abc", failed: bool = False) -> Report:
    values = {"AP": {"q1": value, "q2": value}}
    system = SystemResult("sparse exact", "sparse", "", {}, {"AP": value}, values)
    dataset = DatasetResult(
        name="toy", split="test", source="toy", hash="0", n_documents=2, n_queries=2,
        n_judgements=2, encoder={"fingerprint": fingerprint}, baseline="sparse exact",
        systems=(system,), comparisons=(),
    )  # fmt: skip
    return Report((dataset,), ("AP",), {"data/other": "it broke"} if failed else {})


def expectations(folder: Path, text: str) -> Path:
    path = folder / "expect.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(0.5, "OK"), (0.50004, "OK"), (0.5003, "OKish"), (0.4995, "OKish"), (0.51, "FAIL")],
)
def test_verdicts_by_distance(tmp_path: Path, value: float, verdict: str) -> None:
    path = expectations(tmp_path, '[datasets.toy."sparse exact"]\nAP = 0.5\n')
    [found] = check(report(value), read_expectations(path))
    assert found.verdict == verdict
    assert str(found).startswith(f"[{verdict}] toy, sparse exact, AP: ")


def test_limits_of_a_file_and_of_a_table(tmp_path: Path) -> None:
    text = 'tolerance = 0.1\n[datasets.toy."sparse exact"]\n{}AP = 0.5\n'
    loose = read_expectations(expectations(tmp_path, text.format("")))
    assert check(report(0.59), loose)[0].verdict == "OK"
    strict = read_expectations(expectations(tmp_path, text.format("tolerance = 0.01\n")))
    assert check(report(0.59), strict)[0].verdict == "FAIL"


def test_what_was_not_measured_fails(tmp_path: Path) -> None:
    text = '[datasets.toy.dense]\nAP = 0.5\n[datasets.other."sparse exact"]\nAP = 0.1\n'
    found = check(report(0.5, failed=True), read_expectations(expectations(tmp_path, text)))
    assert [one.verdict for one in found] == ["FAIL", "FAIL"]
    assert "was not measured" in str(found[0])


def test_what_was_not_asked_for_is_passed_over(tmp_path: Path) -> None:
    text = """
        [datasets.toy.BM25]
        AP = 0.1
        [datasets.toy."sparse exact"]
        AP = 0.5
        "RR@10" = 0.1
    """
    found = report(0.5)
    expected = read_expectations(expectations(tmp_path, text))
    unasked = replace(found, provenance={"settings": {"families": ["sparse"]}})
    skipped = replace(found, datasets=(replace(found.datasets[0], skipped={"BM25": "no"}),))
    for one in (unasked, skipped):
        assert [checked.verdict for checked in check(one, expected)] == ["OK"]
    assert [checked.verdict for checked in check(found, expected)] == ["FAIL", "OK"]


def test_expectations_of_nothing_in_the_report_are_refused(tmp_path: Path) -> None:
    path = expectations(tmp_path, "[datasets.fiqa.BM25]\nAP = 0.5\n")
    with pytest.raises(DataError, match="expects nothing of toy; it is about fiqa"):
        check(report(0.5), read_expectations(path))


def test_expectations_for_another_encoder_are_refused(tmp_path: Path) -> None:
    text = 'encoder = "xyz"\n[datasets.toy."sparse exact"]\nAP = 0.5\n'
    with pytest.raises(DataError, match="is for the encoder xyz; this report is of abc"):
        check(report(0.5), read_expectations(expectations(tmp_path, text)))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a = ", "is not TOML"),
        ("", "expects nothing"),
        ("[dataset.toy]\n", "unknown key 'dataset'"),
        ("[datasets]\ntoy = 1\n", "datasets.*a table is expected|toy is 1"),
        ("[datasets.toy.BM25]\nAP = 'high'\n", "BM25.AP is 'high'; a number is expected"),
        ("[datasets.toy.BM25]\nfoo = 1\n", "'foo' is not a measure"),
    ],
)
def test_a_file_of_another_shape_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read_expectations(expectations(tmp_path, text))


def test_the_bundled_expectations_are_for_the_bundled_encoder() -> None:
    found = read_expectations("bundled")
    assert found.encoder == model_fingerprint("bundled")
    scifact = {(one.system, one.measure): one.value for one in found.entries
               if one.dataset == "scifact"}  # fmt: skip
    assert scifact["sparse exact", "nDCG@10"] == 0.6912
