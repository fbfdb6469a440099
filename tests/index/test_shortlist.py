"""The approximate search: true scores, the hits of the exact one when nothing is left out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsr import Index
from lsr.errors import ConfigError, DataError, IndexFormatError
from lsr.index import calibration
from lsr.index.build import BuildSettings, build
from lsr.index.calibration import SETTING, TARGETS, Calibration, calibrate, keep_calibrated
from lsr.index.exact import exact_scores
from lsr.index.knobs import SearchKnobs
from lsr.index.planner import choose
from lsr.index.search import load_kernels, search
from lsr.index.source import VectorSource
from lsr.index.store import Store
from lsr.index.warmup import MemoryLive, MemorySegment
from lsr.rejects import Rejects
from lsr.sparse import SparseVector, SparseVectors
from lsr.vector_files import write_vectors

ALL = SearchKnobs(cutoff=0, oversample=1000, small=0)


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    load_kernels()


def zipf_vectors(n: int, vocab_size: int, length: int, seed: int) -> SparseVectors:
    """Return vectors whose terms are as unevenly frequent as those of texts."""
    rng = np.random.default_rng(seed)
    frequency = 1 / np.arange(1, vocab_size + 1)
    rows = []
    for _ in range(n):
        terms = rng.choice(vocab_size, length, replace=False, p=frequency / frequency.sum())
        rows.append(dict(zip(terms.tolist(), rng.gamma(2, 0.4, length).tolist(), strict=True)))
    return SparseVectors.from_dicts(rows, vocab_size=vocab_size)


def query_of(vectors: SparseVectors, row: int, terms: int = 10) -> SparseVector:
    heaviest = np.sort(np.argsort(-vectors[row].weights)[:terms])
    return SparseVector(vectors[row].terms[heaviest], vectors[row].weights[heaviest])


@given(
    seed=st.integers(0, 2**32 - 1),
    window=st.sampled_from([64, 100, 262_144]),
    k=st.sampled_from([1, 5, 40]),
    share_deleted=st.sampled_from([0.0, 0.3, 1.0]),
    share_allowed=st.sampled_from([None, 0.5]),
    passages=st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_with_all_postings_and_room_it_finds_what_exact_search_finds(
    seed: int,
    window: int,
    k: int,
    share_deleted: float,
    share_allowed: float | None,
    passages: bool,
) -> None:
    rng = np.random.default_rng(seed)
    vectors = zipf_vectors(200, 60, 6, seed)
    bounds = sorted({0, 200, *rng.integers(1, 200, 90).tolist()}) if passages else None
    segment = MemorySegment.build(vectors, document_rows=bounds, window_rows=window)
    deleted = rng.random(segment.n_documents) < share_deleted
    live = MemoryLive(segment, deleted if share_deleted else None)
    allowed = None if share_allowed is None else [rng.random(segment.n_documents) < share_allowed]
    query = query_of(vectors, int(rng.integers(200)))
    found = search([live], query, k, allowed, ALL)
    exact = search([live], query, k, allowed)
    assert found.documents.tolist() == exact.documents.tolist()
    assert found.scores.tolist() == exact.scores.tolist()
    assert found.rows.tolist() == exact.rows.tolist()


@pytest.mark.parametrize("cutoff", [0.15, 0.8, 4.0])
def test_scores_are_true_and_nothing_deleted_or_excluded_is_found(cutoff: float) -> None:
    vectors = zipf_vectors(3000, 500, 20, 1)
    segment = MemorySegment.build(vectors, window_rows=700)
    rng = np.random.default_rng(2)
    deleted, allowed = rng.random(3000) < 0.3, rng.random(3000) < 0.5
    knobs = SearchKnobs(cutoff, 2, small=0)
    for row in range(0, 3000, 300):
        query = query_of(vectors, row)
        found = search([MemoryLive(segment, deleted)], query, 10, [allowed], knobs)
        assert found.path in {"accumulate", "exact", "scan"}
        assert not deleted[found.documents].any() and allowed[found.documents].all()
        expected = exact_scores(*segment.forward, query)[found.rows]
        assert np.array_equal(found.scores, expected)
        assert (np.diff(found.scores) <= 0).all()


def test_more_effort_finds_more_and_reads_more() -> None:
    vectors = zipf_vectors(20_000, 3000, 30, 3)
    live = [MemoryLive(MemorySegment.build(vectors))]
    queries = [query_of(vectors, row, 12) for row in range(0, 20_000, 500)]
    best = [search(live, query, 10).scores[-1] for query in queries]

    def effort(knobs: SearchKnobs) -> tuple[float, float]:
        found = [search(live, query, 10, knobs=knobs) for query in queries]
        reached = [(one.scores >= least).mean() for one, least in zip(found, best, strict=True)]
        return float(np.mean(reached)), float(np.mean([one.postings for one in found]))

    steps = [effort(SearchKnobs(cutoff, 3)) for cutoff in (0.6, 0.3, 0.1, 0.0)]
    assert [recall for recall, _ in steps] == sorted(recall for recall, _ in steps)
    assert [postings for _, postings in steps] == sorted(postings for _, postings in steps)
    assert steps[-1][0] == 1.0 and steps[0][1] < steps[-1][1] / 3


def test_a_calibrated_table_reaches_its_targets_and_is_the_same_each_time() -> None:
    vectors = zipf_vectors(20_000, 3000, 30, 4)
    live = [MemoryLive(MemorySegment.build(vectors))]
    queries = [query_of(vectors, row, 12) for row in range(7, 20_000, 200)]
    table = calibrate(live, queries)
    assert table is not None and table.source == "queries" and table.n_queries == len(queries)
    with pytest.raises(DataError, match="none of the 0 queries"):
        calibrate(live, [])
    assert table == calibrate(live, queries)
    assert Calibration.from_json(table.to_json()) == table
    for target in TARGETS:
        knobs = table.knobs(10, target)
        reached = []
        for query in queries:
            least = search(live, query, 10).scores[-1]
            reached.append((search(live, query, 10, knobs=knobs).scores >= least).mean())
        assert np.mean(reached) >= target
    assert table.knobs(10, 0.93) == table.knobs(10, 0.95)
    assert table.knobs(5000, 0.9) is None and table.knobs(10, 0.999) is None


def test_a_result_says_the_way_that_ran_not_the_one_that_was_asked_for() -> None:
    vectors = zipf_vectors(300, 60, 6, 0)
    live, query = [MemoryLive(MemorySegment.build(vectors))], query_of(vectors, 3)
    assert search(live, query, 3).path == "exact"
    assert search(live, query, 3, knobs=SearchKnobs()).path == "exact"  # small
    assert search(live, query, 3, knobs=ALL).path == "accumulate"
    nothing_read = SearchKnobs(cutoff=1000, small=0)
    assert search(live, query, 3, knobs=nothing_read).path == "exact"  # fewer than k were found
    two = [*live, MemoryLive(MemorySegment.build(vectors.slice(0, 40)))]
    assert search(two, query, 3, knobs=SearchKnobs(0.1, 4, small=100)).path == "accumulate"
    assert search(two, query, 3, knobs=SearchKnobs(0.1, 4)).path == "exact"


def test_a_table_holds_until_the_index_has_doubled_or_halved() -> None:
    table = Calibration({10: dict.fromkeys(TARGETS)}, "documents", 9, 1000)
    assert [table.holds(n) for n in (499, 500, 2000, 2001)] == [False, True, True, False]
    assert replace(table, source="queries").holds(10**9)


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """Return an index of 150 documents that counts as large."""
    monkeypatch.setattr(calibration, "SMALL", 100)
    with Index.create(tmp_path / "index", encoder=None, vocab_size=60) as index:
        put(index, tmp_path, 0, 150)
        yield index


def put(index: Index, folder: Path, start: int, stop: int) -> None:
    """Build documents into an index, as `lsr index` and `lsr add` do."""
    path = folder / f"{start}.parquet"
    ids = [str(row) for row in range(start, stop)]
    vectors = zipf_vectors(400, 60, 6, 5).slice(start, stop)
    write_vectors(path, "parquet", [(ids, vectors)])
    source = VectorSource(str(path), 60)
    assert build(index, [source], BuildSettings(), rejects=Rejects("stop")).calibrated


def table_of(index: Index) -> Calibration:
    table = Calibration.from_json(Store.open(index.path).snapshot().manifest.settings[SETTING])
    assert index._view.calibration == table
    return table


def test_changes_keep_the_table_until_the_index_has_doubled(shelf: Index, tmp_path: Path) -> None:
    first = table_of(shelf)
    assert (first.source, first.n_documents) == ("documents", 150)
    put(shelf, tmp_path, 150, 160)
    shelf.delete(["3"])
    shelf.merge()
    assert table_of(shelf) == first
    put(shelf, tmp_path, 160, 400)
    shelf.merge()
    assert table_of(shelf).n_documents > 300


def test_a_table_of_real_queries_stays_until_it_is_made_anew(shelf: Index, tmp_path: Path) -> None:
    vectors = zipf_vectors(30, 60, 6, 9)
    shelf.calibrate([query_of(vectors, row) for row in range(20)])
    real = table_of(shelf)
    assert real.source == "queries"
    put(shelf, tmp_path, 150, 400)
    shelf.merge()
    assert table_of(shelf) == real
    shelf.calibrate()
    assert table_of(shelf).source == "documents"


def test_an_index_beyond_the_memory_is_left_without_a_table(shelf: Index) -> None:
    transaction = shelf.transaction()
    assert keep_calibrated(transaction, memory=0)  # the one there holds
    transaction.settings = {
        name: kept for name, kept in transaction.settings.items() if name != SETTING
    }
    assert not keep_calibrated(transaction, memory=10_000)
    assert SETTING not in transaction.settings
    assert keep_calibrated(transaction, memory=10_000_000)
    assert SETTING in transaction.settings


def test_a_small_index_is_not_calibrated_and_a_broken_table_is_refused() -> None:
    live = [MemoryLive(MemorySegment.build(zipf_vectors(50, 60, 6, 0)))]
    assert calibrate(live) is None
    with pytest.raises(IndexFormatError, match="calibration"):
        Calibration.from_json({"source": "documents", "n_queries": 3, "rows": [{"k": 10}]})


def test_the_planner_is_exact_where_it_must_be_and_refuses_contradictions() -> None:
    knobs = SearchKnobs(0.2, 4)
    row = dict.fromkeys(TARGETS, knobs)
    table = Calibration({10: row}, "documents", 9, 100)
    assert choose(table, 10) == knobs and choose(table, 10, recall=0.9) == knobs
    assert choose(table, 11) is None and choose(None, 10) is None
    assert choose(table, 10, filtered=True) is None
    assert choose(table, 10, filtered=True, path="accumulate") == knobs
    assert choose(table, 10, exact=True) is None and choose(table, 10, recall=1) is None
    assert choose(None, 10, path="accumulate", recall=0.9) is not None
    for bad in (
        {"recall": 0.0},
        {"recall": 1.1},
        {"recall": float("nan")},
        {"path": "fast"},
        {"exact": True, "knobs": knobs},
        {"exact": True, "recall": 0.9},
        {"path": "exact", "recall": 0.9},
    ):
        with pytest.raises(ConfigError):
            choose(table, 10, **bad)  # type: ignore[arg-type]
    for wrong in ((-1, 2), (float("nan"), 2), (0.1, 0.5), (0.1, float("inf"))):
        with pytest.raises(ConfigError):
            SearchKnobs(*wrong)
