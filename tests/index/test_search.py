"""Search against the numpy oracle: same hits, same order, same scores to the bit."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsr.errors import ConfigError, IndexFormatError
from lsr.index import search as module
from lsr.index.exact import exact_search
from lsr.index.found import Found
from lsr.index.knobs import SearchKnobs
from lsr.index.search import load_kernels, score_rows, search, search_many
from lsr.index.warmup import MemoryLive, MemorySegment
from lsr.sparse import SparseVector, SparseVectors

Allowed = list[npt.NDArray[np.bool_] | None] | None
Case = tuple[list[MemoryLive], SparseVector, int, Allowed]


@pytest.fixture(params=["numpy", "compiled"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Run the test with the first-query path in numpy, and with the kernels."""
    load_kernels()
    if request.param == "numpy":
        monkeypatch.setattr(module._engine, "kernels", None)
        monkeypatch.setattr(module._engine, "load", lambda: None)
    yield request.param


def vector(terms: dict[int, float], vocab_size: int = 2**32 - 1) -> SparseVector:
    return SparseVectors.from_dicts([terms], vocab_size=vocab_size)[0]


def live(
    rows: Sequence[dict[int, float]],
    names: Sequence[str] | None = None,
    deleted: Sequence[bool] | None = None,
    vocab_size: int = 50,
) -> MemoryLive:
    vectors = SparseVectors.from_dicts(rows, vocab_size=vocab_size)
    gone = None if deleted is None else np.array(deleted, np.bool_)
    return MemoryLive(MemorySegment.build(vectors, names), gone)


def listed(segments: Sequence[MemoryLive], found: Found) -> list[tuple[float, str, int, int, int]]:
    return [
        (float(score), segments[number].segment.names[document], number, document, row)
        for number, document, row, score in zip(
            found.segments.tolist(),
            found.documents.tolist(),
            found.rows.tolist(),
            found.scores,
            strict=True,
        )
    ]


