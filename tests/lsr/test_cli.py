from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import lsr
from lsr import cli as module
from lsr.cli import global_options_first
from lsr.errors import LsrError

COMMANDS = (
    "index", "add", "delete", "get", "search", "explain", "encode", "info", "check", "merge",
    "export", "warmup", "doctor", "demo-corpus", "demo", "config show", "bench encode",
    "bench search", "bench lsr-benchmark",
)  # fmt: skip


def start(*arguments: str, **more: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "lsr", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more,
    )  # fmt: skip


def test_the_version_is_the_package_s(cli: Any) -> None:
    assert cli("--version").out == f"lsr {lsr.__version__}\n"


def test_help_names_every_command(cli: Any) -> None:
    listed = cli("--help").out
    assert all(command.split()[0] in listed for command in COMMANDS)
    # A first sentence that is cut off says nothing.
    assert "..." not in listed.partition("Commands:")[2]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(cli: Any, command: str) -> None:
    found = cli(*command.split(), "--help")
    assert found.code == 0
    assert f"Usage: lsr {command}" in found.out


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["index"],
        ["index", "x.jsonl"],
        ["search", "d", "q", "-k", "0"],
        ["search", "d", "q", "-k", "ten"],
        ["search", "d", "q", "--bogus"],
        ["search", "d", "q", "--path", "scan"],
        ["encode", "x", "--side", "left"],
        ["search", "d"],
        ["search", "d", " "],
        ["search", "d", "q", "--queries", "f"],
        ["search", "d", "q", "--run", "f"],
        ["delete", "d"],
        ["index", "x.jsonl", "--out", "d", "--memory", "lots"],
        ["index", "x.jsonl", "--out", "d", "--field", "year"],
        ["index", "x.jsonl", "--out", "d", "--field", "year:int"],
        ["--config", "none.toml", "search", "d", "q"],
        ["demo-corpus", "--source", "books"],
    ],
)
def test_what_cannot_be_asked_ends_with_code_2(cli: Any, arguments: list[str]) -> None:
    found = cli(*arguments)
    assert found.code == 2, found.err
    assert found.out == ""
    assert "rror: " in found.err


def test_options_of_the_whole_program_may_follow_the_command() -> None:
    assert global_options_first(["info", "d", "-q", "--config", "f", "--", "-v"]) == [
        "-q", "--config", "f", "info", "d", "--", "-v",
    ]  # fmt: skip
    assert global_options_first(["info", "--config=f"]) == ["--config=f", "info"]
    assert global_options_first(["info", "--config"]) == ["info", "--config"]


def test_quiet_leaves_the_data(cli: Any, animals: Path) -> None:
    assert cli("merge", "--help", "-q").code == 0
    found = cli("search", animals, "zzzz qqqq", "-q", "--filter", "year > 3000")
    assert (found.code, found.out, found.err) == (0, "", "")


def failing_with(error: BaseException) -> Any:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "code", "parts"),
    [
        (LsrError("it broke", hint="mend it"), 1, ["error: it broke\nhint: mend it\n"]),
        (OSError(28, "No space left on device", "x"), 1, ["error: x: No space left on device\n"]),
        (MemoryError(), 1, ["not enough memory", "--memory"]),
        (KeyboardInterrupt(), 130, ["stopped; nothing was changed"]),
        (RuntimeError("odd"), 1, ["error: RuntimeError: odd", "LSR_DEBUG=1"]),
    ],
)
def test_every_failure_is_a_sentence_and_an_exit_code(
    cli: Any,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
    parts: list[str],
) -> None:
    monkeypatch.setattr("lsr.index.check.check_folder", failing_with(error))
    found = cli("check", ".")
    assert found.code == code
    assert found.out == ""
    assert "Traceback" not in found.err
    for part in parts:
        assert part in found.err


def test_the_traceback_can_be_asked_for(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lsr.index.check.check_folder", failing_with(RuntimeError("odd")))
    monkeypatch.setenv("LSR_DEBUG", "1")
    with pytest.raises(RuntimeError, match="odd"):
        cli("check", ".")


def test_text_of_a_file_cannot_take_over_the_terminal_through_an_error(
    cli: Any, tmp_path: Path
) -> None:
    (tmp_path / "bad.jsonl").write_bytes(b'{"_id": "a", "te\xc2\x9bxt": 1}\n')
    found = cli("index", "bad.jsonl", "--out", "d")
    assert found.code == 4
    assert "\x9b" not in found.err


def test_a_missing_index_is_named_with_code_4(cli: Any) -> None:
    for command in (["search", "none", "q"], ["info", "none"], ["check", "none"]):
        found = cli(*command)
        assert found.code == 4, found.err
        assert "none" in found.err and found.err.startswith("error: ")


def test_a_reader_that_goes_away_is_no_disaster(animals: Path) -> None:
    with start("search", str(animals), "cats") as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 1
    assert said == ""


def test_completion_can_be_shown() -> None:
    environment = {**os.environ, "_LSR_COMPLETE": "complete_bash", "COMP_WORDS": "lsr ex",
                   "COMP_CWORD": "1"}  # fmt: skip
    script = "from lsr.cli import app; app(prog_name='lsr')"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["explain", "expand", "export"]


def test_the_command_and_the_module_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["lsr", "--version"])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 0
