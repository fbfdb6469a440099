from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

Cli = Any


@pytest.fixture
def words(cli: Cli, tmp_path: Path) -> Path:
    """An index of words alone."""
    rows = [
        {"_id": "1", "title": "Katzen", "text": "Die Häuser der Hunde", "year": 2020},
        {"_id": "2", "title": "Hunde", "text": "Ein Hund und noch ein Hund", "year": 2021},
        {"_id": "3", "title": "Haus", "text": "黑猫在屋里", "year": 2022},
    ]
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, rows)))
    made = cli("index", "d.jsonl", "--out", "words", "--legs", "bm25", "--analyzer", "de")
    assert made.code == 0, made.err
    return tmp_path / "words"


def test_an_index_of_words_is_searched_without_an_encoder(cli: Cli, words: Path) -> None:
    found = cli("search", words, "Hund", "--json").json()["hits"]
    assert [hit["id"] for hit in found] == ["2", "1"]
    assert found[0]["legs"] == {"bm25": {"score": found[0]["score"], "rank": 1}}
    assert [term["token"] for term in found[0]["terms"]] == ["hund"]
    assert cli("search", words, "häusern").out.split()[2] in ("1", "3")
    assert [h["id"] for h in cli("search", words, "黑猫", "--json").json()["hits"]] == ["3"]
    filtered = cli("search", words, "Hund", "--filter", "year = 2020", "--json").json()["hits"]
    assert [hit["id"] for hit in filtered] == ["1"]
    assert "hund" in cli("explain", words, "Hunde", "2", "--mode", "bm25").out
    info = cli("info", words).out
    assert "none (no sparse leg)" in info and "analyzer german" in info
    assert cli("check", words).code == 0


def test_pages_of_one_depth_fit_together(cli: Cli, words: Path) -> None:
    whole = cli("search", words, "Hund Haus", "--json").json()["hits"]
    pages = [
        cli("search", words, "Hund Haus", "-k", 1, "--offset", at, "--depth", 3, "--json").json()
        for at in range(4)
    ]
    assert [hit for page in pages for hit in page["hits"]] == whole
    beyond = cli("search", words, "Hund", "--offset", 50)
    assert beyond.code == 0 and "the page is empty" in beyond.err
    wrong = cli("search", words, "--queries", "q.jsonl", "--offset", 3)
    assert wrong.code == 2 and "--offset and --depth" in wrong.err


def test_legs_come_and_go(cli: Cli, animals: Path, tmp_path: Path) -> None:
    index = Path(shutil.copytree(animals, tmp_path / "copy"))
    before = cli("search", index, "cats", "--json").json()["hits"]
    added = cli("legs", index, "--add", "bm25", "--title-weight", 2, "--json").json()
    assert set(added["legs"]) == {"sparse", "bm25"} and added["legs"]["bm25"]["title"] == 2
    assert cli("search", index, "cats", "--json").json()["hits"] == before
    assert cli("search", index, "cats", "--mode", "bm25").out.split()[2] == "a"
    again = cli("legs", index, "--add", "bm25")
    assert again.code == 2 and "--remove bm25" in again.err
    anew = cli("legs", index, "--remove", "bm25", "--add", "bm25", "--k1", 2)
    assert anew.code == 0 and "k1 2" in anew.out
    assert cli("add", index, "-", stdin='{"_id": "n", "text": "newts swim"}').code == 0
    assert cli("search", index, "newts", "--mode", "bm25").out.split()[2] == "n"
    assert "bm25" not in cli("legs", index, "--remove", "bm25").out
    refused = cli("search", index, "cats", "--mode", "bm25")
    assert refused.code == 2 and f"lsr legs {index} --add bm25" in refused.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--legs", "bm25,words"], "--legs names 'words'"),
        (["--legs", "bm25,bm25"], "expected different legs"),
        (["--k1", "1.2"], "is not asked for"),
        (["--legs", "bm25", "--model", "bundled"], "--model is about the sparse leg"),
        (["--legs", "bm25", "--passages"], "here nothing is encoded"),
        (["--legs", "bm25", "--analyzer", "klingon"], "no analyzer 'klingon'"),
        (["--legs", "bm25", "--title-weight", "0", "--text-weight", "0"], "one of them above"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_nothing(
    cli: Cli, tmp_path: Path, options: list[str], said: str
) -> None:
    (tmp_path / "d.jsonl").write_text('{"_id": "1", "text": "words"}')
    refused = cli("index", "d.jsonl", "--out", "no", *options)
    assert refused.code == 2 and said in refused.err
    assert not (tmp_path / "no").exists()


def test_a_language_without_stop_words_is_told(
    cli: Cli, animals_jsonl: Path, tmp_path: Path
) -> None:
    says = "there is no list of stop words for"
    options = ("--legs", "sparse,bm25", "--analyzer", "el")
    made = cli("index", animals_jsonl, "--out", "i", *options)
    assert made.code == 0 and f"{says} greek" in made.err and says not in made.out
    for analyzer, is_told in (("tamil", True), ("de", False), ("standard", False)):
        changed = cli("legs", "i", "--remove", "bm25", "--add", "bm25", "--analyzer", analyzer)
        assert changed.code == 0 and (says in changed.err) == is_told, changed.err
