from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from search_cases import random_rows, save, toy_set

from lsr.errors import ConfigError, DataError
from lsr.eval.search_sets import SearchSet, prepare_set
from lsr.eval.search_truth import find_truth
from lsr.sparse import SparseVectors
from lsr.vector_files import write_vectors


def test_archives_are_read_without_the_zeros_of_rounding(tmp_path: Path) -> None:
    source = toy_set(tmp_path / "toy")
    np.savez(
        source / "docs.npz",
        indptr=np.array([0, 2, 3, 3]),
        indices=np.array([5, 2, 7], np.uint16),
        data=np.array([0.5, 0.0, 1.5], np.float16),
        shape=np.array([3, 120]),
    )
    found = prepare_set(str(source), tmp_path / "work")
    assert found.documents.vectors().to_dicts() == [{5: 0.5}, {7: 1.5}, {}]
    assert found.documents.n_terms == 120 and found.queries.n_rows == 12


def test_set_is_laid_out_once_until_its_files_change(tmp_path: Path) -> None:
    source = toy_set(tmp_path / "toy")
    first = prepare_set(str(source), tmp_path / "work")
    (first.folder / "mark").touch()
    assert (prepare_set(str(source), tmp_path / "work").folder / "mark").exists()
    toy_set(source, n_documents=301)
    changed = prepare_set(str(source), tmp_path / "work")
    assert changed.folder != first.folder and changed.documents.n_rows == 301


def test_big_arrays_are_mapped_where_they_are(tmp_path: Path) -> None:
    source, rows = toy_set(tmp_path / "toy"), random_rows(50, 9, 120, 5)
    (source / "docs.npz").unlink()
    np.save(source / "docs.indptr.npy", rows.indptr)
    np.save(source / "docs.indices.npy", rows.terms.astype(np.int32))
    np.save(source / "docs.data.npy", rows.weights)
    found = prepare_set(str(source), tmp_path / "work")
    assert isinstance(found.documents.terms, np.memmap)
    assert found.documents.vectors() == rows
    assert found.documents.rows(10, 12).vectors() == rows.slice(10, 12)
    assert not list(found.folder.glob("documents.*"))
    (source / "docs.data.npy").unlink()
    with pytest.raises(DataError, match=r"docs.data.npy is missing"):
        prepare_set(str(source), tmp_path / "other")


def test_big_arrays_may_have_terms_that_no_query_has_but_must_fit_together(tmp_path: Path) -> None:
    source, rows = toy_set(tmp_path / "toy"), random_rows(50, 9, 120, 5)
    (source / "docs.npz").unlink()
    terms = rows.terms.astype(np.int32)
    np.save(source / "docs.indptr.npy", rows.indptr)
    np.save(source / "docs.indices.npy", np.where(terms == terms.max(), 700, terms))
    np.save(source / "docs.data.npy", rows.weights)
    found = prepare_set(str(source), tmp_path / "work")
    assert found.documents.n_terms == found.queries.n_terms == 701
    assert find_truth(found.documents, found.queries, [3])[3].needed.tolist() == [3] * 12
    np.save(source / "docs.indices.npy", np.where(terms == terms.max(), -1, terms))
    with pytest.raises(DataError, match=r"docs.indices.npy has the term -1"):
        prepare_set(str(source), tmp_path / "other")
    np.save(source / "docs.indices.npy", terms[:-1])
    with pytest.raises(DataError, match=r"rows end at 450; .* 449 terms and 450 weights"):
        prepare_set(str(source), tmp_path / "third")


def test_files_of_vectors_come_with_queries(tmp_path: Path) -> None:
    rows, asked = random_rows(20, 9, 120, 5), random_rows(4, 3, 120, 6)
    documents, queries = tmp_path / "docs.parquet", tmp_path / "queries.parquet"
    write_vectors(documents, "parquet", [([str(row) for row in range(20)], rows)])
    write_vectors(queries, "parquet", [(list("abcd"), asked)])
    found = prepare_set(str(documents), tmp_path / "work", queries=str(queries), n_queries=3)
    assert found.documents.vectors() == rows and found.queries.vectors() == asked.slice(0, 3)
    with pytest.raises(ConfigError, match="no queries were found"):
        prepare_set(str(documents), tmp_path / "work")


def test_limits_take_the_first(tmp_path: Path) -> None:
    found = prepare_set(
        str(toy_set(tmp_path / "toy")), tmp_path / "work", n_documents=10, n_queries=5
    )
    assert (found.documents.n_rows, found.queries.n_rows) == (10, 5)
    assert found.describe()["document_terms"] == 15


def test_set_without_queries_is_refused(tmp_path: Path) -> None:
    source = toy_set(tmp_path / "toy")
    save(source / "queries.npz", SparseVectors.empty(120))
    with pytest.raises(DataError, match="no queries"):
        prepare_set(str(source), tmp_path / "work")
    with pytest.raises(ConfigError, match="no such file"):
        prepare_set(str(source), tmp_path / "other", queries=str(tmp_path / "none.npz"))


def test_corpus_is_encoded_and_its_titles_are_the_queries(tmp_path: Path) -> None:
    corpus = tmp_path / "docs.jsonl"
    lines = [{"_id": f"{n}", "title": f"cat {n}", "text": f"cats purr {n} times"} for n in range(6)]
    corpus.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = prepare_set(str(corpus), tmp_path / "work", model="bundled", n_queries=3, threads=1)
    assert (found.documents.n_rows, found.queries.n_rows) == (6, 3)
    assert found.queries.nnz > 3 and found.documents.n_terms > 30_000
    texts = tmp_path / "queries.tsv"
    texts.write_text("q1\tpurring\n")
    given = prepare_set(
        str(corpus), tmp_path / "work", queries=str(texts), model="bundled", threads=1
    )
    assert given.queries.n_rows == 1
    again = SearchSet.open(given.folder)
    assert again.queries.vectors() == given.queries.vectors()


def test_another_number_of_queries_is_the_same_set(tmp_path: Path) -> None:
    source = str(toy_set(tmp_path / "toy"))
    some = prepare_set(source, tmp_path / "work", n_queries=4)
    more = prepare_set(source, tmp_path / "work", n_queries=9)
    assert some.folder == more.folder
    assert some.queries.vectors() == more.queries.vectors().slice(0, 4)
