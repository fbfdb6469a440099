from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from toy_encoder import ToyEncoder

from lsr import Document, Index, SparseVectors
from lsr.errors import (
    ConfigError,
    DataError,
    FilterError,
    IndexFormatError,
    LockedError,
    ModelError,
)
from lsr.index.check import check_folder
from lsr.passages import PassageSettings
from lsr.sparse import SparseVector

ANIMALS = [
    Document("a", "Cats", "cats purr", {"year": 2019, "kind": "pet"}),
    Document("b", "Dogs", "dogs bark and cats run", {"year": 2021, "kind": "pet"}),
    Document("c", "Cows", "cows moo", {"year": 2023, "kind": "farm"}),
]


@pytest.fixture
def index(tmp_path: Path, encoder: ToyEncoder) -> Index:
    made = Index.create(tmp_path / "animals", encoder=encoder)
    made.add(ANIMALS)
    made.commit()
    return made


def ids(result: object) -> list[str]:
    return [hit.id for hit in result]  # type: ignore[attr-defined]


def test_search_gives_rank_score_title_text_and_fields(index: Index) -> None:
    result = index.search("cats purr", k=2)
    assert ids(result) == ["a", "b"]
    first = result[0]
    assert (first.rank, first.score, first.title, first.text) == (1, 3.0, "Cats", "cats purr")
    assert first.fields == {"year": 2019, "kind": "pet"}
    assert result.path in {"exact", "scan"}


def test_nothing_is_found_before_commit_and_everything_after(
    tmp_path: Path, encoder: ToyEncoder
) -> None:
    index = Index.create(tmp_path / "x", encoder=encoder)
    index.add(ANIMALS)
    assert (len(index), ids(index.search("cats"))) == (0, [])
    assert index.commit() == 1
    assert (len(index), "a" in index, "z" in index) == (3, True, False)


def test_with_commits_at_the_end_and_rolls_back_on_an_error(
    tmp_path: Path, encoder: ToyEncoder
) -> None:
    with Index.create(tmp_path / "x", encoder=encoder) as index:
        index.add(ANIMALS[:1])
    with (
        pytest.raises(RuntimeError, match="stop"),
        Index.open(tmp_path / "x", encoder=encoder) as index,
    ):
        index.add(ANIMALS[1:])
        raise RuntimeError("stop")
    assert [d.id for d in Index.open(tmp_path / "x", encoder=encoder)] == ["a"]


def test_a_reader_keeps_its_view_until_it_refreshes(index: Index, encoder: ToyEncoder) -> None:
    reader = Index.open(index.path, encoder=encoder)
    index.delete(["a"])
    index.commit()
    assert ids(reader.search("cats")) == ["a", "b"]
    assert reader.get("a") == ANIMALS[0]
    assert reader.refresh() == 2
    assert ids(reader.search("cats")) == ["b"]
    assert reader.get("a") is None


def test_upsert_replaces_and_add_refuses_an_id_that_is_there(index: Index) -> None:
    with pytest.raises(DataError, match="duplicate id 'a'; the index already has it"):
        index.add([Document("a", text="again")])
    index.rollback()
    index.upsert([Document("a", text="fish swim"), Document("d", text="birds sing")])
    index.commit()
    assert len(index) == 4
    assert ids(index.search("purr")) == []
    assert ids(index.search("fish")) == ["a"]


def test_upsert_keeps_the_last_of_two_and_add_refuses_two(index: Index) -> None:
    twice = [Document("e", text="fish"), Document("e", text="birds")]
    with pytest.raises(DataError, match="document:2: duplicate id 'e'; it is also at document:1"):
        index.add(twice)
    index.rollback()
    assert index.upsert(twice) == 1
    index.commit()
    found = index.get("e")
    assert found is not None
    assert found.text == "birds"