def names_of(segments: Sequence[MemoryLive], found: Found) -> list[str]:
    return [hit[1] for hit in listed(segments, found)]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    vocab_size = draw(st.sampled_from([8, 40, 70_000]))
    levels = draw(st.sampled_from([1, 3, 1000]))  # few levels of weights: many ties
    passages = draw(st.booleans())

    def row() -> dict[int, float]:
        terms = rng.integers(0, vocab_size if rng.random() < 0.5 else 8, rng.integers(0, 9))
        return {int(term): float(rng.integers(1, levels + 1)) / 7 for term in terms}

    lives = []
    for number in range(draw(st.integers(0, 3))):
        n_rows = draw(st.integers(1, 150))
        bounds = None
        if passages:
            bounds = sorted({0, n_rows, *rng.integers(0, n_rows, n_rows // 2).tolist()})
        n_documents = n_rows if bounds is None else len(bounds) - 1
        names = [f"{value}-{number}" for value in rng.permutation(1000)[:n_documents]]
        vectors = SparseVectors.from_dicts([row() for _ in range(n_rows)], vocab_size=vocab_size)
        window = draw(st.sampled_from([64, 70, 262_144]))
        deleted = rng.random(n_documents) < 0.3 if draw(st.booleans()) else None
        lives.append(MemoryLive(MemorySegment.build(vectors, names, bounds, window), deleted))
    allowed: Allowed = None
    share = draw(st.sampled_from([None, 0.0, 0.03, 0.8]))
    if share is not None:
        allowed = [rng.random(one.segment.n_documents) < share for one in lives]
    query = vector({**row(), **row(), vocab_size + 5: 1.0})
    return lives, query, draw(st.sampled_from([1, 2, 10, 64, 10_000])), allowed


@given(cases())
@settings(deadline=None, max_examples=150)
def test_kernels_find_what_the_oracle_finds(case: Case) -> None:
    load_kernels()
    assert listed(case[0], search(*case)) == [tuple(hit) for hit in exact_search(*case)]


@given(cases())
@settings(deadline=None, max_examples=60)
def test_numpy_finds_what_the_oracle_finds(case: Case) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module._engine, "kernels", None)
        patch.setattr(module._engine, "load", lambda: None)
        assert listed(case[0], search(*case)) == [tuple(hit) for hit in exact_search(*case)]


def test_an_empty_query_an_empty_index_and_unknown_terms_find_nothing(engine: str) -> None:
    segments = [live([{1: 1.0}, {2: 1.0}])]
    for where, terms in ((segments, {}), (segments, {99: 1.0, 2**32 - 2: 2.0}), ([], {1: 1.0})):
        found = search(where, vector(terms), 10)
        assert found.path == "empty"
        assert [len(part) for part in found[:4]] == [0, 0, 0, 0]
    assert search(segments, vector({1: 1.0, 99: 1.0}), 10).scores.tolist() == [1.0]


def test_a_segment_without_documents_is_passed_over(engine: str) -> None:
    segments = [live([]), live([{1: 1.0}], ["a"])]
    assert names_of(segments, search(segments, vector({1: 1.0}), 3)) == ["a"]


def test_k_beyond_the_number_of_matches_returns_all_of_them(engine: str) -> None:
    segments = [live([{1: 1.0}, {2: 1.0}, {1: 2.0}], ["a", "b", "c"])]
    assert names_of(segments, search(segments, vector({1: 1.0}), 10**6)) == ["c", "a"]


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one_is_refused(k: int) -> None:
    with pytest.raises(ConfigError, match=f"k is {k}; it must be at least 1"):
        search([], vector({1: 1.0}), k)


def test_a_mask_of_another_length_is_refused(engine: str) -> None:
    with pytest.raises(ConfigError, match="3 entries for segment 0; it has 2 documents"):
        search([live([{1: 1.0}, {1: 2.0}])], vector({1: 1.0}), 1, [np.ones(3, np.bool_)])


def test_nothing_is_found_when_all_is_deleted_or_excluded(engine: str) -> None:
    rows = [{1: 1.0}, {1: 2.0}]
    assert len(search([live(rows, deleted=[True, True])], vector({1: 1.0}), 5).rows) == 0
    assert len(search([live(rows)], vector({1: 1.0}), 5, [np.zeros(2, np.bool_)]).rows) == 0


@pytest.mark.parametrize("k", [10, 50, 200, 1000, 6000])
@pytest.mark.parametrize("levels", [2, 10_000])
def test_any_k_finds_what_the_oracle_finds_in_windows_of_thousands_of_rows(
    k: int, levels: int
) -> None:
    load_kernels()
    rng = np.random.default_rng(k)

    def row() -> dict[int, float]:
        return {int(term): float(rng.integers(1, levels)) / 9 for term in rng.integers(0, 30, 6)}

    segments = [
        live([row() for _ in range(n)], [f"{n}-{at}" for at in range(n)]) for n in (3000, 100, 2500)
    ]
    mask = rng.random(2500) < 0.4
    segments[2] = MemoryLive(segments[2].segment, mask)
    keeps: Allowed = [rng.random(3000) < 0.5, None, None]
    query = vector(row())
    for allowed in (None, keeps):
        expected = [tuple(hit) for hit in exact_search(segments, query, k, allowed)]
        assert listed(segments, search(segments, query, k, allowed)) == expected


def test_ties_across_segments_go_to_the_smaller_id(engine: str) -> None:
    row = [{1: 1.0}] * 3
    segments = [live(row, ["d", "a", "f"]), live(row, ["c", "é", "b"]), live([{1: 2.0}], ["z"])]
    assert names_of(segments, search(segments, vector({1: 1.0}), 4)) == ["z", "a", "b", "c"]
    everything = names_of(segments, search(segments, vector({1: 1.0}), 9))
    assert everything == ["z", "a", "b", "c", "d", "f", "é"]


def test_identical_documents_come_in_order_of_id(engine: str) -> None:
    names = [f"{number:04}" for number in np.random.default_rng(0).permutation(3000)]
    segments = [live([{1: 1.0, 2: 0.3}] * 3000, names)]
    found = names_of(segments, search(segments, vector({1: 1.0, 2: 1.0}), 100))
    assert found == sorted(names)[:100]


def test_few_survivors_are_scanned_and_score_the_same(engine: str) -> None:
    rng = np.random.default_rng(0)
    rows = [dict.fromkeys(rng.integers(0, 50, 9).tolist(), 0.3) for _ in range(4000)]
    segments = [live(rows)]
    query = vector(dict.fromkeys(range(50), 0.7))
    keep = np.zeros(4000, np.bool_)
    keep[[5, 700, 3999]] = True
    few, many = search(segments, query, 3, [keep]), search(segments, query, 4000)
    scores = dict(zip(many.rows.tolist(), many.scores.tolist(), strict=True))
    assert few.path == ("scan" if engine == "compiled" else "exact")
    assert many.path == "exact"
    assert {row: scores[row] for row in (5, 700, 3999)} == dict(
        zip(few.rows.tolist(), few.scores.tolist(), strict=True)
    )


def test_overflowing_sums_are_inf_come_first_and_tie_by_id(engine: str) -> None:
    rows = [{1: 1.0}, {1: 1e38, 2: 1e38}, {1: 3e38}, {1: 1e-38}]
    segments = [live(rows, ["d", "c", "b", "a"])]
    found = search(segments, vector({1: 100.0, 2: 100.0}), 9)
    assert names_of(segments, found) == ["b", "c", "d", "a"]
    assert found.scores.tolist()[:3] == [np.inf, np.inf, 100.0]


def test_a_product_too_small_for_float32_is_no_match(engine: str) -> None:
    segments = [live([{1: 1e-30}, {1: 1e-30, 2: 1.0}], ["a", "b"])]
    assert names_of(segments, search(segments, vector({1: 1e-30, 2: 1.0}), 9)) == ["b"]
    subnormal = search([live([{1: 1e-20}])], vector({1: 1e-20}), 1).scores
    assert subnormal.tolist() == [float(np.float32(1e-20) * np.float32(1e-20))]


def test_long_queries_and_long_documents_are_searched(engine: str) -> None:
    long = {term: 1.0 + term / 7 for term in range(5000)}
    vectors = [long, {4999: 3.0}, dict(list(long.items())[::3])]
    segments = [live(vectors, vocab_size=30_522)]
    query = vector({term: 0.1 + term / 9 for term in range(0, 9000, 3)})
    assert len(query.terms) == 3000
    expected = [tuple(hit) for hit in exact_search(segments, query, 5)]
    assert listed(segments, search(segments, query, 5)) == expected


def test_rows_of_an_explained_document_score_as_in_search(engine: str) -> None:
    segments = [live([{1: 0.1, 3: 0.7}, {3: 0.3}, {}])]
    query = vector({1: 0.3, 3: 0.9, 77: 1.0})
    found = search(segments, query, 5)
    assert score_rows(segments[0].segment, query, found.rows).tolist() == found.scores.tolist()
    assert score_rows(segments[0].segment, query, [2]).tolist() == [0.0]


def test_threads_return_what_one_thread_returns() -> None:
    rng = np.random.default_rng(3)
    rows = [dict.fromkeys(rng.integers(0, 50, 9).tolist(), 0.5) for _ in range(2000)]
    segments = [live(rows, vocab_size=60), live(rows[::-1], [f"x{n}" for n in range(2000)])]
    queries = SparseVectors.from_dicts(rows[:200], vocab_size=60)
    serial = [listed(segments, search(segments, query, 7)) for query in queries]
    for threads in (1, 4, None):
        found = search_many(segments, queries, 7, threads=threads)
        assert [listed(segments, one) for one in found] == serial
    assert search_many(segments, [], 7) == []
    with pytest.raises(ConfigError, match="threads is 0"):
        search_many(segments, queries, 7, threads=0)


@pytest.mark.parametrize("knobs", [None, SearchKnobs(0.5, 1.5, small=0)])
@pytest.mark.parametrize("deleted", [None, [0, 5, 17]])
@pytest.mark.parametrize("k", [1, 9, 400])
def test_queries_in_one_call_find_what_each_finds_alone(
    monkeypatch: pytest.MonkeyPatch,
    knobs: SearchKnobs | None,
    deleted: list[int] | None,
    k: int,
) -> None:
    load_kernels()
    rng = np.random.default_rng(5)
    rows = [
        {int(term): float(term % 7 + 1) for term in rng.choice(60, 9, replace=False)}
        for _ in range(300)
    ]
    gone = None if deleted is None else [row in deleted for row in range(300)]
    index = live(rows, vocab_size=64, deleted=gone)
    queries = [vector(rows[at]) for at in range(40)]
    # None of their terms, none at all, one beyond the vocabulary, what no unit expresses, many.
    queries[3:8] = [
        vector({63: 1.0}),
        vector({}),
        vector({2: 1.0, 900: 3.0}),
        vector({1: 1e30, 2: 1e-30}),
        vector(dict.fromkeys(range(60), 1.0)),
    ]
    alone = [search([index], query, k, None, knobs) for query in queries]
    for threads, together in ((1, 10_000), (2, 10_000), (1, 5)):
        monkeypatch.setattr(module, "TOGETHER", together)
        many = search_many([index], queries, k, threads=threads, knobs=knobs)
        for one, other in zip(many, alone, strict=True):
            assert [part.tolist() for part in one[:4]] == [part.tolist() for part in other[:4]]
            assert one[4:] == other[4:]


def test_results_stay_as_they_are_when_the_next_query_runs(engine: str) -> None:
    segments = [live([{1: 1.0}, {2: 2.0}])]
    first = search(segments, vector({1: 1.0}), 1)
    search(segments, vector({2: 1.0}), 1)
    assert (first.rows.tolist(), first.scores.tolist()) == ([0], [1.0])


def test_numpy_hands_over_to_the_kernels_when_it_has_taken_long_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = module._Engine()
    monkeypatch.setattr(module, "_engine", engine)
    segments = [live([{1: 1.0}])]
    search(segments, vector({1: 1.0}), 1)
    assert engine.kernels is None and engine.cold_seconds > 0
    engine.spent(module.COLD_SECONDS)
    assert engine.kernels is not None
    assert search(segments, vector({1: 1.0}), 1).scores.tolist() == [1.0]


FRESH = """
import resource, sys
from lsr.index.search import search
from lsr.index.warmup import MemoryLive, MemorySegment
from lsr.sparse import SparseVectors
vectors = SparseVectors.from_dicts([{1: 1.0}, {2: 2.0}], vocab_size=30522)
live = MemoryLive(MemorySegment.build(vectors))
assert search([live], vectors[1], 1).scores.tolist() == [4.0]
cold = "numba" not in sys.modules
from lsr.index.search import load_kernels
load_kernels()
assert search([live], vectors[1], 1).scores.tolist() == [4.0]
usage = resource.getrusage(resource.RUSAGE_SELF)
from lsr.index import kernels
from lsr.index.warmup import warmup
warmup()
public = [found for name, found in vars(kernels).items() if name[0] != "_"]
assert all(found.signatures for found in public if hasattr(found, "signatures"))
print(cold, "scipy.linalg" in sys.modules, usage.ru_utime + usage.ru_stime)
"""


def test_a_fresh_process_answers_without_numba_and_loads_warm_kernels_in_a_moment(
    tmp_path: Path,
) -> None:
    pytest.importorskip("resource")
    for _ in range(2):  # the first compiles, unless that was done before
        done = subprocess.run(
            [sys.executable, "-c", FRESH],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
    cold, linalg, seconds = done.stdout.split()
    assert (cold, linalg) == ("True", "False")
    assert float(seconds) < 3  # about 0.9 on an idle core; a compilation takes 5 and more


def test_postings_that_do_not_fit_together_are_refused_before_a_kernel_sees_them() -> None:
    load_kernels()
    segment = live([{1: 1.0}, {2: 1.0}]).segment
    whole = segment.postings
    far = whole.records.copy()
    far[-1] += 1
    for broken in (whole._replace(entries=whole.entries[:1]), whole._replace(records=far)):
        segment = live([{1: 1.0}, {2: 1.0}]).segment
        segment.postings = broken
        with pytest.raises(IndexFormatError, match="do not fit together"):
            search([MemoryLive(segment)], vector({1: 1.0}), 1)
