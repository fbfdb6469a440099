from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from search_cases import toy_set

from lsr.errors import ConfigError
from lsr.eval.search_bench import Plan, bench_search
from lsr.eval.search_engines import Setting, engine, names
from lsr.eval.search_measures import Refused, SearchReport
from lsr.eval.search_sets import SearchSet, prepare_set

HERE = Path(__file__).parent


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SearchSet:
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    return prepare_set(str(toy_set(tmp_path / "toy")), tmp_path / "work")


def odd(*engines: str) -> tuple[str, ...]:
    return tuple(f"odd_engines:{name}" for name in engines)


def run(found: SearchSet, *engines: str, **more: Any) -> SearchReport:
    plan = {"rounds": 2, "sample": 5, "batch": False, "limit": 120.0, **more}
    return bench_search(found, Plan(engines=engines, **plan))


def test_engine_that_fails_is_a_row_that_says_so(toy: SearchSet) -> None:
    engines = odd("Crashing", "Panicking", "Missing", "Unable", "First")
    report = run(toy, *engines, "nobody")
    reasons = {one.engine.removeprefix("odd_engines:"): one for one in report.refused}
    assert reasons["Crashing"].stage == "tune"
    assert reasons["Crashing"].reason == "the process died of SIGSEGV: terminate called"
    assert reasons["Panicking"].reason == "Panic: index out of bounds"
    assert reasons["Missing"].reason == "no_such_package_anywhere is not installed"
    assert reasons["Unable"].reason == "its queries have no weights"
    assert reasons["nobody"].reason == "there is no engine 'nobody'"
    [first] = report.measured
    assert first.build == "First" and 0 < first.recall < 0.9 and first.stats == {"scored": 10}
    assert [one.build for one in report.builds] == ["First"]


def test_setting_that_is_refused_leaves_the_others(toy: SearchSet) -> None:
    report = run(toy, *odd("Choosy"))
    [refused] = report.refused
    assert refused.stage == "setting cut 0" and refused.reason == "ValueError: cut must be above 0"
    assert [one.setting for one in report.measured] == ["cut 3"]


def test_engine_that_takes_too_long_is_stopped(toy: SearchSet) -> None:
    report = run(toy, *odd("Hanging"), limit=3.0)
    assert report.refused == (
        Refused("odd_engines:Hanging", "Hanging", "build", "took longer than 3 s"),
    )
    assert report.measured == report.builds == ()


def test_second_run_builds_and_tunes_nothing_again(toy: SearchSet) -> None:
    said: list[str] = []
    plan = Plan(engines=odd("First"), rounds=1, sample=5, batch=False)
    first = bench_search(toy, plan, said.append)
    assert "building First" in said and "k = 10: trying 1 settings of odd_engines:First" in said
    said.clear()
    second = bench_search(toy, plan, said.append)
    assert said == ["k = 10: round 1 of 1"]
    assert first.builds[0].cpu == second.builds[0].cpu
    bench_search(toy, Plan(engines=odd("First"), rounds=1, sample=6, batch=False), said.append)
    assert "k = 10: trying 1 settings of odd_engines:First" in said


def test_short_memory_closes_the_process_that_waited_longest(toy: SearchSet) -> None:
    report = run(toy, *odd("First"), "scipy", memory=1.0)
    assert {one.engine for one in report.measured} == {"odd_engines:First", "scipy"}
    assert report.refused == ()


def test_exact_engines_find_everything(toy: SearchSet) -> None:
    report = run(toy, "lsr", "scipy", ks=(3, 50), batch=True)
    assert report.refused == () or report.refused[0].stage == "batch"
    assert {(one.engine, one.k) for one in report.measured} >= {
        (name, k) for name in ("lsr", "scipy") for k in (3, 50)
    }
    assert all(one.recall == 1.0 for one in report.measured if one.exact)
    assert all(one.p50 <= one.p90 <= one.p99 for one in report.measured)
    assert all(one.low <= one.high and one.wall_mean > 0 for one in report.measured)
    assert {row.threads for row in report.batch} in ({1, 2}, set())
    ours = report.builds[0]
    assert ours.bytes > 10_000 and ours.peak > 50 and ours.open_wall > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in names() if name not in ("lsr", "scipy")])
def test_peers_find_what_they_should(toy: SearchSet, name: str) -> None:
    found = engine(name)
    pytest.importorskip(found.module)
    report = run(toy, name, sample=12)
    if name == "bm25s":
        assert "without weights" in report.refused[0].reason
        return
    assert report.refused == ()
    assert max(one.recall for one in report.measured) > (0.9 if name == "BMP" else 0.97)
    assert all(one.recall == 1.0 for one in report.measured if one.exact)


def test_settings_say_what_they_are() -> None:
    assert str(Setting({})) == "default"
    assert str(Setting({"exact": True}, exact=True)) == "exact"
    assert (
        str(Setting({"n_candidate": 30, "heap_factor": 0.8})) == "n candidate 30, heap factor 0.8"
    )


def test_nothing_to_measure_is_refused(toy: SearchSet) -> None:
    with pytest.raises(ConfigError, match="rounds is 0"):
        run(toy, "scipy", rounds=0)
    with pytest.raises(ConfigError, match="k must be at least 1"):
        run(toy, "scipy", ks=())


def alive(process: int) -> bool:
    """Return whether a process runs; one that has ended may wait for somebody to ask how."""
    try:
        os.kill(process, 0)
        stat = Path(f"/proc/{process}/stat")
        return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")
    except (ProcessLookupError, FileNotFoundError):
        return False


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "lsr", "bench", "search", *arguments]


def test_command_line_writes_tables_and_curves(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    toy_set(tmp_path / "toy")
    options = [
        "-k",
        "5",
        "--engine",
        "lsr",
        "--engine",
        "scipy",
        "--rounds",
        "1",
        "--sample",
        "5",
        "--no-batch",
    ]
    done = subprocess.run(
        command(str(tmp_path / "toy"), *options, "--out", str(tmp_path / "out")),
        capture_output=True, text=True, timeout=200, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "## Median, k = 5" in done.stdout and "| **lsr / best peer** |" in done.stdout
    assert (tmp_path / "out" / "report.md").read_text() == done.stdout
    told = json.loads((tmp_path / "out" / "report.json").read_text())
    assert told["set"]["documents"] == 300 and told["ks"] == [5]
    assert (tmp_path / "out" / "recall-latency-k5.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
@pytest.mark.parametrize("how", ["SIGINT", "SIGKILL"])
def test_end_of_the_run_ends_every_process(how: str, tmp_path: Path) -> None:
    toy_set(tmp_path / "toy")
    note = tmp_path / "pid"
    environment = {**os.environ, "PYTHONPATH": str(HERE), "ODD_ENGINES_PID": str(note)}
    bench = subprocess.Popen(
        command(str(tmp_path / "toy"), "--engine", *odd("Hanging")),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path,
        # A shell starts what runs in its background deaf to Ctrl-C, and children inherit it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    deadline = time.monotonic() + 100
    try:
        while not (note.exists() and note.read_text()) and time.monotonic() < deadline:
            time.sleep(0.05)
        child = int(note.read_text())
        bench.send_signal(signal.Signals[how])
        _, said = bench.communicate(timeout=60)
    finally:
        bench.kill()
    if how == "SIGINT":
        assert bench.returncode == 130 and "stopped" in said
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(child)