def test_deleted_documents_are_never_found_and_leave_the_disk_at_merge(index: Index) -> None:
    assert index.delete(["c", "nobody"]) == 1
    index.commit()
    assert ids(index.search("cows moo")) == []
    index.merge()
    assert index.info().n_deleted == 0
    assert b"moo" not in b"".join(f.read_bytes() for f in index.path.rglob("*") if f.is_file())
    assert ids(index.search("cats")) == ["a", "b"]


def test_filters_keep_k_among_the_documents_that_pass(index: Index) -> None:
    assert ids(index.search("cats dogs cows", filter="year >= 2021")) == ["b", "c"]
    assert ids(index.search("cats dogs cows", filter={"kind": "farm"})) == ["c"]
    assert ids(index.search("cats", filter='kind = "farm"')) == []
    with pytest.raises(FilterError, match="yeer"):
        index.search("cats", filter="yeer > 1")


def test_batch_search_equals_single_searches(index: Index) -> None:
    queries = ["cats", "dogs bark", "nothing here", "cows moo cats"]
    batch = index.search_batch(queries, k=2, threads=2)
    assert [r.hits for r in batch] == [index.search(q, k=2).hits for q in queries]


def test_queries_may_be_text_tokens_term_ids_or_vectors(index: Index) -> None:
    vector = SparseVector(np.array([1], np.uint32), np.array([2.0], np.float32))
    assert [hit.score for hit in index.search(vector)] == [4.0, 2.0]
    assert ids(index.search({"cats": 2.0})) == ids(index.search({1: 2.0})) == ["a", "b"]
    assert ids(index.search({999_999: 1.0})) == []
    assert ids(index.search("")) == []
    with pytest.raises(DataError, match="'unicorn' is not in the vocabulary"):
        index.search({"unicorn": 1.0})
    with pytest.raises(ConfigError, match="not int"):
        index.search(7)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="k is 0"):
        index.search("cats", k=0)


def test_explain_gives_products_that_sum_to_the_score(index: Index) -> None:
    hit = index.search("cats purr")[0]
    why = index.explain("cats purr", hit.id)
    assert why is not None
    assert [(t.token, t.query_weight, t.document_weight) for t in why.terms] == [
        ("cats", 1.0, 2.0),
        ("purr", 1.0, 1.0),
    ]
    assert sum(t.product for t in why.terms) == pytest.approx(hit.score) == why.score
    assert index.explain("cats", "nobody") is None
    nothing = index.explain("moo", "a")
    assert nothing is not None
    assert (nothing.terms, nothing.score) == ((), 0.0)


def test_passages_are_scored_alone_and_their_document_is_the_hit(
    tmp_path: Path, encoder: ToyEncoder
) -> None:
    settings = PassageSettings(max_tokens=4, overlap=0)
    index = Index.create(tmp_path / "p", encoder=encoder, passages=settings)
    text = "Cats purr now. Dogs bark here. Fish swim, fish swim. Birds sing."
    index.add([Document("long", "", text), Document("short", "", "fish"), Document("t", "Cows")])
    index.commit()
    result = index.search("fish swim")
    assert ids(result) == ["long", "short"]
    best = result[0].passage
    assert best is not None
    assert text[best.start : best.end] == best.text
    assert "Fish swim" in best.text
    assert result[0].text == text
    why = index.explain("fish swim", "long")
    assert why is not None
    assert (why.score, why.passage) == (result[0].score, best)
    assert ids(index.search("cows")) == ["t"]
    assert len(index) == 3
    assert index.info().n_rows > 3


