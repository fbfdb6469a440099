"""The numpy oracle against arithmetic that is plainer still."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsr.index.exact import exact_scores, exact_search
from lsr.index.warmup import MemoryLive, MemorySegment
from lsr.sparse import SparseVectors

rows = st.lists(
    st.dictionaries(st.integers(0, 9), st.sampled_from([0.5, 1.0, 2.0]), max_size=6), max_size=12
)


@given(rows, st.dictionaries(st.integers(0, 14), st.sampled_from([0.5, 1.0, 3.0]), max_size=6))
@settings(deadline=None, max_examples=50)
def test_scores_are_the_inner_products(
    documents: list[dict[int, float]], query: dict[int, float]
) -> None:
    vectors = SparseVectors.from_dicts(documents, vocab_size=10)
    asked = SparseVectors.from_dicts([query], vocab_size=15)[0]
    scores = exact_scores(vectors.indptr, vectors.terms, vectors.weights, asked)
    expected = [
        sum(row.get(term, 0) * weight for term, weight in query.items()) for row in documents
    ]
    assert scores.dtype == np.float32
    assert scores.tolist() == expected  # halves and quarters: no rounding


def test_terms_are_added_in_ascending_order_in_float32() -> None:
    vectors = SparseVectors.from_dicts([{0: 1e8, 1: 1.0, 2: 1.0, 3: 1.0, 4: 1.0}], vocab_size=5)
    query = SparseVectors.from_dicts([dict.fromkeys(range(5), 1.0)], vocab_size=5)[0]
    scores = exact_scores(vectors.indptr, vectors.terms, vectors.weights, query)
    assert scores[0] == np.float32(1e8)  # each 1 is lost; summed first, they would not all be


def test_the_best_row_of_a_document_counts_and_of_equal_rows_the_first() -> None:
    vectors = SparseVectors.from_dicts([{0: 1.0}, {0: 2.0}, {0: 2.0}, {0: 1.5}], vocab_size=1)
    segment = MemorySegment.build(vectors, ["long", "short"], [0, 3, 4])
    hits = exact_search([MemoryLive(segment)], vectors[0], 5)
    assert [(hit.id, hit.row, hit.score) for hit in hits] == [("long", 1, 2.0), ("short", 3, 1.5)]


def test_equal_scores_are_ordered_by_the_bytes_of_the_id() -> None:
    names = ["é", "z", "a", "Z", "\U0001f600", "￿"]
    vectors = SparseVectors.from_dicts([{0: 1.0}] * len(names), vocab_size=1)
    live = MemoryLive(MemorySegment.build(vectors, names))
    found = [hit.id for hit in exact_search([live], vectors[0], 10)]
    assert found == ["Z", "a", "z", "é", "￿", "\U0001f600"]


@pytest.mark.parametrize(("weight", "score"), [(1e-30, None), (1e30, np.inf)])
def test_sums_beyond_float32_are_inf_and_products_below_it_are_no_hit(
    weight: float, score: float | None
) -> None:
    vectors = SparseVectors.from_dicts([{0: weight}], vocab_size=1)
    hits = exact_search([MemoryLive(MemorySegment.build(vectors))], vectors[0], 1)
    assert [hit.score for hit in hits] == ([] if score is None else [score])
