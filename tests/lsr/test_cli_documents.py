from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def copy(animals: Path, tmp_path: Path) -> Path:
    """A copy of the animals that a test may change."""
    return Path(shutil.copytree(animals, tmp_path / "copy"))


def test_get_shows_a_document(cli: Any, animals: Path) -> None:
    assert cli("get", animals, "a").out.splitlines() == [
        "a  Cats", "year: 2020", "", "Cats purr when they are happy.",
    ]  # fmt: skip
    assert cli("get", animals, "b", "--json").json() == {
        "_id": "b", "title": "Dogs", "text": "Dogs bark at strangers.", "year": 2021,
    }  # fmt: skip
    missing = cli("get", animals, "zz")
    assert (missing.code, missing.out) == (1, "") and "'zz'" in missing.err


def test_documents_that_would_harm_a_terminal_do_not(cli: Any, tmp_path: Path) -> None:
    bad = {"_id": "x", "title": "T\u009b2J", "text": "cats \x1b[31m purr\u202e", "f": "\x1b]0;\x07"}
    (tmp_path / "a.jsonl").write_text(json.dumps(bad) + "\n")
    made = cli("index", "a.jsonl", "--out", "d")
    assert made.code == 0, made.err
    for command in (
        ["get", "d", "x"], ["get", "d", "x", "--json"], ["search", "d", "cats purr"],
        ["search", "d", "cats purr", "--json"], ["info", "d"], ["explain", "d", "cats", "x"],
    ):  # fmt: skip
        shown = cli(*command).out
        assert shown
        assert not set(shown) & {"\x1b", "\x9b", "\x07", "\u202e"}


def test_delete_by_id_file_and_filter(cli: Any, copy: Path, tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("b\nnone\n\n")
    found = cli("delete", copy, "a", "a", "--ids", "ids.txt", "--json").json()
    assert (found["deleted"], found["not_found"]) == (2, 1)
    assert cli("get", copy, "a").code == 1
    dry = cli("delete", copy, "--filter", "year = 2022", "--dry-run", "--json").json()
    assert (dry["deleted"], dry["would_delete"]) == (0, 1)
    assert cli("get", copy, "c").code == 0
    assert "deleted 1" in cli("delete", copy, "--filter", "year = 2022").err
    assert cli("search", copy, "cats dogs cows").out == ""
    assert cli("delete", copy, "--ids", "-", stdin="a\n").err.endswith(
        "deleted 0; 1 were not there\n"
    )


def test_deleted_text_leaves_the_disk_with_merge(cli: Any, copy: Path) -> None:
    def on_disk() -> bytes:
        return b"".join(path.read_bytes() for path in copy.rglob("*") if path.is_file())

    assert cli("delete", copy, "b").code == 0
    assert b"strangers" in on_disk()
    found = cli("merge", copy, "--json").json()
    assert found["bytes"][1] <= found["bytes"][0]
    assert b"strangers" not in on_disk()
    assert cli("info", copy, "--json").json()["n_deleted"] == 0
    assert "segments became 1" in cli("merge", copy).err


def test_info_says_what_is_there(cli: Any, animals: Path) -> None:
    found = cli("info", animals, "--json").json()
    assert found["n_documents"] == 3 and found["fields"] == {"year": "number"}
    assert found["settings"]["encoder"]["name"] == "bundled"
    shown = cli("info", animals).out
    for part in ("documents            3", "mit", "year:number", "bytes a document"):
        assert part in shown


def test_check_finds_a_sound_index_sound(cli: Any, animals: Path) -> None:
    found = cli("check", animals)
    assert (found.code, found.out) == (0, "") and "is sound: 3 documents" in found.err
    assert cli("check", animals, "--json").json()["sound"] is True


def test_check_names_the_damaged_file_with_code_4(cli: Any, copy: Path) -> None:
    victim = max(copy.rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(bytes(data))
    found = cli("check", copy)
    assert found.code == 4
    assert victim.name in found.out and "is damaged" in found.err
    as_json = cli("check", copy, "--json")
    assert as_json.code == 4 and json.loads(as_json.out)["sound"] is False
    assert cli("search", copy, "cats").code == 4


def test_check_lists_orphans_when_asked(cli: Any, copy: Path) -> None:
    (copy / "stray.bin").write_bytes(b"x")
    assert "stray.bin" not in cli("check", copy).out
    found = cli("check", copy, "--orphans")
    assert found.code == 0 and "stray.bin" in found.out


def test_the_encoder_must_be_the_one_of_the_index(cli: Any, copy: Path, tmp_path: Path) -> None:
    import lsr

    other = shutil.copytree(Path(lsr.__file__).parent / "bundled", tmp_path / "other")
    text = (other / "config.json").read_text()
    settings = json.loads(text)
    settings["layer_norm_eps"] = 0.1
    (other / "config.json").write_text(json.dumps(settings))
    found = cli("search", copy, "cats", "--model", other)
    assert found.code == 4
    assert "fingerprint" in found.err or "another model" in found.err
