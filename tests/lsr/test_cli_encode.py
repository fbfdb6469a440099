from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lsr.vector_files import read_vectors


def test_a_text_is_shown_with_its_heaviest_term_first(cli: Any) -> None:
    lines = cli("encode", "best pizza in town").out.splitlines()
    weights = [float(line.split()[0]) for line in lines]
    assert lines[0].split()[1] == "pizza"
    assert weights == sorted(weights, reverse=True)


def test_lines_of_standard_input_are_texts(cli: Any) -> None:
    found = cli("encode", "-", "--side", "query", "--json", stdin="cats\ndogs\n").out.splitlines()
    assert [json.loads(line)["text"] for line in found] == ["cats", "dogs"]
    assert {"token", "term", "weight"} == set(json.loads(found[0])["terms"][0])
    assert cli("encode", "-", stdin="\n").code == 2


@pytest.mark.parametrize("name", ["v.parquet", "v.npz", "v.jsonl", "v.jsonl.gz", "folder"])
def test_a_corpus_becomes_a_file_of_vectors(
    cli: Any, animals: Path, animals_jsonl: Path, tmp_path: Path, name: str
) -> None:
    made = cli("encode", animals_jsonl, "--out", name, "--json").json()
    assert made["vectors"] == 3
    exported = cli("export", animals, "--out", f"x{name}", "--json").json()
    assert exported["vectors"] == 3
    from lsr.encoder import load_encoder

    vocabulary = load_encoder().vocabulary if "jsonl" in name else None

    def rows(file: str) -> dict[str, dict[int, float]]:
        found = read_vectors(tmp_path / file, vocabulary=vocabulary, vocab_size=30522)
        return {
            identity: row
            for batch in found
            for identity, row in zip(batch.ids, batch.vectors.to_dicts(), strict=True)
        }

    assert rows(name) == rows(f"x{name}")
    assert set(rows(name)) == {"a", "b", "c"}


def test_vectors_go_round_into_an_index_that_answers_alike(
    cli: Any, animals: Path, animals_jsonl: Path
) -> None:
    assert cli("encode", animals_jsonl, "--out", "v.parquet").code == 0
    made = cli("index", "v.parquet", "--vectors", "--model", "bundled", "--out", "d")
    assert made.code == 0, made.err

    def scores(index: object) -> list[tuple[str, float]]:
        hits = cli("search", index, "happy cats", "--json").json()["hits"]
        return [(hit["id"], hit["score"]) for hit in hits]

    assert scores("d") == scores(animals) != []


def test_queries_are_encoded_as_queries(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "q.tsv").write_text("q1\tcats\n")
    assert cli("encode", "q.tsv", "--side", "query", "--out", "q").code == 0
    [batch] = read_vectors(tmp_path / "q", side="queries")
    assert batch.ids == ["q1"]


def test_an_export_may_hold_integers(cli: Any, animals: Path, tmp_path: Path) -> None:
    assert cli("export", animals, "--out", "v.jsonl", "--scale", 100).code == 0
    first = json.loads((tmp_path / "v.jsonl").read_text().splitlines()[0])
    assert all(isinstance(weight, int) for weight in first["vector"].values())


@pytest.mark.parametrize("command", [["encode", "a.jsonl"], ["export", "d"]])
def test_a_name_that_tells_no_format_is_refused(cli: Any, command: list[str]) -> None:
    found = cli(*command, "--out", "v.xyz")
    assert found.code == 2 and "format" in found.err


