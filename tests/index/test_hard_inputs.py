"""What peers abort on or answer wrongly: every way of searching answers, or says what is wrong."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shelf_cases import VOCAB, Row, Shelf, Way, check_answer, listed
from store_cases import fast_folder, in_child, killed_at

from lsr import Document, Index, SparseVectors
from lsr.errors import ConfigError, DataError, IndexFormatError, LockedError, LsrError
from lsr.index import calibration
from lsr.index.blocks import BlockSettings
from lsr.index.knobs import BlockKnobs, SearchKnobs
from lsr.index.search import load_kernels
from lsr.sparse import SparseVector

#: Every way of searching; each test below runs in each of them.
WAYS = [
    Way("default"),
    Way("exact", {"exact": True}),
    # Without `small`, segments as small as those here are searched exactly.
    Way("accumulate", {"knobs": SearchKnobs(small=0)}, exact=False),
    Way(
        "blocks",
        {"knobs": BlockKnobs(small=0)},
        exact=False,
        create={"blocks": BlockSettings(postings=5, rows=2, small=1)},
    ),
]

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


@pytest.fixture(params=WAYS, ids=lambda way: way.name)
def way(request: pytest.FixtureRequest) -> Way:
    load_kernels()
    found: Way = request.param
    return found


@pytest.fixture
def folder() -> Iterator[Path]:
    with fast_folder() as path:
        yield path


@pytest.fixture
def shelf(folder: Path, way: Way) -> Shelf:
    return Shelf(folder / "index", way).put(
        {"a": {1: 1.0, 2: 2.0}, "b": {2: 0.5, 3: 1.0}, "c": {5999: 3.0}, "empty": {}}
    )


# --- queries ---------------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["", "  \n", {}])
def test_an_empty_query_finds_nothing(shelf: Shelf, way: Way, query: Any) -> None:
    assert listed(shelf.index.search(query, **way.options)) == []
    [nothing, something] = shelf.index.search_batch([query, {2: 1.0}], **way.options)
    assert (listed(nothing), len(something)) == ([], 2)


@pytest.mark.parametrize("term", [VOCAB, VOCAB + 1, 70_000, 2**32 - 2])
def test_terms_beyond_the_vocabulary_add_nothing(shelf: Shelf, way: Way, term: int) -> None:
    shelf.check(way, {term: 5.0})
    shelf.check(way, {2: 1.0, term: 5.0})


@pytest.mark.parametrize("term", [-1, -(2**40), 2**32 - 1, 2**32, 2**64])
def test_terms_that_no_vocabulary_has_are_refused(shelf: Shelf, way: Way, term: int) -> None:
    with pytest.raises(DataError, match="term"):
        shelf.index.search({2: 1.0, term: 1.0}, **way.options)
    shelf.check(way, {2: 1.0})


def arrays(terms: Sequence[int], weights: Sequence[float]) -> SparseVector:
    return SparseVector(np.array(terms, np.uint32), np.array(weights, np.float32))


def test_unsorted_and_duplicate_terms_of_a_vector_are_refused(shelf: Shelf, way: Way) -> None:
    with pytest.raises(DataError, match=r"term 1 comes after term 3"):
        shelf.index.search(arrays([3, 1], [1, 1]), **way.options)
    with pytest.raises(DataError, match=r"term 2 comes twice"):
        shelf.index.search(arrays([2, 2], [1, 1]), **way.options)
    with pytest.raises(DataError, match="2 terms but 1 weights"):
        shelf.index.search(arrays([1, 2], [1]), **way.options)
    # A mapping has no order to be wrong in.
    shelf.check(way, {3: 1.0, 1: 0.25})


BAD_WEIGHTS = [float("nan"), float("inf"), float("-inf"), -1.0, -1e-30, 0.0, -0.0, 1e39, 1e-46]


@pytest.mark.parametrize("weight", BAD_WEIGHTS)
def test_weights_that_are_no_finite_number_above_zero_are_refused(
    shelf: Shelf, way: Way, weight: float
) -> None:
    with pytest.raises(DataError, match="is not a finite number above 0 in float32"):
        shelf.index.search({2: 1.0, 3: weight}, **way.options)
    with pytest.raises(DataError, match="row 0, term 3: weight"):
        shelf.put({"bad": {3: weight}})
    shelf.index.rollback()
    shelf.check(way, {2: 1.0, 3: 1.0})


@pytest.mark.parametrize("weight", [1e30, 1e-30, 3e38, 1e-38, 1e-45])
def test_weights_at_the_ends_of_float32_are_added_up_as_they_are(
    folder: Path, way: Way, weight: float
) -> None:
    shelf = Shelf(folder / "index", way)
    ends = [1e30, 1e-30, 1.0, 3e38, 1e-45]
    shelf.put({f"{at}-{term}": {term: w, 9: 1.0} for at, w in enumerate(ends) for term in (1, 2)})
    shelf.put({"both": {1: 1e30, 2: 1e-30}, "huge": {1: 3e38, 2: 3e38}, "b": {2: 1.0}})
    for query in ({1: weight}, {1: weight, 2: weight}, {1: weight, 2: 1.0, 9: 1.0}):
        for k in (1, 3, 100):
            shelf.check(way, query, k)
            shelf.check(way, query, k, odd=True)


@pytest.mark.parametrize("k", [0, -1, -(2**40)])
def test_k_below_one_is_refused(shelf: Shelf, way: Way, k: int) -> None:
    with pytest.raises(ConfigError, match=f"k is {k}; it must be at least 1"):
        shelf.index.search({2: 1.0}, k=k, **way.options)
    with pytest.raises(ConfigError, match=f"k is {k}"):
        shelf.index.search_batch([{2: 1.0}], k=k, **way.options)


@pytest.mark.parametrize("k", [4, 5, 1000, 2**31, 2**40])
def test_k_beyond_the_live_documents_finds_what_there_is(shelf: Shelf, way: Way, k: int) -> None:
    shelf.check(way, {1: 1.0, 2: 1.0, 5999: 1.0}, k)
    shelf.drop(["a"])
    shelf.check(way, {1: 1.0, 2: 1.0, 5999: 1.0}, k)


# --- documents -------------------------------------------------------------------------------


def test_documents_with_terms_that_do_not_fit_are_refused(shelf: Shelf, way: Way) -> None:
    for terms, expected in (
        ([3, 1], "term 1 comes after term 3"),
        ([2, 2], "term 2 comes twice"),
        ([VOCAB], f"term {VOCAB} is outside the vocabulary of {VOCAB}"),
    ):
        with pytest.raises(DataError, match=expected):
            SparseVectors.from_arrays([0, len(terms)], terms, [1.0] * len(terms), vocab_size=VOCAB)
    other = SparseVectors.from_dicts([{VOCAB: 1.0}], vocab_size=VOCAB + 1)
    with pytest.raises(DataError, match="vocabulary of 6001 terms; this index has 6000"):
        shelf.index.add([Document("bad")], vectors=other)
    shelf.index.rollback()
    shelf.check(way, {2: 1.0})


def test_empty_documents_are_kept_and_never_found(folder: Path, way: Way) -> None:
    shelf = Shelf(folder / "index", way).put({f"empty{at}": {} for at in range(70)})
    shelf.check(way, {0: 1.0, VOCAB - 1: 1.0}, 100)
    assert len(shelf.index) == 70
    shelf.put({"one": {0: 1.0}})
    shelf.check(way, {0: 1.0}, 100)
    shelf.index.merge()
    shelf.check(way, {0: 1.0}, 100)


def test_an_index_of_one_document_finds_it(folder: Path, way: Way) -> None:
    shelf = Shelf(folder / "index", way, 1).put({"only": {0: 0.5}})
    for k in (1, 10):
        shelf.check(way, {0: 2.0}, k)
    assert listed(shelf.index.search({1: 2.0}, **way.options)) == []


def test_an_index_never_written_finds_nothing(folder: Path, way: Way) -> None:
    shelf = Shelf(folder / "index", way)
    shelf.check(way, {0: 1.0})


@pytest.mark.parametrize("merged", [False, True])
def test_nothing_is_found_when_all_documents_are_deleted(
    shelf: Shelf, way: Way, merged: bool
) -> None:
    shelf.put({f"more{at}": {2: 1.0 + at} for at in range(100)})
    shelf.drop(list(shelf.rows))
    if merged:
        shelf.index.merge()
    shelf.check(way, {1: 1.0, 2: 1.0}, 1000)
    assert len(shelf.index) == 0
    shelf.put({"again": {2: 1.0}})
    shelf.check(way, {2: 1.0})


@pytest.mark.parametrize("segments", [1, 3])
def test_identical_documents_come_in_order_of_id(folder: Path, way: Way, segments: int) -> None:
    shelf = Shelf(folder / "index", way)
    rng = np.random.default_rng(3)
    names = [f"{'ü' if at % 5 == 0 else 'd'}{at}" for at in rng.permutation(300).tolist()]
    for at in range(segments):
        shelf.put({id: {7: 0.1, 8: 0.3, 4000: 1 / 3} for id in names[at::segments]})
    for k in (1, 64, 65, 299, 300, 301):
        shelf.check(way, {7: 1.0, 4000: 0.7}, k)
        shelf.check(way, {7: 1.0, 4000: 0.7}, k, odd=True)
    shelf.drop(names[:200])
    shelf.check(way, {7: 1.0}, 300)


def test_a_term_in_every_document_finds_the_best_of_them(folder: Path, way: Way) -> None:
    """With more documents than a window holds; what differs is a hundred of their weights."""
    n_documents = 70_000
    rng = np.random.default_rng(11)
    weights = np.full(n_documents, 0.25, np.float32)
    weights[rng.choice(n_documents, 100, replace=False)] = rng.integers(1, 99, 100) / 64
    names = [f"{at:05}" for at in range(n_documents)]
    vectors = SparseVectors.from_arrays(
        np.arange(n_documents + 1), np.full(n_documents, 3), weights, vocab_size=8
    )
    index = Index.create(folder / "index", encoder=None, vocab_size=8, **way.create)
    index.add([Document(name) for name in names], vectors=vectors)
    index.commit()
    rows = {name: {3: weight} for name, weight in zip(names, weights.tolist(), strict=True)}
    for k in (1, 10, 100, 1000):
        found = listed(index.search({3: 1.0, 5: 1.0}, k=k, **way.options))
        check_answer(way, found, rows, {3: 1.0, 5: 1.0}, k)


def test_long_documents_and_long_queries_are_scored_in_full(folder: Path, way: Way) -> None:
    rng = np.random.default_rng(5)

    def row(n_terms: int) -> Row:
        terms = rng.choice(VOCAB, n_terms, replace=False).tolist()
        return {term: float(np.float32(rng.random() + 0.01)) for term in terms}

    shelf = Shelf(folder / "index", way)
    shelf.put({f"long{at}": row(5000) for at in range(3)} | {"whole": row(VOCAB)})
    shelf.put({f"short{at}": row(at) for at in range(40)})
    for n_terms in (1, 20, 3000, VOCAB):
        query = row(n_terms)
        for k in (1, 10, 100):
            shelf.check(way, query, k)
    shelf.check(way, row(3000), 10, odd=True)


WEIGHT = st.sampled_from([1e-30, 1e-7, 0.1, 0.25, 1.0, 1 / 3, 3.0, 1e7, 1e30])
TERM = st.one_of(st.integers(0, 9), st.integers(0, VOCAB - 1))
ROW = st.dictionaries(TERM, WEIGHT, max_size=8)
GROUP = st.dictionaries(st.text("abü", max_size=3).filter(bool), ROW, min_size=1, max_size=25)


@pytest.mark.parametrize("chosen", WAYS, ids=lambda way: way.name)
@settings(deadline=None, max_examples=60)
@given(
    groups=st.lists(GROUP, min_size=1, max_size=4),
    query=ROW,
    k=st.sampled_from([1, 2, 10, 100]),
    merged=st.booleans(),
    data=st.data(),
)
def test_any_history_and_any_query_end_in_the_answer_of_brute_force(
    chosen: Way, groups: list[dict[str, Row]], query: Row, k: int, merged: bool, data: st.DataObject
) -> None:
    load_kernels()
    with fast_folder() as folder:
        shelf = Shelf(folder / "index", chosen)
        for group in groups:
            shelf.put(group)
            live = sorted(shelf.rows)
            shelf.drop(data.draw(st.lists(st.sampled_from(live), max_size=4, unique=True)))
        if merged:
            shelf.index.merge()
        shelf.check(chosen, query, k)
        shelf.check(chosen, query, k, odd=True)


# --- damage ----------------------------------------------------------------------------------


def segment_files(index: Path) -> list[Path]:
    return sorted(path for path in (index / "segments").rglob("*") if path.is_file())


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


@pytest.mark.parametrize("damage", [cut, flipped, lambda data: b""], ids=["cut", "flip", "empty"])
def test_a_damaged_file_of_a_segment_is_named_and_never_answers(
    shelf: Shelf, way: Way, damage: Callable[[bytes], bytes]
) -> None:
    shelf.drop(["b"])
    path = shelf.index.path
    shelf.index.close()
    files = segment_files(path)
    assert len(files) > 10
    for file in files:
        good = file.read_bytes()
        if damage(good) == good:
            continue
        file.write_bytes(damage(good))
        with pytest.raises(IndexFormatError, match=file.name):
            Index.open(path).search({2: 1.0}, **way.options)
        file.write_bytes(good)
    shelf.index = Index.open(path)
    shelf.check(way, {2: 1.0})


# --- writers, readers, kills -----------------------------------------------------------------


def test_a_second_writer_is_refused_and_the_first_goes_on(shelf: Shelf, way: Way) -> None:
    second = Index.open(shelf.index.path)
    shelf.index.delete(["a"])
    with pytest.raises(LockedError, match="being written by"):
        second.delete(["b"])
    with pytest.raises(LockedError):
        second.merge()
    assert listed(second.search({2: 1.0}, **way.options)) == [("a", 2.0), ("b", 0.5)]
    shelf.index.commit()
    del shelf.rows["a"]
    shelf.check(way, {2: 1.0})
    second.refresh()
    assert second.delete(["b"]) == 1
    second.close()


def test_a_reader_answers_from_its_view_across_merges(shelf: Shelf, way: Way) -> None:
    shelf.put({f"m{at}": {2: 1 + at / 8, 7: 1.0} for at in range(100)})
    reader = Index.open(shelf.index.path)
    seen = dict(shelf.rows)
    shelf.drop(["a", "m99", "m98"])
    shelf.index.merge()
    shelf.put({"new": {2: 99.0}})
    shelf.index.merge()
    query = {2: 1.0, 7: 0.5}
    check_answer(way, listed(reader.search(query, k=20, **way.options)), seen, query, 20)
    assert reader.refresh() == shelf.index.generation
    check_answer(way, listed(reader.search(query, k=20, **way.options)), shelf.rows, query, 20)


def test_readers_in_threads_see_whole_commits_while_one_merges(shelf: Shelf, way: Way) -> None:
    """Every commit gives all documents the same weight, so that a mixture would show."""
    names = [f"d{at}" for at in range(50)]
    shelf.put({name: {9: 1.0} for name in names})
    stop, wrong, counts = threading.Event(), [], [0, 0]

    def read(number: int) -> None:
        reader = Index.open(shelf.index.path)
        while not stop.is_set():
            try:
                result = reader.search({9: 1.0}, k=50, **way.options)
                if len(result) != 50 or len({hit.score for hit in result}) != 1:
                    wrong.append(str(listed(result)))
                reader.refresh()
            except LsrError as error:
                wrong.append(str(error))
            counts[number] += 1

    readers = [threading.Thread(target=read, args=[number]) for number in range(2)]
    for thread in readers:
        thread.start()
    for version in range(2, 12):
        shelf.put({name: {9: float(version)} for name in names})
        if version % 3 == 0:
            shelf.index.merge()
    stop.set()
    for thread in readers:
        thread.join()
    assert wrong == []
    assert min(counts) > 0


BEFORE = {"a": {1: 1.0, 2: 2.0}, "b": {2: 0.5}, "c": {3: 1.0}}
AFTER = BEFORE | {"b": {2: 4.0}, "d": {2: 1.0, 3: 1.0}}


def grow(path: Path) -> None:
    index = Index.open(path)
    index.upsert(
        [Document("b"), Document("d")],
        vectors=SparseVectors.from_dicts([AFTER["b"], AFTER["d"]], vocab_size=VOCAB),
    )
    index.commit()


def shrink(path: Path) -> None:
    Index.open(path).merge()


def tune(path: Path) -> None:
    Index.open(path).calibrate()


@needs_fork
@pytest.mark.parametrize("work", [grow, shrink, tune], ids=["build", "merge", "calibration"])
def test_whatever_is_killed_leaves_an_index_that_answers(
    folder: Path, way: Way, work: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a few dozen of the steps; tests/index/test_crash.py tries each of them on the store."""
    monkeypatch.setattr(calibration, "SMALL", 1)
    template = Shelf(folder / "template", way).put(BEFORE | {"gone": {2: 9.0}}).put({"c": {3: 1.0}})
    template.drop(["gone"])
    template.index.close()
    after = AFTER if work is grow else BEFORE
    path, step, alive, switched = folder / "index", 0, True, False
    while alive:
        shutil.copytree(template.index.path, path)
        alive = killed_at(step, partial(work, path))
        index = Index.open(path)
        committed = index.generation > template.index.generation
        assert committed or not switched
        switched = committed
        rows = after if committed else BEFORE
        for query in ({2: 1.0, 3: 0.5}, {1: 1.0}):
            check_answer(way, listed(index.search(query, **way.options)), rows, query, 10)
        index.upsert(
            [Document("z")], vectors=SparseVectors.from_dicts([{2: 50.0}], vocab_size=VOCAB)
        )
        index.commit()
        if way.exact:
            assert index.search({2: 1.0}, **way.options)[0].id == "z"
        index.close()
        shutil.rmtree(path)
        step += 1 if work is tune else 9 if way.create else 4
    assert switched and step > 6


@needs_fork
def test_a_writer_killed_while_it_holds_the_lock_keeps_no_one_out(shelf: Shelf, way: Way) -> None:
    shelf.index.close()

    def die() -> None:
        index = Index.open(shelf.index.path)
        index.delete(["a"])
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(die) == -signal.SIGKILL
    shelf.check(way, {2: 1.0})
    shelf.drop(["b"])
    shelf.check(way, {2: 1.0})
