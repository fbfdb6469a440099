from __future__ import annotations

import io
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lsr import output as module
from lsr.output import Output, duration, plain, size, to_json
from lsr.types import Hit


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    found = Terminal()
    monkeypatch.setattr(module, "sys", SimpleNamespace(stderr=found, stdout=sys.stdout))
    for name in ("NO_COLOR", "CI", "TERM"):
        monkeypatch.delenv(name, raising=False)
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[2Jgone", "\ufffd[2Jgone"),
        ("\x9b31mred", "\ufffd31mred"),
        ("bell\x07", "bell\ufffd"),
        ("\u202eabc", "\ufffdabc"),
        ("two\nlines\ttab", "two lines tab"),
        ("Käse 猫 👍", "Käse 猫 👍"),
    ],
)
def test_text_is_shown_and_never_obeyed(text: str, expected: str) -> None:
    assert plain(text) == expected
    assert len(plain(text)) == len(text)


def test_json_keeps_every_character_and_escapes_what_a_terminal_obeys() -> None:
    line = to_json({"text": "\x1b[31m \x9b \u202e é"})
    assert "\x1b" not in line and "\x9b" not in line and "\u202e" not in line
    assert json.loads(line) == {"text": "\x1b[31m \x9b \u202e é"}


def test_json_takes_the_values_of_the_house() -> None:
    found = json.loads(
        to_json(
            {
                "hit": Hit("a", 1, 2.0),
                "at": datetime(2020, 1, 2, tzinfo=UTC),
                "path": Path("x"),
                "array": np.array([1, 2]),
                "scalar": np.float32(0.5),
            }
        )
    )
    assert found["hit"]["id"] == "a"
    assert found["at"] == "2020-01-02T00:00:00+00:00"
    assert (found["path"], found["array"], found["scalar"]) == ("x", [1, 2], 0.5)


def test_json_is_ascii_where_the_stream_cannot_take_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert to_json({"a": "é"}) == '{"a": "\\u00e9"}'


def test_numbers_have_units() -> None:
    assert [size(value) for value in (1, 999, 1500, 2_000_000, 3 * 10**12)] == [
        "1 bytes", "999 bytes", "1.5 kB", "2.0 MB", "3.0 TB",
    ]  # fmt: skip
    assert [duration(value) for value in (0.04, 59.94, 61, 3600)] == [
        "0.0 s", "59.9 s", "1 min 1 s", "1 h 0 min",
    ]  # fmt: skip


def test_errors_are_plain_in_a_pipe_and_coloured_on_a_terminal(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    Output(quiet=True).error("bad \x1b[31m", "do this")
    assert "\x1b[1;31merror:\x1b[0m bad \ufffd[31m" in terminal.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    terminal.truncate(0)
    Output().error("bad", "do this")
    assert terminal.getvalue().lstrip("\0") == "error: bad\nhint: do this\n"


def test_quiet_silences_notes_and_progress(terminal: Terminal) -> None:
    output = Output(quiet=True)
    output.note("hello")
    with output.progress("documents", 10) as bar:
        bar.update(5)
    assert terminal.getvalue() == ""


def test_a_terminal_gets_a_bar_with_rate_and_time_left(terminal: Terminal) -> None:
    with Output().progress("documents", 1000) as bar:
        time.sleep(0.01)
        bar.update(100)
        status = bar.status()
    assert status.startswith("100 of 1,000 documents, ") and status.endswith(" left")
    assert "/s" in status
    assert terminal.getvalue() != ""


@pytest.mark.parametrize("variable", ["CI", "NO_COLOR"])
def test_no_bar_is_drawn_where_it_would_be_noise(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "1")
    with Output().progress("documents", 10) as bar:
        bar.update(5)
    assert terminal.getvalue() == ""


def test_a_log_gets_a_line_now_and_then(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(module, "_LINE_SECONDS", 0.0)
    with Output().progress("documents", 10) as bar:
        bar.update(5)
    assert terminal.getvalue().startswith("5 of 10 documents, ")


def test_resumed_work_does_not_count_as_speed() -> None:
    bar = Output(quiet=True).progress("documents")
    time.sleep(0.01)
    bar.update(1_000_000, this_run=1)
    rate = bar.status().split(", ")[-1]
    assert float(rate.removesuffix("/s").replace(",", "")) <= 100


def test_tables_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    Output().table([{"a_b": 1, "c": None}, {"a_b": 22222, "c": 0.5}, {"a_b": True, "c": "x\n"}])
    assert capsys.readouterr().out.splitlines() == [
        "a b    c", "1      -", "22222  0.5000", "yes    x",
    ]  # fmt: skip


def test_a_filters_error_keeps_its_pointer_on_a_line_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Output().error("the filter is wrong:\n  a = = 3\n      ^", hint="see\x1b[31m help")
    lines = capsys.readouterr().err.splitlines()
    assert lines[:3] == ["error: the filter is wrong:", "  a = = 3", "      ^"]
    assert "\x1b" not in lines[3]
