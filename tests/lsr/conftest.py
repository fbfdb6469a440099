from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.testing import CliRunner

DOCUMENTS = (
    {"_id": "a", "title": "Cats", "text": "Cats purr when they are happy.", "year": 2020},
    {"_id": "b", "title": "Dogs", "text": "Dogs bark at strangers.", "year": 2021},
    {"_id": "c", "text": "Cows moo in the meadow while a cat watches.", "year": 2022},
)


class Answer(NamedTuple):
    """What a command line said and how it ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)


Cli = Callable[..., Answer]


def run_cli(*arguments: object, stdin: str | None = None) -> Answer:
    """Run a command in this process, as `lsr` would."""
    from lsr.cli import app

    found = CliRunner().invoke(app, [str(one) for one in arguments], input=stdin)
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return Answer(found.exit_code, found.stdout, found.stderr)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    """The command line, in an empty folder and without settings of the person who tests."""
    monkeypatch.chdir(tmp_path)
    for name in ("LSR_DEBUG", "LSR_MODEL", "LSR_K", "LSR_MEMORY", "LSR_THREADS", "LSR_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    return run_cli


@pytest.fixture(scope="session")
def animals_jsonl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of three documents."""
    path = tmp_path_factory.mktemp("animals") / "animals.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in DOCUMENTS), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def animals(animals_jsonl: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of the three documents, only to be read."""
    out = tmp_path_factory.mktemp("index") / "animals"
    made = run_cli("index", animals_jsonl, "--out", out)
    assert made.code == 0, made.err
    return out