def test_a_bad_line_leaves_no_file_of_vectors(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"_id": "a", "text": "cats"}\n{"_id": \n')
    assert cli("encode", "a.jsonl", "--out", "v.parquet").code == 4
    assert not (tmp_path / "v.parquet").exists()
    skipped = cli("encode", "a.jsonl", "--out", "v.parquet", "--on-error", "skip", "--json")
    assert (skipped.json()["vectors"], skipped.json()["rejected"]) == (1, 1)


def test_a_stopped_encoding_goes_on_from_its_last_part(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lsr.cli_encode._BATCH", 2)
    lines = [f'{{"_id": "d{i}", "text": "number {i}"}}\n' for i in range(7)]
    (tmp_path / "a.jsonl").write_text("".join(lines[:5]) + "{broken\n" + lines[6])
    assert cli("encode", "a.jsonl", "--out", "v.parquet").code == 4
    parts = tmp_path / "v.parquet.parts"
    assert len(list(parts.glob("part-*.parquet"))) == 2
    (tmp_path / "a.jsonl").write_text("".join(lines))
    again = cli("encode", "a.jsonl", "--out", "v.parquet")
    assert again.code == 2 and "--resume" in again.err
    other = cli("encode", "a.jsonl", "--out", "v.parquet", "--resume", "--side", "query")
    assert other.code == 2 and "another encoding" in other.err
    done = cli("encode", "a.jsonl", "--out", "v.parquet", "--resume", "--json")
    assert done.json()["vectors"] == 7
    assert not parts.exists()
    assert cli("encode", "a.jsonl", "--out", "w.parquet").code == 0
    assert (tmp_path / "v.parquet").read_bytes() == (tmp_path / "w.parquet").read_bytes()


@pytest.mark.slow
def test_bench_encode_makes_a_table(cli: Any, animals_jsonl: Path) -> None:
    found = cli("bench", "encode", animals_jsonl, "--rounds", 1, "--no-peers")
    assert found.code == 0, found.err
    assert found.out.startswith("| encoder |") and "| lsr " in found.out


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_a_corpus_is_expanded_by_words_that_its_texts_lack(
    cli: Any, animals_jsonl: Path, tmp_path: Path
) -> None:
    made = cli("expand", animals_jsonl, "--out", "x.jsonl", "--terms", 3, "--json").json()
    assert made["documents"] == 3
    before, after = read(animals_jsonl), read(tmp_path / "x.jsonl")
    assert not list(tmp_path.glob("x.jsonl.partial*"))
    for old, new in zip(before, after, strict=True):
        assert {**old, "title": old.get("title", "")}.items() <= new.items()
        assert len(set(new["added_terms"])) == 3
        assert not set(new["added_terms"]) & set(f"{old['text']}".lower().split())
    again = cli("expand", "x.jsonl", "--out", "y.jsonl", "--terms", 2, "--stop-words", "en")
    assert again.code == 0
    for new, more in zip(after, read(tmp_path / "y.jsonl"), strict=True):
        assert more["added_terms"][:3] == new["added_terms"] and len(more["added_terms"]) == 5
    assert cli("index", "x.jsonl", "--out", "d").code == 0
    assert cli("search", "d", "cats", "--json").json()["hits"]


def test_an_expansion_goes_on_after_the_last_whole_line(
    cli: Any, animals_jsonl: Path, tmp_path: Path
) -> None:
    command = "expand", animals_jsonl, "--out", "x.jsonl", "--terms", 3
    assert cli(*command).code == 0
    whole = (tmp_path / "x.jsonl").read_bytes()
    cli(*command, "--model", tmp_path / "none")  # fails before anything is written
    (tmp_path / "bad.jsonl").write_text("{\n")
    for _ in range(2):  # what finished nothing has nothing to resume
        bad = cli("expand", "bad.jsonl", "--out", "b.jsonl")
        assert bad.code == 4 and "bad.jsonl:1" in bad.err
    first = whole.splitlines(keepends=True)[0]
    from lsr.encoder import load_encoder

    about = {"source": str(animals_jsonl), "model": load_encoder().fingerprint, "terms": 3}
    (tmp_path / "x.jsonl.partial").write_bytes(first + b'{"_id": "b", "te')
    notes = tmp_path / "x.jsonl.partial.json"
    notes.write_text(json.dumps({**about, "stop": "english"}))
    stopped = cli(*command)
    assert stopped.code == 2 and "--resume" in stopped.err
    other = cli(*command, "--resume")
    assert other.code == 2 and "another expansion" in other.err
    notes.write_text(json.dumps({**about, "stop": None}))
    assert cli(*command, "--resume").code == 0
    assert (tmp_path / "x.jsonl").read_bytes() == whole
    assert not notes.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "x.parquet"], "a .jsonl file is expected"),
        (["--out", "x.jsonl", "--stop-words", "klingon"], "no list of stop words for 'klingon'"),
    ],
)
def test_an_expansion_that_cannot_be_says_why(
    cli: Any, animals_jsonl: Path, options: list[str], message: str
) -> None:
    found = cli("expand", animals_jsonl, *options)
    assert found.code == 2 and message in found.err
