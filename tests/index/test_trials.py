"""Calibration by ranks: what listings tell beforehand is what searches find."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsr.index.knobs import SearchKnobs
from lsr.index.listing import list_rows
from lsr.index.samples import TERMS, Source, draw_samples
from lsr.index.search import load_kernels, search
from lsr.index.trials import CUTOFFS, ROW_COST, Trial, sweep_cost, try_shortlists
from lsr.index.warmup import MemoryLive, MemorySegment
from lsr.sparse import SparseVector, SparseVectors


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


def random_lives(seed: int, sizes: list[int], deleted: float, passages: bool) -> list[MemoryLive]:
    """Return segments of so many rows, with windows of 130 rows."""
    rng = np.random.default_rng(seed)
    lives = []
    for number, size in enumerate(sizes):
        vectors = zipf_vectors(size, 80, 12, seed + number)
        cuts = rng.integers(1, size, size // 2).tolist()
        bounds = sorted({0, size, *cuts}) if passages else None
        segment = MemorySegment.build(vectors, document_rows=bounds, window_rows=130)
        out = rng.random(segment.n_documents) < deleted if deleted else None
        lives.append(MemoryLive(segment, out))
    return lives


@given(
    seed=st.integers(0, 2**31),
    sizes=st.sampled_from([[400], [250, 150], [60, 300, 9]]),
    k=st.sampled_from([1, 5, 30]),
    deleted=st.sampled_from([0.0, 0.3]),
    passages=st.booleans(),
    of_document=st.booleans(),
)
@settings(deadline=None, max_examples=40)
def test_recall_and_cost_by_ranks_are_those_of_searches(
    seed: int, sizes: list[int], k: int, deleted: float, passages: bool, of_document: bool
) -> None:
    lives = random_lives(seed, sizes, deleted, passages)
    sample = list(draw_samples(lives, 40))[seed % 8]
    trial = Trial.of(lives, sample.query, sample.source if of_document else None, [1, k][k == 1 :])
    points = try_shortlists(lives, [trial], lambda *_: False, lambda share: None)
    assert points.keys() == {1, k} and len(points[k]) >= 2 * len(CUTOFFS)
    if of_document:
        # As if the document was not in the index.
        number, document = sample.source
        out = lives[number].deleted
        out = np.zeros(lives[number].segment.n_documents, np.bool_) if out is None else out.copy()
        out[document] = True
        lives[number] = replace(lives[number], deleted=out)
    best = search(lives, sample.query, k)
    assert np.array_equal(trial.best.scores, best.scores)
    for point in points[k][seed % 7 :: 7]:
        found = search(lives, sample.query, k, knobs=replace(point.knobs, small=0))
        least = best.scores[-1] if len(best.scores) else 0
        reached = np.count_nonzero(found.scores >= least) / max(1, len(best.scores))
        cost = found.postings + ROW_COST * found.scored + sweep_cost(lives)
        if passages:
            assert point.recall <= reached + 1e-9
        else:
            assert point.recall == pytest.approx(reached)
        assert point.cost >= cost - 1e-6
        if len(lives) == 1 and found.path == "accumulate":
            assert point.cost == pytest.approx(cost)


@pytest.mark.parametrize("passages", [False, True])
@pytest.mark.parametrize("cutoff", [0.0, 0.2, 0.5])
def test_the_first_rows_of_a_long_list_are_the_short_list(cutoff: float, passages: bool) -> None:
    (live,) = random_lives(3, [3000], 0.2, passages)
    for query, _ in draw_samples([live], 20):
        long = list_rows(live, query, cutoff, 2000)
        in_order = long.rows[np.argsort(long.places)]
        documents = long.rows if long.documents is None else long.documents
        assert len(in_order) and not live.deleted[documents].any()
        for wanted in (1, 7, 60, 500):
            short = list_rows(live, query, cutoff, wanted)
            assert short.rows[np.argsort(short.places)].tolist() == in_order[:wanted].tolist()
            assert short.postings == long.postings


def test_a_listing_tells_places_and_documents_with_and_without_some() -> None:
    (live,) = random_lives(5, [300], 0, True)
    query = next(draw_samples([live], 4)).query
    listing = list_rows(live, query, 0.2, 50)
    in_order = listing.rows[np.argsort(listing.places)]
    assert listing.places_of(in_order).tolist() == list(range(listing.size))
    missing = np.setdiff1d(np.arange(300), in_order)
    assert (listing.places_of(missing) == listing.size).all()
    documents = live.segment.row_document[in_order].tolist()
    for count in (1, 5, 20):
        rows = int(listing.rows_with(count))
        assert len(set(documents[:rows])) == count > len(set(documents[: rows - 1]))
    assert listing.rows_with(51) == np.inf
    some = documents[3]
    fewer = list_rows(live, query, 0.2, 50, but=some)
    kept = [row for row, one in zip(in_order.tolist(), documents, strict=True) if one != some]
    assert fewer.rows[np.argsort(fewer.places)].tolist()[: len(kept)] == kept
    assert 50 <= fewer.size < 60 and some not in live.segment.row_document[fewer.rows]


def test_a_query_without_known_terms_and_one_beyond_the_units_list_nothing() -> None:
    (live,) = random_lives(5, [300], 0, False)
    for terms, weights in (([90], [1.0]), ([1, 2], [1e30, 1e-30])):
        query = SparseVector(np.array(terms, np.uint32), np.array(weights, np.float32))
        listing = list_rows(live, query, 0.1, 10)
        assert listing.size == 0 and listing.places_of(np.array([4])).tolist() == [0]
        trial = Trial.of([live], query, None, [3])
        points = try_shortlists([live], [trial], lambda *_: False, lambda share: None)[3]
        # Nothing is listed, so all is searched exactly.
        assert {point.recall for point in points} == {1.0 if terms == [1, 2] else 0.0}


def test_settled_sizes_are_not_tried_further_and_progress_ends_at_one() -> None:
    (live,) = random_lives(7, [500], 0, False)
    trials = [
        Trial.of([live], query, source, [2, 20][: 1 + number % 2])
        for number, (query, source) in enumerate(draw_samples([live], 6), 1)
    ]
    told: list[float] = []
    steps = {2: 3, 20: 5}
    counts: dict[int, int] = {2: 0, 20: 0}

    def settled(k: int, points: list[object], least: float) -> bool:
        assert least >= sweep_cost([live])
        counts[k] += 1
        return counts[k] == steps[k]

    points = try_shortlists([live], trials, settled, told.append)
    assert counts == steps
    for k, some in points.items():
        assert {point.knobs.cutoff for point in some} == set(CUTOFFS[: steps[k]])
    assert told == sorted(told) and told[-1] == 1.0
    cutoffs = [point.knobs.cutoff for point in points[20]]
    assert cutoffs == sorted(cutoffs, reverse=True)


def test_samples_are_parts_of_documents_all_over_the_segments_and_the_same_each_time() -> None:
    lives = random_lives(1, [400, 200], 0, True)
    samples = list(draw_samples(lives, 30))
    assert [sample.source.segment for sample in samples] == [0] * 20 + [1] * 10
    again = list(draw_samples(lives, 30))
    for one, other in zip(samples, again, strict=True):
        assert one.source == other.source
        assert np.array_equal(one.query.terms, other.query.terms)
    for query, (number, document) in samples:
        segment = lives[number].segment
        assert (np.diff(query.terms.astype(np.int64)) > 0).all() and len(query.terms) <= TERMS[0]
        first, stop = segment.document_rows[document : document + 2]
        weights = [dict(zip(*segment_row(segment, row), strict=True)) for row in range(first, stop)]
        mine = dict(zip(query.terms.tolist(), query.weights.tolist(), strict=True))
        assert any(mine.items() <= one.items() for one in weights)
    assert Source(0, 0) == samples[0].source


def segment_row(segment: MemorySegment, row: int) -> tuple[list[int], list[float]]:
    indptr, terms, weights = segment.forward
    span = slice(indptr[row], indptr[row + 1])
    return terms[span].tolist(), weights[span].tolist()


def test_long_documents_are_drawn_by_weight() -> None:
    rng = np.random.default_rng(0)
    weights = np.where(np.arange(120) < 60, 0.1, 1.0) * rng.uniform(0.9, 1.1, (200, 120))
    rows = [dict(enumerate(row.tolist())) for row in weights]
    live = MemoryLive(MemorySegment.build(SparseVectors.from_dicts(rows, vocab_size=120)))
    samples = list(draw_samples([live], 100))
    assert [len(sample.query.terms) for sample in samples[:4]] == [*TERMS, *TERMS]
    light = np.mean([np.mean(sample.query.terms < 60) for sample in samples])
    assert 0.05 < light < 0.2  # a tenth of the weight, a little more as none is drawn twice
    assert SearchKnobs(0, 2).candidates(3) == 14