def test_ready_made_vectors_need_no_encoder(tmp_path: Path) -> None:
    index = Index.create(tmp_path / "v", encoder=None, vocab_size=8)
    vectors = SparseVectors.from_dicts([{1: 1.0}, {1: 0.5, 2: 2.0}], vocab_size=8)
    index.add([Document("x"), Document("y")], vectors=vectors)
    index.commit()
    reopened = Index.open(tmp_path / "v")
    assert ids(reopened.search({1: 1.0})) == ["x", "y"]
    assert [(ids_, v) for ids_, v in reopened.vectors()] == [(["x", "y"], vectors)]
    why = reopened.explain({2: 1.0}, "y")
    assert why is not None
    assert why.terms[0].token == "2"
    with pytest.raises(ConfigError, match="no encoder"):
        reopened.search("text")
    with pytest.raises(DataError, match="1 documents but 2 vectors"):
        reopened.add([Document("z")], vectors=vectors)


def test_vectors_of_another_vocabulary_are_refused(index: Index) -> None:
    with pytest.raises(DataError, match="vocabulary of 3 terms"):
        index.add([Document("z")], vectors=SparseVectors.from_dicts([{1: 1.0}], vocab_size=3))


def test_exported_vectors_leave_out_the_deleted(index: Index) -> None:
    index.delete(["b"])
    index.commit()
    exported = list(index.vectors(batch=2))
    assert [key for keys, _ in exported for key in keys] == ["a", "c"]
    assert sum(len(vectors) for _, vectors in exported) == 2


def test_another_model_under_the_same_name_is_refused(index: Index) -> None:
    other = ToyEncoder()
    other.fingerprint = "toy-2"
    with pytest.raises(ModelError, match="toy-2"):
        Index.open(index.path, encoder=other)


def test_a_field_keeps_the_type_it_was_first_seen_with(index: Index) -> None:
    with pytest.raises(DataError, match="year"):
        index.add([Document("z", text="cats", fields={"year": "soon"})])


def test_one_writer_at_a_time(index: Index, encoder: ToyEncoder) -> None:
    index.delete(["a"])
    other = Index.open(index.path, encoder=encoder)
    with pytest.raises(LockedError, match="being written by"):
        other.delete(["b"])
    index.commit()
    other.refresh()
    assert other.delete(["b"]) == 1
    other.rollback()
    assert len(other) == 2


def test_mappings_are_read_as_json_lines_are(index: Index) -> None:
    index.add([{"_id": "m", "title": "T", "text": "fish", "year": 1999}])
    index.commit()
    assert index.get("m") == Document("m", "T", "fish", {"year": 1999})
    with pytest.raises(DataError, match="document 1"):
        index.add([{"text": "no id"}])
    with pytest.raises(DataError, match="a Document or a mapping"):
        index.add([7])  # type: ignore[list-item]


def test_creating_twice_and_opening_nothing_say_what_to_do(
    tmp_path: Path, index: Index, encoder: ToyEncoder
) -> None:
    with pytest.raises(ConfigError, match="already"):
        Index.create(index.path, encoder=encoder)
    with pytest.raises(IndexFormatError) as raised:
        Index.open(tmp_path / "nothing")
    assert raised.value.hint is not None
    with pytest.raises(ConfigError, match="vocab_size"):
        Index.create(tmp_path / "v", encoder=None)
    with pytest.raises(ConfigError, match="types are"):
        Index.create(tmp_path / "v", encoder=encoder, field_types={"year": "int"})


def test_a_string_is_not_taken_for_a_list_of_ids(index: Index) -> None:
    with pytest.raises(ConfigError, match="list of ids"):
        index.delete("abc")


def test_info_counts_and_check_finds_nothing_wrong(index: Index) -> None:
    index.delete(["a"])
    index.commit()
    info = index.info()
    assert (info.n_documents, info.n_rows, info.n_deleted, info.n_segments) == (2, 3, 1, 1)
    assert info.fields == {"year": "number", "kind": "string"}
    assert info.bytes > 0
    assert check_folder(index.path).ok


def test_an_empty_index_answers_with_nothing(tmp_path: Path, encoder: ToyEncoder) -> None:
    index = Index.create(tmp_path / "e", encoder=encoder)
    assert len(index.search("cats")) == 0
    assert index.commit() == 0
    assert index.merge() == 0
    assert index.get("a") is None
