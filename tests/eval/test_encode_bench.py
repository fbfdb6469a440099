from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from lsr.errors import ConfigError
from lsr.eval.encode_bench import EncodeReport, EncoderRun, bench_encode
from lsr.eval.encode_worker import peak_mb, serve
from lsr.model_files import find_model
from lsr.model_save import save_symmetric

TEXTS = [f"document {number} about cats and pizza " * 3 for number in range(40)]


def run(name: str, seconds: tuple[float, ...], peak: float) -> EncoderRun:
    return EncoderRun(name, "1.0", 100.0, 50.0, peak, seconds)


def test_report_gives_the_median_ratio_of_rounds_and_the_share_of_memory() -> None:
    runs = (run("lsr", (1.0, 2.0, 1.0), 400.0), run("peer", (8.0, 20.0, 9.0), 2000.0))
    report = EncodeReport("bundled", 100, 66.4, 2, 256, 3, runs, 4.2e-6)
    assert report.speedup == 9.0 and report.memory_share == 0.2
    table = report.to_markdown()
    assert "| lsr 1.0 | 100.0 | 50.0 | 400 MB |" in table
    assert "9.0x the documents a second at 0.20 of the memory" in table and "4.2e-06" in table
    assert json.loads(json.dumps(report.to_dict()))["speedup"] == 9.0


def test_report_without_peer_claims_no_ratio() -> None:
    report = EncodeReport("bundled", 1, 5.0, 1, 512, 1, (run("lsr", (1.0,), 300.0),), None)
    assert report.speedup is None and report.memory_share is None
    assert "1 documents of 5 tokens" in report.to_markdown()


def test_nothing_to_encode_and_no_rounds_are_refused() -> None:
    with pytest.raises(ConfigError, match="no texts"):
        bench_encode("bundled", [])
    with pytest.raises(ConfigError, match="rounds is 0"):
        bench_encode("bundled", ["x"], rounds=0)


def test_worker_answers_each_question_with_one_line(tmp_path: Path) -> None:
    file = tmp_path / "texts.json"
    file.write_text(json.dumps(TEXTS[:4]))
    start = {
        "encoder": "lsr",
        "model": "bundled",
        "threads": 1,
        "max_seq_length": 64,
        "sample": 2,
        "texts": str(file),
    }
    questions = [start, {"do": "round"}, {"do": "sample"}, {"do": "memory"}]
    answers = io.StringIO()
    serve(io.StringIO("".join(json.dumps(question) + "\n" for question in questions)), answers)
    ready, timed, sample, memory = map(json.loads, answers.getvalue().splitlines())
    assert ready["max_seq_length"] == 64 and ready["mean_tokens"] > 10
    assert timed["wall"] > 0 and timed["cpu"] > 0
    assert len(sample["vectors"]) == 2 and memory["peak_mb"] == pytest.approx(peak_mb(), rel=0.5)


def test_parts_that_only_lsr_reads_leave_nothing_to_compare() -> None:
    report = EncodeReport("bundled", 9, 5.0, 1, 64, 1, (run("a", (1.0,), 1.0),) * 2, None)
    assert "the peer leaves out what sparse_head.json adds." in report.to_markdown()


def test_error_in_the_other_process_comes_back_as_ours(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has neither modules"):
        bench_encode(str(tmp_path), ["x"], peers=False)


@pytest.mark.slow
def test_both_encoders_are_measured_and_give_the_same_vectors(tmp_path: Path) -> None:
    said: list[str] = []
    save_symmetric(find_model("bundled"), tmp_path / "model", half=True)
    report = bench_encode(
        str(tmp_path / "model"),
        TEXTS,
        threads=2,
        max_seq_length=32,
        rounds=1,
        on_progress=said.append,
    )
    assert [run.name for run in report.runs] == ["lsr", "sentence-transformers"]
    assert report.largest_difference is not None and report.largest_difference < 1e-4
    assert all(run.docs_per_second > 0 and run.peak_mb > 100 for run in report.runs)
    assert report.memory_share is not None and report.memory_share < 1
    assert len(said) == 2
