from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lsr.eval.search_engines import Build, Setting
from lsr.eval.search_measures import (
    Batch,
    Built,
    Measured,
    Refused,
    SearchReport,
    batch_row,
    joined,
    measured_row,
)
from lsr.eval.search_report import draw_curves, to_markdown

ABOUT = {
    "name": "toy", "documents": 1000, "document_terms": 9.5, "queries": 3,
    "query_terms": 4.0, "vocabulary": 50,
}  # fmt: skip


def row(engine: str, recall: float, latency: float, *, exact: bool = False) -> Measured:
    return Measured(
        engine=engine, build=engine, setting="default", options={}, exact=exact, k=10,
        recall=recall, mean=latency, p50=latency, p90=2 * latency, p99=3 * latency,
        low=latency - 1, high=latency + 1, wall_mean=latency, wall_p50=latency,
    )  # fmt: skip


def report() -> SearchReport:
    rows = [
        row("lsr", 0.96, 40), row("lsr", 1.0, 120, exact=True), row("quick", 0.9, 100),
        row("quick", 0.98, 180), row("plain", 1.0, 300, exact=True),
    ]  # fmt: skip
    built = Built(
        "quick", "quick 7", "1.2", 3.5, 4.0, 0.1, 0.2, 100.0, 50.0, 450.0, 300.0, 5_000_000
    )
    return SearchReport(
        set=ABOUT, ks=(10,), levels=(0.90, 0.95, 0.99), rounds=5, sample=2, builds=(built,),
        measured=tuple(rows), batch=(Batch("exact", 10, 2, 5000.0, 4000.0, 6000.0, 90.0),),
        refused=(Refused("gone", "", "start", "gone is not\ninstalled | here"),),
    )  # fmt: skip


def test_tables_give_levels_the_best_peer_and_our_ratio_to_it() -> None:
    lines = to_markdown(report()).splitlines()
    median = lines[lines.index("## Median, k = 10") :]
    assert "| lsr | 40 | 40 | 100 | 120 | 100.0% |" in median
    assert "| quick | 100 | 150 | – | – | 98.0% |" in median
    assert "| plain | 300 | 300 | 300 | 300 | 100.0% |" in median
    assert "| **best peer** | 100 quick | 150 quick | 300 plain | 300 plain |  |" in median
    assert "| **lsr / best peer** | 0.40 | 0.27 | 0.33 | 0.40 |  |" in median
    worst = lines[lines.index("## 99th percentile, k = 10") :]
    assert "| **best peer** | 300 quick | 450 quick | 900 plain | 900 plain |  |" in worst


def test_tables_tell_builds_batches_and_what_is_missing() -> None:
    told = to_markdown(report())
    assert "| quick 7 (1.2) | 3.5 | 4.0 | 0.2 | 250 | 350 | 5 |" in told
    assert "| exact | 10 | 2 | 5000 (4000–6000) | 90 |" in told
    assert "| gone | – | start | gone is not installed \\| here |" in told


def part(cpu: float, wall: float, recall: float) -> dict[str, Any]:
    return {"cpu": [cpu], "wall": [wall], "recall": [recall], "stats": {"scored": 4.0}}


def test_time_of_a_query_is_the_median_of_its_rounds() -> None:
    rounds = [
        joined([part(10.0, 11.0, 0.0), part(20.0, 21.0, 1.0)]),
        joined([part(90.0, 91.0, 0.0), part(22.0, 23.0, 1.0)]),
        joined([part(12.0, 13.0, 0.0), part(21.0, 22.0, 1.0)]),
    ]
    found = measured_row("quick", Build("quick 7", {}), Setting({"cut": 3}), 10, rounds)
    assert found.p50 == 16.5 and found.mean == 16.5  # of 12 and 21; the 90 was the machine's
    assert (found.low, found.high) == (15.0, 56.0)
    assert found.stats == {"scored": 4.0} and found.wall_mean == 17.5
    assert found.setting == "cut 3" and found.recall == 0.5


def test_batch_gives_the_median_rate_and_its_range() -> None:
    rounds = [{"queries": 100, "wall": wall, "cpu": 0.2} for wall in (0.1, 0.2, 0.5)]
    found = batch_row(Setting({}), 10, 2, rounds)
    assert (found.per_second, found.low, found.high) == (500, 200, 1000)
    assert found.cpu_us == pytest.approx(2000)


def test_one_curve_is_drawn_for_each_k(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    [drawn] = draw_curves(report(), tmp_path)
    assert drawn.name == "recall-latency-k10.png" and drawn.stat().st_size > 5000
