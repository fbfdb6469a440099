"""Datasets: BEIR folders, ids of ir_datasets, own files, and what does not fit together."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import eval_cases
import pytest

from lsr.errors import ConfigError, DataError
from lsr.eval.datasets import load_dataset, scan_corpus


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    return eval_cases.write_dataset(tmp_path / "toy")


def test_a_beir_folder_is_read(beir: Path) -> None:
    found = load_dataset(str(beir))
    assert (found.name, found.split, found.slug) == ("toy", "test", "toy-test")
    assert len(found.queries) == 12 and found.qrels.n_judgements == 36
    assert found.notes == ()
    facts = scan_corpus(found)
    assert facts.n_documents == 40 and not facts.shares_ids and facts.notes == ()


def test_the_hash_follows_the_content_and_not_the_place(beir: Path, tmp_path: Path) -> None:
    facts = scan_corpus(load_dataset(str(beir)))
    other = eval_cases.write_dataset(tmp_path / "again")
    corpus = (other / "corpus.jsonl").read_bytes()
    (other / "corpus.jsonl").unlink()
    (other / "corpus.jsonl.gz").write_bytes(gzip.compress(corpus))
    again = scan_corpus(load_dataset(str(other)))
    assert (again.hash, again.corpus_hash) == (facts.hash, facts.corpus_hash)
    with (other / "qrels" / "test.tsv").open("a") as judged:
        judged.write("q1\td39\t1\n")
    changed = scan_corpus(load_dataset(str(other)))
    assert changed.hash != facts.hash and changed.corpus_hash == facts.corpus_hash


def test_the_only_split_is_taken_and_several_are_asked_for(beir: Path) -> None:
    (beir / "qrels" / "test.tsv").rename(beir / "qrels" / "dev.tsv")
    assert load_dataset(str(beir)).split == "dev"
    (beir / "qrels" / "train.tsv").write_text("q1\td1\t1\n")
    with pytest.raises(ConfigError, match="has no split 'test'") as caught:
        load_dataset(str(beir))
    assert caught.value.hint == "--split dev|train"
    assert load_dataset(str(beir), split="train").split == "train"


def test_own_files_need_queries_and_judgements(beir: Path) -> None:
    corpus, queries = str(beir / "corpus.jsonl"), str(beir / "queries.jsonl")
    with pytest.raises(ConfigError, match="is no BEIR folder"):
        load_dataset(corpus, queries=queries)
    found = load_dataset(corpus, queries=queries, qrels=str(beir / "qrels" / "test.tsv"))
    assert found.name == "corpus" and len(found.queries) == 12
    with pytest.raises(ConfigError, match="there is no such folder or file"):
        load_dataset(str(beir / "nothing"))


def test_queries_and_judgements_that_do_not_meet_are_counted_or_refused(beir: Path) -> None:
    qrels = beir / "qrels" / "test.tsv"
    qrels.write_text("q1\td1\t1\nq2\td2\t1\nx7\td1\t1\n")
    notes = load_dataset(str(beir)).notes
    assert notes[0] == "10 of 12 queries have no judgements and are left out"
    assert notes[1].startswith("1 of 3 judged queries have no text (such as 'x7')")
    qrels.write_text("x7\td1\t1\n")
    with pytest.raises(DataError, match="none of the 12 queries is judged; they have ids such as"):
        load_dataset(str(beir))


def test_judged_documents_that_are_not_in_the_corpus(beir: Path) -> None:
    qrels = beir / "qrels" / "test.tsv"
    qrels.write_text("q1\td1\t1\nq1\tnone\t1\n")
    [note] = scan_corpus(load_dataset(str(beir))).notes
    assert note.startswith("1 of 2 judged documents are not in the corpus (such as 'none')")
    qrels.write_text("q1\tnone\t1\n")
    with pytest.raises(DataError, match="none of the 1 judged documents of toy is in the corpus"):
        scan_corpus(load_dataset(str(beir)))


def test_a_bad_line_of_the_corpus_is_named(beir: Path) -> None:
    with (beir / "corpus.jsonl").open("a") as corpus:
        corpus.write("{oops\n")
    with pytest.raises(DataError, match=r"corpus\.jsonl:41: malformed JSON"):
        scan_corpus(load_dataset(str(beir)))


@pytest.mark.parametrize("same_text", [True, False])
def test_identical_ids_are_dropped_where_the_texts_are_equal(
    tmp_path: Path, same_text: bool
) -> None:
    """ArguAna asks with its own documents; in Cranfield query 1 and document 1 just share a 1."""
    folder = tmp_path / "set"
    (folder / "qrels").mkdir(parents=True)
    texts = [f"argument number {at}" for at in range(4)]
    asked = texts if same_text else [f"question {at}" for at in range(4)]
    for name, lines in (("corpus", texts), ("queries", asked)):
        rows = [json.dumps({"_id": str(at), "text": text}) for at, text in enumerate(lines)]
        (folder / f"{name}.jsonl").write_text("\n".join(rows))
    (folder / "qrels" / "test.tsv").write_text("0\t1\t1\n1\t2\t1\n2\t3\t1\n3\t0\t1\n")
    dataset = load_dataset(str(folder))
    facts = scan_corpus(dataset)
    assert facts.shares_ids and facts.drop_identical == same_text
    assert ("are dropped" if same_text else "are kept") in facts.notes[0]
    assert scan_corpus(dataset, "drop").drop_identical
    assert not scan_corpus(dataset, "keep").drop_identical
    assert not scan_corpus(replace(dataset, queries={"x": "y"}), "auto").shares_ids


def test_bad_records_are_left_out_and_counted_when_asked(beir: Path) -> None:
    with (beir / "corpus.jsonl").open("a") as corpus:
        corpus.write('{"_id": "empty", "text": ""}\n{oops\n')
    facts = scan_corpus(load_dataset(str(beir), on_error="skip"))
    assert facts.n_documents == 40
    assert facts.notes[0] == "2 bad record(s) of the corpus are left out"


#: ir_datasets fixes its home when it is imported, so this runs in a process of its own.
IRDS = """
from lsr.eval.datasets import load_dataset, scan_corpus
found = load_dataset("irds:cranfield", on_error="skip")
facts = scan_corpus(found)
print(found.slug, len(found.queries), found.qrels.n_judgements, facts.n_documents)
print(*facts.notes, sep="\\n")
"""


def test_a_dataset_of_ir_datasets(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "cranfield").mkdir()
    archive = shared / "data" / "irds-home" / "cranfield" / "cran.tar.gz"
    shutil.copy(archive, tmp_path / "cranfield")
    places = {"IR_DATASETS_HOME": str(tmp_path), "IR_DATASETS_TMP": str(tmp_path / "tmp")}
    done = subprocess.run(
        [sys.executable, "-c", IRDS], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, **places, "LSR_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, *notes = done.stdout.splitlines()
    assert first == "irds-cranfield-default 225 1837 1398"
    assert notes[0] == "2 bad record(s) of the corpus are left out"


def test_the_forums_of_cqadupstack_are_named_with_it(beir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "CQADupStack" / "android"
    shutil.copytree(beir, folder)
    assert load_dataset(str(folder)).name == "cqadupstack/android"
