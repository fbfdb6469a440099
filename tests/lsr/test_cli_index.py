from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lsr import Index

LINE = '{"_id": "%s", "text": "%s"}\n'


def jsonl(path: Path, **texts: str) -> str:
    path.write_text("".join(LINE % pair for pair in texts.items()), encoding="utf-8")
    return path.name


def vectors(first: int, end: int) -> bytes:
    """Return lines of Anserini's JSON with one term each."""
    lines = (json.dumps({"id": f"d{n}", "vector": {str(n % 50): 1.0}}) for n in range(first, end))
    return "".join(line + "\n" for line in lines).encode()


def test_index_reports_what_it_did(cli: Any, tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", a="cats purr", b="dogs bark")
    found = cli("index", "a.jsonl", "--out", "d", "--json").json()
    assert (found["index"], found["documents"], found["rejected"]) == ("d", 2, 0)
    assert found["documents_per_second"] > 0 and found["peak_memory"] > 10**7


def test_an_index_is_not_overwritten(cli: Any, tmp_path: Path, animals: Path) -> None:
    source = jsonl(tmp_path / "a.jsonl", x="new")
    for extra in ([], ["--restart"], ["--resume"]):
        found = cli("index", source, "--out", animals, *extra)
        assert found.code == 2
        assert "already holds an index, of 3 documents" in found.err
        assert f"hint: lsr add {animals} a.jsonl" in found.err


def test_several_sources_of_several_formats(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"_id": "a", "text": "cats"}\n'))
    (tmp_path / "b.tsv").write_text("_id\ttext\nb\tdogs\n")
    assert cli("index", "a.jsonl.gz", "b.tsv", "--out", "d").code == 0
    assert cli("info", "d", "--json").json()["n_documents"] == 2


def test_standard_input_and_fields_by_flags(cli: Any) -> None:
    line = json.dumps({"sku": 7, "name": "Lamp", "notes": "Brass.", "price": "9.5", "x": 1})
    done = cli(
        "index", "-", "--out", "d", "--id-field", "sku", "--title-field", "name",
        "--text-field", "name", "--text-field", "notes", "--field", "price:number",
        "--keep-fields", "price", stdin=line + "\n",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert cli("get", "d", "7", "--json").json() == {
        "_id": "7", "title": "Lamp", "text": "Lamp Brass.", "price": 9.5,
    }  # fmt: skip


def test_passages_are_searched_and_the_best_is_shown(cli: Any, tmp_path: Path) -> None:
    text = "The sun is a star. " * 20 + "Cats purr at night. " + "The moon is a rock. " * 20
    source = jsonl(tmp_path / "a.jsonl", long=text, short="Dogs bark.")
    done = cli("index", source, "--out", "d", "--passage-tokens", 30, "--passage-overlap", 5)
    assert done.code == 0, done.err
    info = cli("info", "d", "--json").json()
    assert info["n_documents"] == 2 and info["n_rows"] > 5
    best = cli("search", "d", "purring cats", "--json").json()["hits"][0]
    assert best["id"] == "long" and "Cats purr at night." in best["passage"]["text"]


def test_add_refuses_what_is_there_and_upsert_replaces_it(cli: Any, tmp_path: Path) -> None:
    assert cli("index", jsonl(tmp_path / "a.jsonl", a="cats"), "--out", "d").code == 0
    source = jsonl(tmp_path / "b.jsonl", b="dogs", a="cows")
    refused = cli("add", "d", source)
    assert refused.code == 4
    assert "b.jsonl:2: duplicate id 'a'" in refused.err
    assert cli("info", "d", "--json").json()["n_documents"] == 1
    assert cli("add", "d", source, "--upsert", "--restart").code == 0
    assert cli("get", "d", "a", "--json").json()["text"] == "cows"
    assert cli("info", "d", "--json").json()["n_documents"] == 2


def test_a_bad_line_stops_the_build_and_leaves_nothing(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"_id": "a", "text": "cats"}\n{"_id": \n')
    found = cli("index", "a.jsonl", "--out", "d")
    assert found.code == 4
    assert "a.jsonl:2: " in found.err and "--on-error skip" in found.err
    assert not (tmp_path / "d").exists()


def test_skipped_lines_are_counted_and_written_down(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"_id": "a", "text": "cats"}\n{"_id": \n{"text": "x"}\n')
    found = cli("index", "a.jsonl", "--out", "d", "--on-error", "skip", "--json")
    assert found.json()["rejected"] == 2
    assert "d.rejects.jsonl" in found.err
    rejects = (tmp_path / "d.rejects.jsonl").read_text().splitlines()
    assert [json.loads(line)["line"] for line in rejects] == [2, 3]
    chosen = ["--upsert", "--on-error", "skip", "--rejects", "r"]
    assert cli("add", "d", "a.jsonl", *chosen).code == 0
    assert (tmp_path / "r").read_text().count("\n") == 2


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (["none.jsonl"], 2, "none.jsonl"),
        (["text.txt"], 2, "--format"),
        (["a.jsonl", "--model", "./none"], 4, "./none"),
        (["a.jsonl", "--memory", "1MB"], 2, "--memory"),
        (["a.jsonl", "--vectors"], 2, "vocab_size"),
        (["a.jsonl", "--vectors", "--vocab-size", "9", "--passages"], 2, "--passages"),
        (["cut.jsonl.gz"], 4, "cut.jsonl.gz:"),
    ],
)
def test_a_build_that_cannot_be_leaves_nothing(
    cli: Any, tmp_path: Path, arguments: list[str], code: int, part: str
) -> None:
    jsonl(tmp_path / "a.jsonl", a="cats")
    (tmp_path / "text.txt").write_text("cats")
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(os.urandom(999))[:500])
    found = cli("index", *arguments, "--out", "d")
    assert found.code == code, found.err
    assert part in found.err
    assert not (tmp_path / "d").exists()


def test_ready_made_vectors_make_an_index_without_an_encoder(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "v.jsonl").write_bytes(vectors(0, 100))
    assert cli("index", "v.jsonl", "--vectors", "--vocab-size", 50, "--out", "d").code == 0
    found = cli("search", "d", '{"7": 2}', "--vector", "--json").json()["hits"]
    assert [(hit["id"], hit["score"]) for hit in found] == [("d57", 2.0), ("d7", 2.0)]
    refused = cli("search", "d", "cats")
    assert refused.code == 2 and "--vector" in refused.err


def test_a_second_writer_is_refused(cli: Any, tmp_path: Path) -> None:
    source = jsonl(tmp_path / "a.jsonl", a="cats")
    assert cli("index", source, "--out", "d").code == 0
    index = Index.open(tmp_path / "d")
    index.transaction()
    try:
        found = cli("add", "d", jsonl(tmp_path / "b.jsonl", b="dogs"))
    finally:
        index.close()
    assert found.code == 1
    assert str(os.getpid()) in found.err


def test_settings_of_the_folder_and_of_the_environment_are_used(
    cli: Any, tmp_path: Path, animals: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lsr.toml").write_text("k = 1\n")
    assert len(cli("search", animals, "cats", "--json").json()["hits"]) == 1
    monkeypatch.setenv("LSR_K", "2")
    assert len(cli("search", animals, "cats", "--json").json()["hits"]) == 2
    (tmp_path / "lsr.toml").write_text("kk = 1\n")
    found = cli("search", animals, "cats")
    assert found.code == 2 and "'kk' is not a setting" in found.err


def begin_build(folder: Path, *more: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "lsr", "index", "-", "--vectors", "--vocab-size", "50",
         "--out", "d", *more],
        cwd=folder, stdin=subprocess.PIPE, stderr=subprocess.PIPE, stdout=subprocess.PIPE,
        # Tests that were started in the background ignore Ctrl-C, and what they start does, too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def test_an_interrupted_build_goes_on_with_resume(cli: Any, tmp_path: Path) -> None:
    with begin_build(tmp_path) as process:
        assert process.stdin is not None
        process.stdin.write(vectors(0, 30_000))
        process.stdin.flush()
        # The pipe stays open, so the build waits for more once its first checkpoint is written.
        until = time.monotonic() + 60
        while not (tmp_path / "d" / "build.json").exists():
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        process.stdin.close()
        assert process.stderr is not None
        said = process.stderr.read().decode()
    assert process.returncode == 130, said
    assert "--resume goes on" in said and "Traceback" not in said
    assert cli("info", "d", "--json").json()["unfinished_build"] is True

    with begin_build(tmp_path) as process:
        said = process.communicate(vectors(0, 10))[1].decode()
    assert process.returncode == 2 and "--resume" in said and "--restart" in said

    with begin_build(tmp_path, "--resume", "--json") as process:
        out, err = process.communicate(vectors(0, 31_000))
    assert process.returncode == 0, err
    report = json.loads(out)
    assert report["documents"] == 31_000 and report["resumed_documents"] >= 8192
    found = cli("info", "d", "--json").json()
    assert found["n_documents"] == 31_000 and found["unfinished_build"] is False


def test_a_build_interrupted_before_its_first_checkpoint_leaves_nothing(tmp_path: Path) -> None:
    with begin_build(tmp_path) as process:
        until = time.monotonic() + 60
        while not (tmp_path / "d" / "manifest.json").exists():
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.05)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        said = process.communicate()[1].decode()
    assert process.returncode == 130, said
    assert "nothing was kept" in said
    assert not (tmp_path / "d").exists()


def test_restart_begins_again_with_other_settings(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "v.jsonl").write_bytes(vectors(0, 9000) + b"broken\n")
    vectors_of = ["index", "v.jsonl", "--vectors", "--out", "d", "--vocab-size"]
    assert cli(*vectors_of, 50).code == 4
    assert (tmp_path / "d" / "build.json").exists()
    (tmp_path / "v.jsonl").write_bytes(vectors(0, 9000))
    assert cli("index", "v.jsonl", "--out", "d", "--resume").code == 2
    assert cli(*vectors_of, 60, "--restart").code == 0
    assert cli("info", "d", "--json").json()["settings"]["vocab_size"] == 60


def test_blocks_are_asked_for_and_given_up(cli: Any, tmp_path: Path) -> None:
    source = jsonl(tmp_path / "a.jsonl", a="cats purr", b="dogs bark")
    assert cli("index", source, "--out", tmp_path / "i", "--blocks").code == 0

    def blocks() -> Any:
        return cli("info", tmp_path / "i", "--json").json()["settings"]["blocks"]

    assert blocks()["rows"] == 10
    assert cli("merge", tmp_path / "i").code == 0 and blocks() is not None
    assert cli("merge", tmp_path / "i", "--no-blocks").code == 0 and blocks() is None
    assert cli("merge", tmp_path / "i", "--blocks").code == 0 and blocks() is not None


def test_weights_are_rounded_where_that_is_asked_for(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "v.jsonl").write_bytes(vectors(0, 9000) + b"broken\n")
    begun = ["index", "v.jsonl", "--vectors", "--out", "d", "--vocab-size", 50]
    assert cli(*begun, "--dtype", "float16").code == 4
    (tmp_path / "v.jsonl").write_bytes(vectors(0, 9000))
    other = cli(*begun, "--resume")
    assert other.code == 2 and "was begun with --dtype float16" in other.err
    assert cli(*begun, "--dtype", "float16", "--resume").code == 0
    assert cli("info", "d", "--json").json()["settings"]["dtype"] == "float16"
    assert "rounded to float16" in cli("info", "d").out
    wrong = cli(*begun, "--dtype", "int8")
    assert wrong.code == 2 and "float16" in wrong.err
    without = cli("index", "v.jsonl", "--out", "e", "--legs", "bm25", "--dtype", "float16")
    assert without.code == 2 and "--dtype is about the sparse leg" in without.err
