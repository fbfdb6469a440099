"""Search by blocks: nothing is out of reach, scores are true, and nothing depends on threads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from block_cases import KNOBS, PRUNED, VOCAB, query_of, recall, topical
from hypothesis import given, settings
from hypothesis import strategies as st

from lsr.errors import IndexFormatError
from lsr.index import blocked
from lsr.index.block_build import gathered, make_blocks
from lsr.index.blocks import Blocks, BlockSettings
from lsr.index.exact import exact_search
from lsr.index.knobs import BlockKnobs
from lsr.index.search import load_kernels, search
from lsr.index.warmup import MemoryLive, MemorySegment
from lsr.sparse import SparseVector, SparseVectors

#: Keeps every posting, and opens every block.
WHOLE = BlockSettings(postings=10**6, rows=4, small=1)
OPEN_ALL = BlockKnobs(lists=10**6, skip_ratio=0, small=0)


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    load_kernels()


def blocks_of(vectors: SparseVectors, how: BlockSettings, **options: int) -> Blocks:
    terms = vectors.terms.astype(np.uint16 if vectors.vocab_size <= 65_536 else np.uint32)
    forward = vectors.indptr, terms, vectors.weights
    return gathered(list(make_blocks(forward, vectors.vocab_size, how, **options)))


def rows_of_list(blocks: Blocks, term: int) -> list[int]:
    first, last = blocks.starts[blocks.parts[blocks.lists[term : term + 2]]].tolist()
    found: list[int] = blocks.rows[first:last].tolist()
    return found


# --- what is made ------------------------------------------------------------------------------


def test_lists_keep_their_heaviest_postings_and_every_row_its_heaviest_term() -> None:
    vectors = topical(3000, 1)
    blocks = blocks_of(vectors, PRUNED)
    rows = np.repeat(np.arange(3000), np.diff(vectors.indptr))
    home = [int(row.terms[np.argmax(row.weights)]) for row in vectors]
    for term in range(VOCAB):
        mine = vectors.terms == term
        order = np.lexsort((rows[mine], -vectors.weights[mine]))[:40]
        kept = set(rows[mine][order].tolist()) | {r for r in range(3000) if home[r] == term}
        found = rows_of_list(blocks, term)
        assert len(found) == len(set(found)) and set(found) == kept
        assert blocks.largest[term] == vectors.weights[mine].max(initial=0)
    sizes = np.diff(blocks.starts)
    assert sizes.min() >= 1 and sizes.max() <= 20 and 3 < sizes.mean() < 8


def test_summaries_are_fourth_power_means_of_the_rows_of_a_block() -> None:
    vectors = topical(500, 2)
    blocks = blocks_of(vectors, replace(WHOLE, energy=1.0))
    dense = np.zeros((500, VOCAB))
    dense[np.repeat(np.arange(500), np.diff(vectors.indptr)), vectors.terms] = vectors.weights
    summaries = np.zeros((len(blocks.scales), VOCAB))
    for part in range(len(blocks.parts) - 1):
        ends = blocks.ends[blocks.terms_of[part] : blocks.terms_of[part + 1]]
        terms = blocks.terms[blocks.terms_of[part] : blocks.terms_of[part + 1]]
        assert (np.diff(terms.astype(int)) > 0).all()
        entries = blocks.entries[blocks.entries_of[part] : blocks.entries_of[part + 1]]
        assert ends[-1] == len(entries)
        owners = np.repeat(terms, np.diff(ends.astype(int), prepend=0))
        block = blocks.parts[part] + (entries >> 8)
        summaries[block, owners] = (entries & 255) * blocks.scales[block]
    for block in range(len(blocks.scales)):
        rows = dense[blocks.rows[blocks.starts[block] : blocks.starts[block + 1]]]
        mean = (rows**4).mean(axis=0) ** 0.25
        assert np.abs(summaries[block] - mean).max() <= mean.max() / 255 * 1.001


def test_less_energy_keeps_the_heaviest_entries() -> None:
    vectors = topical(500, 2)
    whole, half = (blocks_of(vectors, replace(WHOLE, energy=share)) for share in (1.0, 0.5))
    assert (whole.rows == half.rows).all() and (whole.scales == half.scales).all()
    assert len(half.entries) < 0.5 * len(whole.entries)
    assert (half.entries & 255).sum() >= 0.49 * (whole.entries & 255).astype(int).sum()


@pytest.mark.parametrize("vocab_size", [VOCAB, 70_000])
def test_blocks_are_the_same_for_any_threads_and_memory(vocab_size: int) -> None:
    vectors = topical(2000, 3)
    vectors = SparseVectors.from_arrays(
        vectors.indptr, vectors.terms, vectors.weights, vocab_size=vocab_size
    )
    one = blocks_of(vectors, PRUNED, threads=1)
    assert one.terms.dtype == (np.uint16 if vocab_size == VOCAB else np.uint32)
    for options in ({"threads": 4}, {"threads": 2, "held": 900}):
        for name, array, other in zip(
            Blocks._fields, one, blocks_of(vectors, PRUNED, **options), strict=True
        ):
            assert array.dtype == other.dtype and np.array_equal(array, other), name
    another = blocks_of(vectors, replace(PRUNED, seed=1))
    assert not np.array_equal(one.rows, another.rows)


def test_progress_goes_up_to_one() -> None:
    told: list[float] = []
    vectors = topical(2000, 3)
    list(
        make_blocks(
            (vectors.indptr, vectors.terms.astype(np.uint16), vectors.weights),
            VOCAB,
            PRUNED,
            progress=told.append,
        )
    )
    assert told == sorted(told) and told[-1] == 1


def test_rows_without_terms_and_weights_at_the_ends_of_float32_have_blocks() -> None:
    rows = [{1: 3e38, 2: 1e-45}, {}, {1: 1e-45}, {2: 1e-38, 3: 3e38}, {3: 1e30}] * 30
    vectors = SparseVectors.from_dicts(rows, vocab_size=8)
    blocks = blocks_of(vectors, replace(WHOLE, rows=2))
    assert set(blocks.rows.tolist()) == {row for row in range(150) if rows[row]}
    assert np.isfinite(blocks.scales).all()


def test_a_list_of_thousands_of_equal_rows_is_cut_into_small_blocks() -> None:
    vectors = SparseVectors.from_arrays(
        np.arange(5001), np.full(5000, 3), np.ones(5000, np.float32), vocab_size=8
    )
    blocks = blocks_of(vectors, PRUNED)
    assert len(blocks.rows) == 5000 and np.diff(blocks.starts).max() <= 20
    assert np.diff(blocks.parts).max() <= 256
    assert blocks.lists[3:5].tolist() == [0, len(blocks.parts) - 1]


def test_summaries_too_large_for_a_part_make_more_parts() -> None:
    n_rows, n_terms = 1000, 300
    terms = np.tile(np.arange(n_terms, dtype=np.uint32), (n_rows, 1))
    weights = np.random.default_rng(0).random(terms.shape).astype(np.float32) + 1
    weights[:, 0] += 2  # the heaviest of all rows, which makes one long list
    bounds = np.arange(n_rows + 1) * n_terms
    flat = terms.reshape(-1), weights.reshape(-1)
    vectors = SparseVectors.from_arrays(bounds, *flat, vocab_size=n_terms)
    how = BlockSettings(postings=1, share=0, rows=1, energy=1)
    segment = MemorySegment.build(vectors, blocks=how)
    blocks = segment.blocks
    assert blocks is not None and len(rows_of_list(blocks, 0)) == n_rows
    assert np.diff(blocks.lists).tolist() == [2] + [1] * (n_terms - 1)
    assert 50_000 < np.diff(blocks.entries_of).max() <= 65_535
    query, live = query_of(vectors, 7, 20), MemoryLive(segment)
    exact = search([live], query, 10)
    assert search([live], query, 10, knobs=OPEN_ALL).rows.tolist() == exact.rows.tolist()


# --- what is found -----------------------------------------------------------------------------


@given(
    seed=st.integers(0, 2**32 - 1),
    k=st.sampled_from([1, 5, 40]),
    share_deleted=st.sampled_from([0.0, 0.3, 1.0]),
    share_allowed=st.sampled_from([None, 0.5]),
    passages=st.booleans(),
    segments=st.sampled_from([1, 3]),
)
@settings(deadline=None, max_examples=60)
def test_with_all_postings_and_all_blocks_it_finds_what_brute_force_finds(
    seed: int,
    k: int,
    share_deleted: float,
    share_allowed: float | None,
    passages: bool,
    segments: int,
) -> None:
    rng = np.random.default_rng(seed)
    lives, allowed = [], []
    for number in range(segments):
        vectors = topical(120, seed + number, 60, 6)
        bounds = sorted({0, 120, *rng.integers(1, 120, 50).tolist()}) if passages else None
        n_documents = 120 if bounds is None else len(bounds) - 1
        names = [f"{number}-{at}" for at in rng.permutation(n_documents).tolist()]
        segment = MemorySegment.build(vectors, names, bounds, blocks=WHOLE)
        deleted = rng.random(n_documents) < share_deleted
        lives.append(MemoryLive(segment, deleted if share_deleted else None))
        allowed.append(rng.random(n_documents) < (share_allowed or 1))
    masks = None if share_allowed is None else allowed
    query = query_of(vectors, int(rng.integers(120)), 5)
    found = search(lives, query, k, masks, OPEN_ALL)
    exact = exact_search(lives, query, k, masks)
    assert found.path in ("blocks", "exact", "scan")
    assert found.scores.tolist() == [hit.score for hit in exact]
    where = zip(found.segments, found.documents, found.rows, strict=True)
    assert list(where) == [(hit.segment, hit.document, hit.row) for hit in exact]


def test_pruned_and_skipping_it_still_finds_nearly_all_and_scores_few() -> None:
    vectors = topical(8000, 5)
    live = MemoryLive(MemorySegment.build(vectors, blocks=replace(PRUNED, postings=300)))
    queries = [query_of(vectors, row) for row in range(0, 8000, 100)]
    assert recall(live, queries, KNOBS) > 0.95
    found = search([live], queries[3], 10, knobs=KNOBS)
    assert found.path == "blocks"
    assert 10 <= found.scored < 4000 and 0 < found.blocks < found.scored and found.postings > 0


def test_more_lists_and_less_skipping_open_more_and_find_more() -> None:
    vectors = topical(4000, 6)
    live = MemoryLive(MemorySegment.build(vectors, blocks=PRUNED))
    queries = [query_of(vectors, row) for row in range(0, 4000, 80)]

    def opened(knobs: BlockKnobs) -> int:
        return sum(search([live], query, 10, knobs=knobs).blocks for query in queries)

    for less, more in (
        (replace(KNOBS, lists=2), KNOBS),
        (replace(KNOBS, skip_ratio=0.9), replace(KNOBS, skip_ratio=0.2)),
    ):
        assert opened(less) < opened(more)
        assert recall(live, queries, less) <= recall(live, queries, more)


def test_who_asks_for_k_and_has_them_gets_them() -> None:
    rows = [{1: 1.0, 2: 0.1 + at / 100} for at in range(50)]
    vectors = SparseVectors.from_dicts(rows, vocab_size=8)
    live = MemoryLive(MemorySegment.build(vectors, blocks=replace(PRUNED, postings=3)))
    # The list of term 2 was pruned; of term 1's, which all rows have, nothing is missing.
    query = SparseVector(np.array([2], np.uint32), np.ones(1, np.float32))
    found = search([live], query, 20, knobs=KNOBS)
    assert (len(found.rows), found.path) == (20, "exact")
    found = search([live], query, 3, knobs=KNOBS)
    assert (found.rows.tolist(), found.path) == ([49, 48, 47], "blocks")


def test_a_filter_never_lets_an_excluded_document_through() -> None:
    vectors = topical(4000, 7)
    segment = MemorySegment.build(vectors, blocks=PRUNED)
    rng = np.random.default_rng(7)
    allowed, deleted = rng.random(4000) < 0.5, rng.random(4000) < 0.3
    for row in range(0, 4000, 200):
        found = search([MemoryLive(segment, deleted)], query_of(vectors, row), 10, [allowed], KNOBS)
        assert found.path == "blocks" and len(found.documents) == 10
        assert allowed[found.documents].all() and not deleted[found.documents].any()


def test_recall_holds_after_deleting_a_third_of_the_documents() -> None:
    vectors = topical(8000, 8)
    how = replace(PRUNED, postings=300)
    deleted = np.random.default_rng(8).random(8000) < 0.3
    old = MemoryLive(MemorySegment.build(vectors, blocks=how), deleted)
    fresh = MemoryLive(MemorySegment.build(vectors.take(np.flatnonzero(~deleted)), blocks=how))
    queries = [query_of(vectors, row) for row in range(0, 8000, 40)]
    for knobs in (KNOBS, replace(KNOBS, skip_ratio=0.6)):
        assert recall(old, queries, knobs) >= recall(fresh, queries, knobs) - 0.005


def test_arrays_that_do_not_fit_together_are_refused() -> None:
    vectors = topical(200, 9)
    segment = MemorySegment.build(vectors, blocks=WHOLE)
    assert segment.blocks is not None
    for name in Blocks._fields:
        if name in ("scales", "rows", "largest", "terms", "ends", "entries"):
            wrong = {name: getattr(segment.blocks, name)[1:]}
        else:
            wrong = {name: getattr(segment.blocks, name) + 1}
        bad = MemoryLive(replace(segment, blocks=segment.blocks._replace(**wrong)))
        with pytest.raises(IndexFormatError, match="do not fit together"):
            search([bad], query_of(vectors, 0), 10, knobs=OPEN_ALL)
    with pytest.raises(ValueError, match="has no blocks"):
        blocked._prepare(replace(segment, blocks=None))
