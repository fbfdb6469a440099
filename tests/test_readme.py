"""What the README shows works: its Python runs, its commands and flags exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[list[str]]:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    words = [shlex.split(line, comments=True) for line in lines]
    return [found[1:] for found in words if found and Path(found[0]).name == "lsr"]


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )


def test_the_python_example_runs_and_finds_its_document(tmp_path: Path) -> None:
    (example,) = blocks("python")
    done = run("-c", example, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].endswith("1 Rain jacket")


def test_the_first_commands_do_what_they_say(tmp_path: Path) -> None:
    (tmp_path / "docs.jsonl").write_text(
        '{"_id": "1", "title": "Rain jacket", "text": "Light and waterproof.", "price": 80}\n'
        '{"_id": "2", "title": "Wool jacket", "text": "Warm, for winter.", "price": 180}\n'
    )
    first = [words for words in commands() if words[0] in ("index", "search", "explain")][:3]
    assert [words[0] for words in first] == ["index", "search", "explain"]
    for words in first:
        done = run("-m", "lsr", *words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert words[0] == "index" or "jacket" in done.stdout.lower()


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_and_flag_exists(words: list[str], tmp_path: Path) -> None:
    names = []
    for word in words:
        if not re.fullmatch(r"[a-z-]+", word) or word.startswith("-"):
            break
        names.append(word)
    # The words before the first value name the command: `bench encode`, `config show`, `index`.
    while names:
        done = run("-m", "lsr", *names, "--help", cwd=tmp_path)
        if done.returncode == 0 and f"lsr {' '.join(names)} " in done.stdout:
            break
        names.pop()
    assert names, f"lsr {' '.join(words)}: there is no such command"
    for flag in (word.split("=")[0] for word in words if word.startswith("-")):
        assert re.search(rf"(?<![\w-]){re.escape(flag)}(?![\w-])", done.stdout), flag


def test_every_file_it_links_to_is_there() -> None:
    targets = [t for t in re.findall(r"\]\(([^)]+)\)", README) if "://" not in t and t[0] != "#"]
    assert targets
    assert [t for t in targets if not (ROOT / t).exists()] == []
