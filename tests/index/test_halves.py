"""Weights as float16: exactly where that can be, rounded where an index asks for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from lsr.errors import ConfigError, DataError
from lsr.index.check import check_folder
from lsr.index.exact import exact_search
from lsr.index.halves import as_halves, checked_dtype, rounded
from lsr.index.index import Index
from lsr.index.scoring import half_of
from lsr.index.search import load_kernels
from lsr.index.segment import HALVES, WEIGHTS
from lsr.sparse import SparseVector, SparseVectors
from lsr.types import Document

VOCAB = 300
weights_of_any_size = st.floats(2.0**-30, 60_000, width=32, allow_subnormal=False)


def random_vectors(n_rows: int, seed: int, *, exact: bool) -> SparseVectors:
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(n_rows):
        terms = rng.choice(VOCAB, rng.integers(1, 120), replace=False).tolist()
        weights = np.log1p(rng.exponential(1.0, len(terms))).astype(np.float32) + np.float32(0.01)
        values = weights.astype(np.float16).astype(np.float32) if exact else weights
        rows.append(dict(zip(terms, values.tolist(), strict=True)))
    return SparseVectors.from_dicts(rows, vocab_size=VOCAB)


def make(path: Path, *parts: SparseVectors, dtype: str = "float32") -> Index:
    index = Index.create(path, encoder=None, vocab_size=VOCAB, dtype=dtype)  # type: ignore[arg-type]
    at = 0
    for part in parts:
        index.add([Document(f"d{at + row}") for row in range(len(part))], vectors=part)
        index.commit()
        at += len(part)
    return index


def weight_arrays(index: Index) -> list[str]:
    return [live.segment.header.weights for live in index._view.snapshot.segments]


def test_a_half_is_read_as_numpy_reads_it() -> None:
    bits = np.arange(1, 0x7C00, dtype=np.uint16)  # all positive ones, denormal ones among them

    @njit(_nrt=False)  # type: ignore[misc]
    def read(bits, out):  # type: ignore[no-untyped-def]
        for at in range(bits.shape[0]):
            out[at] = half_of(bits[at])

    out = np.empty(len(bits), np.float32)
    read(bits, out)
    assert np.array_equal(out, bits.view(np.float16).astype(np.float32))


@given(st.lists(weights_of_any_size, min_size=1))
def test_rounding_is_to_the_nearest_and_never_to_nothing(given: list[float]) -> None:
    weights = np.array(given, np.float32)
    nearest = rounded(weights)
    assert (nearest > 0).all() and as_halves(nearest) is not None
    allowed = np.maximum(weights / np.float32(2048), np.float32(2.0**-24))
    assert (np.abs(nearest - weights) <= allowed).all()
    halves = as_halves(weights)
    assert (halves is None) == bool((nearest != weights).any())


def test_only_known_types_are_taken(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'int8'; it can be float32 or float16"):
        checked_dtype("int8")
    with pytest.raises(ConfigError, match="float16"):
        Index.create(tmp_path / "index", encoder=None, vocab_size=3, dtype="int8")  # type: ignore[arg-type]


@pytest.mark.parametrize("numpy_only", [True, False])
def test_weights_that_fit_are_kept_as_halves_and_nothing_is_lost(
    tmp_path: Path, numpy_only: bool
) -> None:
    vectors = random_vectors(400, 1, exact=True)
    queries = random_vectors(20, 2, exact=False)
    with make(tmp_path / "index", vectors) as index:
        assert weight_arrays(index) == [HALVES]
        folder = tmp_path / "index/segments/seg-00000001"
        assert (folder / HALVES).stat().st_size == 2 * len(vectors.terms)
        assert not (folder / WEIGHTS).exists()
        if not numpy_only:
            load_kernels()
        [live] = index._view.snapshot.segments
        assert live.segment.vectors(0, 400).weights.tolist() == vectors.weights.tolist()
        assert live.segment.vectors(0, 400).weights.dtype == np.float32
        for query in queries:
            found = index.search(query, k=10, exact=True)
            wanted = exact_search([live], query, 10)
            assert found.ids == [hit.id for hit in wanted]
            assert found.scores == [hit.score for hit in wanted]
            assert list(index.score(query, found.ids)) == found.scores
        assert index.explain(queries[0], found.ids[0]).terms
        assert index.more_like("d3", k=3).ids
        assert check_folder(tmp_path / "index").problems == []


def test_one_weight_that_does_not_fit_keeps_the_segment_as_float32(tmp_path: Path) -> None:
    exact, other = random_vectors(30, 3, exact=True), random_vectors(1, 4, exact=False)
    with make(tmp_path / "index", exact, other) as index:
        assert weight_arrays(index) == [HALVES, WEIGHTS]
        before = {one.id: one for one in index.search(other[0], k=31, exact=True)}
        index.merge()
        assert weight_arrays(index) == [WEIGHTS]
        assert {one.id: one for one in index.search(other[0], k=31, exact=True)} == before
        index.delete(["d30"])
        index.merge()
        assert weight_arrays(index) == [HALVES]
        assert not (tmp_path / "index/segments/seg-00000004" / WEIGHTS).exists()


def test_the_same_bytes_however_documents_came(tmp_path: Path) -> None:
    vectors = random_vectors(64, 5, exact=True)
    parts = [vectors.slice(at, at + 8) for at in range(0, 64, 8)]
    with make(tmp_path / "once", vectors) as once, make(tmp_path / "often", *parts) as often:
        often.merge()
        ours, theirs = (
            [file.read_bytes() for file in sorted(index.path.glob("segments/*/*"))]
            for index in (once, often)
        )
    assert ours == theirs


def test_an_index_that_asks_for_halves_rounds_and_loses_next_to_nothing(tmp_path: Path) -> None:
    vectors, queries = random_vectors(2000, 6, exact=False), random_vectors(50, 7, exact=False)
    with (
        make(tmp_path / "full", vectors) as full,
        make(tmp_path / "half", vectors, dtype="float16") as half,
    ):
        assert weight_arrays(full) == [WEIGHTS] and weight_arrays(half) == [HALVES]
        assert half.info().settings["dtype"] == "float16"
        assert "dtype" not in full.info().settings
        shared = 0
        for query in queries:
            best, found = (index.search(query, k=10, exact=True) for index in (full, half))
            shared += len(set(best.ids) & set(found.ids))
            assert np.allclose(best.scores, found.scores, rtol=2.0**-11)
        assert shared >= 0.99 * 10 * len(queries)
        half.upsert([Document("d1")], vectors=random_vectors(1, 8, exact=False))
        half.commit()
    with Index.open(tmp_path / "half") as again:
        again.merge()
        assert weight_arrays(again) == [HALVES]


@pytest.mark.parametrize("weight", [70_000.0, 1e30])
def test_a_weight_beyond_halves_names_its_document(tmp_path: Path, weight: float) -> None:
    vectors = SparseVectors.from_dicts([{1: 1.0}, {2: 1e-30, 4: weight}], vocab_size=VOCAB)
    with pytest.raises(DataError, match="document 'd1' has the weight") as caught:
        make(tmp_path / "index", vectors, dtype="float16")
    assert "--dtype" in (caught.value.hint or "")
    with make(tmp_path / "other", vectors) as index:
        assert index.search(SparseVector(*map(np.array, ([4], [1.0]))), k=1).scores == [
            float(np.float32(weight))
        ]


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_rows_score_as_in_brute_force(data: st.DataObject) -> None:
    from lsr.index.warmup import MemoryLive, MemorySegment

    load_kernels()
    rows = data.draw(
        st.lists(
            st.dictionaries(st.integers(0, VOCAB - 1), weights_of_any_size, min_size=1),
            min_size=1,
            max_size=8,
        )
    )
    vectors = SparseVectors.from_dicts(rows, vocab_size=VOCAB)
    near = SparseVectors.from_arrays(
        vectors.indptr, vectors.terms, rounded(vectors.weights), vocab_size=VOCAB
    )
    segment = MemorySegment.build(near)
    halved = MemorySegment.build(near)
    indptr, terms, weights = halved.forward
    halved.forward = (indptr, terms, weights.astype(np.float16))
    from lsr.index.search import score_rows

    numbers = np.arange(len(rows))
    for query in vectors:
        ours, theirs = (score_rows(one, query, numbers) for one in (halved, segment))
        assert ours.tolist() == theirs.tolist()
    assert exact_search([MemoryLive(halved)], vectors[0], 3) == exact_search(
        [MemoryLive(segment)], vectors[0], 3
    )
