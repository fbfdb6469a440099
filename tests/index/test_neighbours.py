"""Rerank and neighbours, held to brute force over every history of an index."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_cases import fast_folder
from toy_encoder import ToyEncoder

from lsr import Document, Index, SparseVectors
from lsr.errors import ConfigError, DataError
from lsr.index.exact import exact_search
from lsr.index.search import load_kernels
from lsr.passages import PassageSettings
from lsr.sparse import SparseVector

VOCAB = 12
ROW = st.dictionaries(st.integers(0, VOCAB - 1), st.sampled_from([0.25, 1.0, 1 / 3, 2.5]))
Rows = dict[str, dict[int, float]]
Groups = list[tuple[Rows, list[str]]]


@st.composite
def histories(draw: st.DrawFn) -> Groups:
    """Commits of an index: rows by id, and what is deleted after; ids may come again later."""
    groups: Groups = []
    known: set[str] = set()
    for _ in range(draw(st.integers(1, 3))):
        rows = draw(st.dictionaries(st.sampled_from("abcdefghij"), ROW, min_size=1))
        known |= rows.keys()
        gone = draw(st.lists(st.sampled_from(sorted(known)), max_size=3, unique=True))
        known -= set(gone)
        groups.append((rows, gone))
    return groups


def is_even(id: str) -> bool:
    return ord(id[0]) % 2 == 0


def vectors_of(rows: list[dict[int, float]]) -> SparseVectors:
    return SparseVectors.from_dicts(rows, vocab_size=VOCAB)


def made(path: Path, groups: Groups) -> tuple[Index, Rows]:
    """Return an index with that history, and what is live in it at the end."""
    index = Index.create(path, encoder=None, vocab_size=VOCAB)
    live: Rows = {}
    for rows, gone in groups:
        documents = [Document(id, fields={"even": is_even(id)}) for id in rows]
        index.upsert(documents, vectors=vectors_of(list(rows.values())))
        index.delete(gone)
        index.commit()
        live = {id: row for id, row in (live | rows).items() if id not in gone}
    return index, live


def product(left: dict[int, float], right: dict[int, float]) -> float:
    """Return the inner product as every way of searching defines it: float32, terms ascending."""
    total = np.float32(0)
    for term in sorted(left.keys() & right.keys()):
        total += np.float32(left[term]) * np.float32(right[term])
    return float(total)


def best(live: Rows, query: dict[int, float], k: int) -> list[tuple[str, float]]:
    scored = [(id, product(query, row)) for id, row in live.items()]
    return sorted((one for one in scored if one[1] > 0), key=lambda one: (-one[1], one[0]))[:k]


@given(histories(), ROW, st.integers(0, 2**32))
@settings(deadline=None, max_examples=60)
def test_scores_are_those_of_search_for_any_list_of_ids(
    groups: Groups, query: dict[int, float], seed: int
) -> None:
    load_kernels()
    with fast_folder() as folder:
        index, live = made(folder / "index", groups)
        rng = np.random.default_rng(seed)
        asked = [str(id) for id in rng.choice(list("abcdefghijxyz"), 20)]
        found = index.score(query, asked, missing=-7.0)
        assert found == [product(query, live[id]) if id in live else -7.0 for id in asked]
        scores = dict(zip(asked, found, strict=True))
        for hit in index.search(query, k=100):
            assert scores.get(hit.id, hit.score) == hit.score


@given(histories(), st.integers(1, 4), st.booleans())
@settings(deadline=None, max_examples=60)
def test_neighbours_are_the_k_best_others(groups: Groups, k: int, filtered: bool) -> None:
    load_kernels()
    with fast_folder() as folder:
        index, live = made(folder / "index", groups)
        for id, row in live.items():
            others = {
                other: found
                for other, found in live.items()
                if other != id and (not filtered or is_even(other))
            }
            result = index.more_like(id, k=k, filter="even = true" if filtered else None)
            assert [(hit.id, hit.score) for hit in result] == best(others, row, k)
            assert [hit.rank for hit in result] == list(range(1, len(result) + 1))


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    rows: Rows = {"a": {1: 1.0, 2: 2.0}, "b": {2: 0.5}, "c": {3: 1.0}, "empty": {}}
    opened, _ = made(tmp_path / "index", [(rows, [])])
    yield opened
    opened.close()


def test_an_unknown_id_is_named_unless_it_has_a_score(index: Index) -> None:
    assert index.score({2: 2.0}, ["b", "a", "b", "c", "empty"]) == [1.0, 4.0, 1.0, 0.0, 0.0]
    with pytest.raises(DataError, match=r"no document 'x' \(and 1 more of the 3 ids\)") as caught:
        index.score({2: 2.0}, ["a", "x", "y"])
    assert "missing=" in str(caught.value.hint)
    assert index.score({2: 2.0}, ["x", "a"], missing=0.0) == [0.0, 4.0]
    assert index.score({2: 2.0}, ["x", "a"], missing=float("-inf")) == [float("-inf"), 4.0]
    assert index.score({2: 2.0}, []) == []
    index.delete(["a"])
    index.commit()
    with pytest.raises(DataError, match="no document 'a'"):
        index.score({2: 2.0}, ["a"])
    with pytest.raises(DataError, match="no document 'a'"):
        index.more_like("a")


@pytest.mark.parametrize("query", [{}, {99: 1.0}, {4: 1.0}])
def test_a_query_that_shares_no_term_scores_zero(index: Index, query: dict[int, float]) -> None:
    assert index.score(query, ["a", "empty"]) == [0.0, 0.0]


def test_arguments_of_another_kind_are_refused(index: Index) -> None:
    with pytest.raises(ConfigError, match="a list of ids"):
        index.score({2: 1.0}, "abc")
    wrong: Any = ["a", 7]
    with pytest.raises(DataError, match="id 1 of 2 is 7; a string is expected"):
        index.score({2: 1.0}, wrong)
    with pytest.raises(ConfigError, match="k is 0"):
        index.more_like("a", k=0)
    with pytest.raises(DataError, match="no document 'x'"):
        index.more_like("x")


def test_a_document_without_neighbours_has_none(index: Index) -> None:
    for id in ("c", "empty"):
        assert list(index.more_like(id)) == []
    assert [hit.id for hit in index.more_like("a")] == ["b"]


def test_scores_and_neighbours_are_of_the_readers_own_view(index: Index) -> None:
    reader = Index.open(index.path)
    index.upsert([Document("b")], vectors=vectors_of([{3: 9.0}]))
    index.commit()
    assert reader.score({2: 2.0, 3: 1.0}, ["b"]) == [1.0]
    assert [hit.id for hit in reader.more_like("a")] == ["b"]
    reader.refresh()
    assert reader.score({2: 2.0, 3: 1.0}, ["b"]) == [9.0]
    assert [hit.id for hit in reader.more_like("c")] == ["b"]


@pytest.fixture
def passages(tmp_path: Path, encoder: ToyEncoder) -> Index:
    settings = PassageSettings(max_tokens=3, overlap=0)
    index = Index.create(tmp_path / "passages", encoder=encoder, passages=settings)
    index.add(
        [
            Document("cats", "", "Cats purr, purr. Dogs bark. Cats cats cats."),
            Document("fish", "", "Fish swim."),
            Document("mixed", "", "Fish swim swim. Purr purr purr."),
            Document("dogs", "", "Bark bark bark. Moo."),
        ]
    )
    index.commit()
    return index


def test_the_best_passage_counts(passages: Index) -> None:
    every = ["mixed", "cats", "fish", "cats"]
    for query in ("cats purr", "swim", "purr fish dogs", "moo"):
        found = dict(zip(every, passages.score(query, every), strict=True))
        hits = {hit.id: hit.score for hit in passages.search(query)}
        assert found == {id: hits.get(id, 0.0) for id in every}


def test_neighbours_of_passages_share_the_largest_weight_of_each_term(passages: Index) -> None:
    live = passages._view.snapshot.segments
    weights: dict[int, float] = {}
    for ids, vectors in passages.vectors():
        for id, row in zip(ids, vectors.to_dicts(), strict=True):
            if id == "cats":
                weights = {term: max(w, weights.get(term, 0.0)) for term, w in row.items()} | {
                    term: w for term, w in weights.items() if term not in row
                }
    [query] = SparseVectors.from_dicts([weights], vocab_size=passages.settings.vocab_size)
    expected = [
        (hit.id, hit.score)
        for hit in exact_search(live, SparseVector(*query), 10)
        if hit.id != "cats"
    ]
    result = passages.more_like("cats")
    assert [(hit.id, hit.score) for hit in result] == expected
    assert {hit.id for hit in result} == {"mixed", "dogs"}
    assert result[0].passage is not None
