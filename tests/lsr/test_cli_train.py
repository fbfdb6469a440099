from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

ROWS = [
    {"query": f"{noun} {at}", "positive": f"{noun} number {at} is {what}", "text": f"{at} {what}"}
    for at, (noun, what) in enumerate(
        (noun, what) for noun in ("lamp", "tea", "train") for what in ("red", "late", "hot", "new")
    )
]


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), "utf-8")
    return path


def test_recipes_are_listed(cli: Any) -> None:
    found = cli("train", "--list")
    assert found.code == 0
    assert "opensearch-doc-v2" in found.out and "arXiv:2411.04403" in found.out


def test_a_dry_run_shows_settings_and_touches_nothing(cli: Any, pairs: Path) -> None:
    found = cli("train", "splade-doc", "--dry-run", "--set", "train.lr=3e-4")
    assert found.code == 0
    assert "* train.lr = 0.0003  # learning rate of the network" in found.out
    assert sorted(path.name for path in pairs.parent.iterdir()) == ["pairs.jsonl"]


def test_a_recipe_and_a_folder_are_needed(cli: Any) -> None:
    assert "lsr train --list" in cli("train").err
    assert "a run needs a folder" in cli("train", "splade-doc").err
    found = cli("train", "splade-dog", "--out", "run")
    assert found.code == 2 and "did you mean splade-doc" in found.err
    found = cli("train", "splade-doc", "--set", "train.speed=9", "--out", "run")
    assert found.code == 2 and "there is no setting train.speed" in found.err


@pytest.mark.slow
def test_mine_train_and_soup_from_pairs_to_an_index(cli: Any, pairs: Path) -> None:
    found = cli("mine", pairs, "--out", "mined.jsonl", "--negatives", 3, "--depth", 6, "-q")
    assert found.code == 0 and found.out == "mined.jsonl\n"
    recipe = pairs.with_name("own.toml")
    recipe.write_text(
        'extends = "splade-doc"\n[model]\ninit = "bundled"\ndocument_length = 16\n'
        '[data]\n[[data.sources]]\npath = "mined.jsonl"\n'
        "[train]\nsteps = 4\nbatch_size = 4\ncheckpoint_steps = 2\nthreads = 1\n",
        "utf-8",
    )
    found = cli("train", recipe, "--out", "run", "--json", "-q").json()
    assert found["step"] == 4 and found["why"] == ""
    checkpoints = [f"run/checkpoints/checkpoint-{step}" for step in (2, 4)]
    assert cli("soup", *checkpoints, "--out", "soup").code == 0
    corpus = [json.dumps({"_id": str(at), "text": row["positive"]}) for at, row in enumerate(ROWS)]
    Path("corpus.jsonl").write_text("\n".join(corpus), "utf-8")
    assert cli("index", "corpus.jsonl", "--out", "shop", "--model", "soup", "-q").code == 0
    hits = cli("search", "shop", "lamp", "0", "--json").json()["hits"]
    assert hits[0]["id"] == "0"


def test_hints_at_a_bad_line_name_what_the_command_has(cli: Any, pairs: Path) -> None:
    with pairs.open("a", encoding="utf-8") as file:
        file.write('{"query": "half')
    found = cli("mine", pairs, "--out", "mined.jsonl")
    assert found.code == 4 and "--on-error skip" in found.err
    found = cli("mine", pairs, "--out", "mined.jsonl", "--on-error", "skip")
    assert found.code == 0 and "1 bad record(s) were passed over" in found.err
    changes = ("--set", f'data.sources=[{{path = "{pairs}"}}]')
    found = cli("train", "splade-doc", "--prepare", "--out", "run", *changes)
    assert found.code == 4 and '--set data.on_error="skip"' in found.err


def test_what_a_teacher_is_must_be_said(cli: Any, pairs: Path) -> None:
    found = cli("mine", pairs, "--out", "m.jsonl", "--margin", "0.1", "--teacher", "folder")
    assert found.code == 2 and "--teacher sparse:FOLDER" in found.err
