"""The compiled kernels against numpy, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from lsr.index import kernels
from lsr.index.exact import exact_scores
from lsr.index.search import load_kernels, score_rows, search
from lsr.index.warmup import MemoryLive, MemorySegment, warmup
from lsr.index.windows import (
    MAX_WINDOW_ROWS,
    RECORD,
    TIERS,
    Postings,
    frozen,
    invert_window,
    tier_of,
)
from lsr.sparse import SparseVectors


def random_vectors(n_rows: int, vocab_size: int, mean: int, seed: int = 0) -> SparseVectors:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 2 * mean, n_rows)
    rows = [np.sort(rng.choice(vocab_size, size, replace=False)) for size in lengths]
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    weights = rng.random(int(indptr[-1])).astype(np.float32) * 3 + np.float32(0.01)
    return SparseVectors.from_arrays(indptr, np.concatenate(rows), weights, vocab_size=vocab_size)


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    load_kernels()


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_an_inverted_window_holds_every_posting_by_term_then_tier_then_row(
    dtype: type[np.unsignedinteger],
) -> None:
    vectors = random_vectors(500, 60, 12)
    inverted = invert_window(vectors.indptr, vectors.terms.astype(dtype), vectors.weights, 60)
    owners = np.repeat(np.arange(500), np.diff(vectors.indptr))
    maxima = np.zeros(60, np.float32)
    np.maximum.at(maxima, vectors.terms, vectors.weights)
    codes = np.ceil(vectors.weights / maxima[vectors.terms] * np.float32(255)).astype(np.int64)
    order = np.lexsort((owners, tier_of(codes), vectors.terms))
    assert inverted.terms.tolist() == np.flatnonzero(maxima).tolist()
    assert inverted.entries.dtype == np.uint32
    assert np.array_equal(inverted.entries, (owners << 8 | codes)[order])
    records = inverted.records.reshape(-1, RECORD)
    assert np.array_equal(records[:, 0].view(np.float32), maxima[maxima > 0])
    ends = np.bincount(vectors.terms, minlength=60)[inverted.terms].cumsum().tolist()
    assert records[:, 1].tolist() == [0, *ends[:-1]] and records[:, -1].tolist() == ends
    for term, record in zip(inverted.terms.tolist(), records.astype(np.int64), strict=True):
        sizes = np.bincount(tier_of(codes[vectors.terms == term]), minlength=TIERS)
        assert np.diff(record[1:]).tolist() == sizes.tolist()


def test_inverting_in_numpy_and_in_the_kernel_gives_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vectors = random_vectors(300, 40, 8)
    parts = vectors.indptr, vectors.terms, vectors.weights, 40
    by_kernel = invert_window(*parts)
    monkeypatch.delitem(__import__("sys").modules, "lsr.index.kernels")
    by_numpy = invert_window(*parts)
    for one, other in zip(by_kernel, by_numpy, strict=True):
        assert one.dtype == other.dtype and np.array_equal(one, other)


def test_a_window_of_no_rows_and_rows_of_no_terms_invert_to_empty_lists() -> None:
    for n_rows in (0, 3):
        nothing = np.zeros(n_rows + 1, np.int64), np.empty(0, np.uint16), np.empty(0, np.float32)
        inverted = invert_window(*nothing, 4)
        assert not any(len(part) for part in inverted)


def test_a_window_of_more_rows_than_a_window_holds_is_refused() -> None:
    indptr = np.zeros(MAX_WINDOW_ROWS + 2, np.int64)
    with pytest.raises(ValueError, match="262145 rows"):
        invert_window(indptr, np.empty(0, np.uint16), np.empty(0, np.float32), 4)


def test_the_last_row_of_a_full_window_is_found() -> None:
    lengths = np.ones(MAX_WINDOW_ROWS, np.int64)
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    weights = np.linspace(1, 2, MAX_WINDOW_ROWS, dtype=np.float32)
    vectors = SparseVectors.from_arrays(
        indptr, np.zeros(MAX_WINDOW_ROWS, np.int64), weights, vocab_size=2
    )
    found = search([MemoryLive(MemorySegment.build(vectors))], vectors[0], 2)
    assert found.rows.tolist() == [MAX_WINDOW_ROWS - 1, MAX_WINDOW_ROWS - 2]


@pytest.mark.parametrize("vocab_size", [300, 70_000])
def test_scores_equal_those_of_numpy_to_the_bit(vocab_size: int) -> None:
    vectors = random_vectors(400, vocab_size, 100)
    segment = MemorySegment.build(vectors, window_rows=100)
    for query in list(random_vectors(5, vocab_size, 120, seed=1)):
        expected = exact_scores(*segment.forward, query)
        assert np.array_equal(score_rows(segment, query, np.arange(400)), expected)
        found = search([MemoryLive(segment)], query, 400)
        assert np.array_equal(found.scores, expected[found.rows])


@pytest.mark.parametrize("vocab_size", [300, 70_000])
@pytest.mark.parametrize("longest", [2, 20, 290])
def test_rows_of_any_length_score_as_in_numpy(vocab_size: int, longest: int) -> None:
    rng = np.random.default_rng(longest)

    def row(length: int) -> dict[int, float]:
        terms = rng.choice(300, length, replace=False).tolist()
        return {term: float(rng.random()) + 0.1 for term in terms}

    for n_rows in (1, 2, 60):
        rows = [row(int(rng.integers(1, longest + 1))) for _ in range(n_rows)]
        segment = MemorySegment.build(SparseVectors.from_dicts(rows, vocab_size=vocab_size))
        for length in (1, 7, 64, 65, 300):
            query = SparseVectors.from_dicts([row(length)], vocab_size=vocab_size)[0]
            expected = exact_scores(*segment.forward, query)
            assert score_rows(segment, query, np.arange(n_rows)).tolist() == expected.tolist()


def test_mapped_own_and_frozen_arrays_share_one_compiled_variant(tmp_path: Path) -> None:
    warmup()
    before = len(kernels.accumulate.signatures), len(kernels.score_rows.signatures)
    vectors = random_vectors(50, 40, 8)
    segment = MemorySegment.build(vectors)

    def mapped(array: npt.NDArray[np.generic], name: str) -> npt.NDArray[np.generic]:
        array.tofile(tmp_path / name)
        return np.memmap(tmp_path / name, array.dtype, mode="r", shape=array.shape)

    names = Postings._fields
    parts = [mapped(array, name) for array, name in zip(segment.postings, names, strict=True)]
    on_disk = MemorySegment.build(vectors)
    on_disk.postings = Postings(*parts)
    on_disk.id_rank = mapped(segment.id_rank, "id_rank")
    deleted = np.zeros(50, np.bool_)
    for live in (MemoryLive(segment), MemoryLive(on_disk), MemoryLive(on_disk, deleted)):
        for keep in (None, [frozen(~deleted)], [~deleted]):
            assert len(search([live], vectors[1], 5, keep).rows) > 0
    assert (len(kernels.accumulate.signatures), len(kernels.score_rows.signatures)) == before
    assert before == (2, 2)  # u16 and u32 terms


def test_a_warm_process_compiles_nothing_more() -> None:
    warmup()
    assert warmup().compiled == 0
