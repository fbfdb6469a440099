from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lsr.encoder import load_encoder
from lsr.vector_files import read_vectors


def rows(path: Path, **options: Any) -> dict[str, dict[int, float]]:
    options.setdefault("vocabulary", load_encoder().vocabulary)
    return {
        id: row
        for batch in read_vectors(path, **options)
        for id, row in zip(batch.ids, batch.vectors.to_dicts(), strict=True)
    }


@pytest.mark.parametrize("name", ["v.ciff", "v.ciff.gz", "v.jsonl.gz", "v.parquet", "v.npz", "v"])
def test_an_exported_index_becomes_an_index_that_answers_alike(
    cli: Any, animals: Path, name: str
) -> None:
    scaled = ["--scale", 10_000] if "ciff" in name or "jsonl" in name else []
    made = cli("export", animals, "--out", name, *scaled, "--json").json()
    assert made["vectors"] == 3
    again = cli("index", name, "--vectors", "--model", "bundled", "--out", "again", *scaled)
    assert again.code == 0, again.err

    def scores(index: object) -> dict[str, float]:
        hits = cli("search", index, "happy cats", "--json").json()["hits"]
        return {hit["id"]: hit["score"] for hit in hits}

    assert scores("again") == pytest.approx(scores(animals), rel=2e-3)
    assert list(scores("again")) == list(scores(animals)) != []


def test_what_rounding_loses_is_told(cli: Any, animals: Path) -> None:
    found = cli("export", animals, "--out", "v.ciff", "--scale", 3)
    assert found.code == 0
    assert "3 vectors in v.ciff; weights x 3, rounded: " in found.err
    lost = cli("export", animals, "--out", "v.ciff", "--scale", 3, "--json").json()["rounding"]
    assert lost["scale"] == 3 and 0 < lost["zeros"] < 1 and 0 < lost["error"] < 1
    usual = cli("export", animals, "--out", "v.ciff", "--json").json()["rounding"]
    assert usual["scale"] == 100 and usual["zeros"] < lost["zeros"]
    assert cli("export", animals, "--out", "v.npz", "--json").json()["rounding"] is None
    refused = cli("export", animals, "--out", "v.npz", "--scale", 3)
    assert refused.code == 2 and "npz holds weights as they are" in refused.err


def test_terms_are_named_by_text_or_by_id(cli: Any, animals: Path, tmp_path: Path) -> None:
    assert cli("export", animals, "--out", "t.jsonl", "--scale", 100).code == 0
    assert cli("export", animals, "--out", "i.ciff", "--tokens", "id").code == 0
    by_text = rows(tmp_path / "t.jsonl", scale=100)
    assert "cats" in json.loads((tmp_path / "t.jsonl").read_text().splitlines()[0])["vector"]
    assert rows(tmp_path / "i.ciff", vocabulary=None, vocab_size=30522, scale=100) == by_text


def test_an_index_of_vectors_is_named_by_a_file(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "v.jsonl").write_text('{"id": "a", "vector": {"dog": 150, "cat": 25}}\n')
    (tmp_path / "vocab.txt").write_text("[PAD]\ncat\ndog\n")
    options = ["--vectors", "--vocabulary", "vocab.txt", "--scale", 100]
    made = cli("index", "v.jsonl", *options, "--out", "d")
    assert made.code == 0, made.err
    [hit] = cli("search", "d", "--vector", '{"2": 2.0}', "--json").json()["hits"]
    assert (hit["id"], hit["score"]) == ("a", 3.0)
    assert cli("export", "d", "--out", "o.jsonl", "--vocabulary", "vocab.txt").code == 0
    line = json.loads((tmp_path / "o.jsonl").read_text())
    assert line["vector"] == {"cat": 0.25, "dog": 1.5}
    assert cli("export", "d", "--out", "n.jsonl").code == 0
    assert json.loads((tmp_path / "n.jsonl").read_text())["vector"] == {"1": 0.25, "2": 1.5}
    (tmp_path / "short.txt").write_text("[PAD]\ncat\n")
    refused = cli("export", "d", "--out", "o.jsonl", "--vocabulary", "short.txt")
    assert refused.code == 2 and "no token for 1 of the index's 3 terms" in refused.err
    added = cli("add", "d", "v.jsonl", *options, "--upsert")
    assert added.code == 0, added.err


def test_options_for_vectors_are_for_vectors(cli: Any, animals_jsonl: Path) -> None:
    refused = cli("index", animals_jsonl, "--out", "d", "--scale", 100)
    assert refused.code == 2 and "give --vectors, too" in refused.err
    assert not Path("d").exists()


def test_a_bad_ciff_file_makes_no_index(cli: Any, animals: Path, tmp_path: Path) -> None:
    assert cli("export", animals, "--out", "v.ciff").code == 0
    (tmp_path / "v.ciff").write_bytes((tmp_path / "v.ciff").read_bytes()[:-30])
    made = cli("index", "v.ciff", "--vectors", "--model", "bundled", "--out", "d")
    assert made.code == 4
    assert "v.ciff: byte " in made.err and "the file ends inside" in made.err
    assert not (tmp_path / "d").exists()


def test_passages_are_documents_with_a_number(cli: Any, tmp_path: Path) -> None:
    text = "Cats purr when they are happy. Dogs bark at strangers. Cows moo in the meadow."
    lines = [{"_id": "a", "text": text}, {"_id": "b", "text": "Cats."}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    short = ["--passage-tokens", 8, "--passage-overlap", 0]
    assert cli("index", "a.jsonl", "--out", "d", *short).code == 0
    assert cli("export", "d", "--out", "v.parquet").code == 0
    ids = list(rows(tmp_path / "v.parquet"))
    assert ids[:2] == ["a#0", "a#1"] and ids[-1] == "b#0" and len(set(ids)) == len(ids)


def test_anserini_gets_a_folder_when_it_is_asked_for_one(
    cli: Any, animals: Path, tmp_path: Path
) -> None:
    made = cli("export", animals, "--out", "folder", "--format", "anserini", "--scale", 100)
    assert made.code == 0, made.err
    assert list(rows(tmp_path / "folder", scale=100)) == ["a", "b", "c"]


def test_the_old_name_of_the_command_still_works(cli: Any, animals: Path) -> None:
    assert cli("export-vectors", animals, "--out", "v.npz", "--json").json()["vectors"] == 3
