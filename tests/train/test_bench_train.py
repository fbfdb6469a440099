from __future__ import annotations

from pathlib import Path

import pytest
from train_cases import POSITIVES, QUERIES

from lsr.errors import ConfigError
from lsr.train.bench import OURS, PEER, TrainerRun, TrainReport, bench_train
from lsr.train.examples import Example

EXAMPLES = [
    Example(f"{query} {number}", (f"{positive} {number}",))
    for number in range(2)
    for query, positive in zip(QUERIES, POSITIVES, strict=True)
]


def run(name: str, rate: float, peak: float) -> TrainerRun:
    return TrainerRun(name, "1", rate, peak, peak - 100, (1.0,), (2.0, 1.0))


def test_a_report_gives_the_ratios() -> None:
    report = TrainReport("m", 32, 128, 4, 2, (run(OURS, 30.0, 400.0), run(PEER, 10.0, 1600.0)))
    assert (report.speedup, report.memory_share) == (3.0, 0.25)
    assert "3.0x the examples a second at 0.25 of the peak memory" in report.to_markdown()
    alone = TrainReport("m", 32, 128, 4, 2, (run(OURS, 30.0, 400.0),))
    assert alone.speedup is None and alone.to_markdown().endswith("the median step counts.")


def test_too_few_steps_or_pairs_are_refused(masked: Path) -> None:
    with pytest.raises(ConfigError, match="at least 2 are needed"):
        bench_train(str(masked), EXAMPLES, steps=1)
    with pytest.raises(ConfigError, match="need 96 pairs; there are 12"):
        bench_train(str(masked), EXAMPLES, steps=3)


@pytest.mark.slow
def test_both_trainers_do_the_same_work(start: Path) -> None:
    pytest.importorskip("datasets")
    report = bench_train(str(start), EXAMPLES, batch_size=4, steps=3, max_seq_length=16, threads=1)
    ours, peer = report.runs
    assert ours.losses == pytest.approx(peer.losses, rel=2e-3)
    assert ours.examples_per_second > 0 and ours.peak_mb > 0
