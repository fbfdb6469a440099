from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lsr import demo
from lsr.doctor import examine
from lsr.errors import ConfigError


def test_doctor_finds_everything_in_order(cli: Any) -> None:
    found = cli("doctor", "--json").json()
    assert found["sound"] is True
    by_name = {one["name"]: one for one in found["findings"]}
    assert by_name["model"]["status"] == "ok" and "30,522 terms" in by_name["model"]["found"]
    assert {"version", "processor", "threads", "packages", "kernel cache", "network", "disk"} <= (
        set(by_name)
    )
    lines = cli("doctor").out.splitlines()
    assert lines[0].startswith("ok      version       lsr ")


def test_doctor_says_what_is_broken_with_code_1(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "lsr.toml").write_text("model = './nowhere'\n")
    found = cli("doctor")
    assert found.code == 1
    assert "broken  model" in found.out and "nowhere" in found.out
    (tmp_path / "lsr.toml").write_text("modle = 'x'\n")
    assert "broken  settings" in cli("doctor").out


def test_doctor_notes_what_is_worth_knowing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LSR_MODLE", "x")
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/nowhere/at/all")

    def settings() -> tuple[str, int]:
        return "bundled", 10_000

    notes = {one.name: one for one in examine(settings) if one.status == "note"}
    assert "LSR_MODLE is not a setting" in notes["variable"].found
    assert "cannot be written" in notes["kernel cache"].found
    assert "10000 threads" in notes["threads"].found


def test_doctor_survives_settings_that_cannot_be_read() -> None:
    def settings() -> tuple[str, int]:
        raise ConfigError("lsr.toml: bad", hint="mend it")

    found = {one.name: one for one in examine(settings)}
    assert found["settings"].status == "broken" and found["settings"].hint == "mend it"
    assert found["model"].status == "ok"


def test_doctor_knows_when_it_is_offline(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LSR_OFFLINE", "1")
    assert "never used (offline)" in cli("doctor").out


def test_config_show_says_where_each_value_came_from(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lsr.toml").write_text("k = 7\n")
    monkeypatch.setenv("LSR_MEMORY", "2GB")
    rows = {row["key"]: row for row in cli("config", "show", "--json").json()["settings"]}
    assert (rows["k"]["value"], rows["k"]["origin"]) == (7, f"lsr.toml:{tmp_path / 'lsr.toml'}")
    assert (rows["memory"]["value"], rows["memory"]["origin"]) == (2 * 10**9, "env LSR_MEMORY")
    assert rows["model"]["origin"] == "default"
    shown = cli("config", "show", "--origin").out
    assert "env LSR_MEMORY" in shown and shown.splitlines()[0].split()[:3] == [
        "key", "value", "origin",
    ]  # fmt: skip
    assert "env LSR_MEMORY" not in cli("config", "show").out
    (tmp_path / "other.toml").write_text("k = 8\n")
    assert '"value": 8' in cli("config", "show", "--json", "--config", "other.toml").out


def test_warmup_counts_kernels(cli: Any) -> None:
    found = cli("warmup", "--json").json()
    assert found["seconds"] >= 0 and {"compiled", "loaded"} <= set(found)


def test_a_corpus_of_documentation_is_made(cli: Any, tmp_path: Path) -> None:
    done = cli("demo-corpus", "--source", "pydoc:typer", "--out", "docs.jsonl")
    assert done.code == 0 and done.out == ""
    lines = (tmp_path / "docs.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) > 20 and f"{len(lines):,} documents" in done.err
    assert all({"_id", "title", "text", "kind"} <= set(json.loads(line)) for line in lines)
    piped = cli("demo-corpus", "--source", "pydoc:typer", "-q")
    assert piped.out.splitlines() == lines


def test_the_demonstration_answers_three_questions_and_is_quick_the_second_time(
    cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "CORPUS", "pydoc:json,csv,queue")
    first = cli("demo", "--out", "d")
    assert first.code == 0, first.err
    assert first.out.count('lsr search d "') == 3 and first.out.count("matched: ") >= 6
    assert "indexing" in first.err
    second = cli("demo", "--out", "d")
    assert second.out == first.out
    assert "indexing" not in second.err
