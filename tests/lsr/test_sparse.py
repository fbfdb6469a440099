from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsr.errors import DataError
from lsr.sparse import SparseVectors

VOCAB = 50
rows = st.lists(
    st.dictionaries(
        st.integers(0, VOCAB - 1),
        st.floats(2.0**-100, 2.0**100, width=32, allow_nan=False),
        max_size=12,
    ),
    max_size=12,
)


@given(rows)
def test_dicts_come_back_as_they_went_in(given_rows: list[dict[int, float]]) -> None:
    vectors = SparseVectors.from_dicts(given_rows, vocab_size=VOCAB)
    assert vectors.to_dicts() == given_rows
    assert all((np.diff(row.terms.astype(np.int64)) > 0).all() for row in vectors)


@given(rows)
def test_scipy_round_trip_keeps_every_weight(given_rows: list[dict[int, float]]) -> None:
    vectors = SparseVectors.from_dicts(given_rows, vocab_size=VOCAB)
    assert SparseVectors.from_scipy(vectors.to_scipy()) == vectors


@given(rows, st.data())
def test_take_and_slice_agree_with_plain_lists(
    given_rows: list[dict[int, float]], data: st.DataObject
) -> None:
    vectors = SparseVectors.from_dicts(given_rows, vocab_size=VOCAB)
    picked = (
        data.draw(st.lists(st.integers(0, len(given_rows) - 1), max_size=8)) if given_rows else []
    )
    start, stop = sorted(data.draw(st.tuples(st.integers(0, 14), st.integers(0, 14))))
    assert vectors.take(picked).to_dicts() == [given_rows[at] for at in picked]
    assert vectors.slice(start, stop).to_dicts() == given_rows[start:stop]


@given(rows, rows)
def test_concat_is_the_rows_of_both(
    first: list[dict[int, float]], second: list[dict[int, float]]
) -> None:
    parts = [SparseVectors.from_dicts(part, vocab_size=VOCAB) for part in (first, second)]
    assert SparseVectors.concat(parts).to_dicts() == first + second


@pytest.mark.parametrize(
    ("indptr", "terms", "weights", "said"),
    [
        ([0, 1], [3], [float("nan")], "row 0, term 3: weight nan"),
        ([0, 1], [3], [float("inf")], "row 0, term 3: weight inf"),
        ([0, 1], [3], [-1.0], "row 0, term 3: weight -1.0"),
        ([0, 1], [3], [0.0], "row 0, term 3: weight 0.0"),
        ([0, 1], [3], [1e300], "row 0, term 3: weight 1e\\+300"),
        ([0, 1], [3], [1e-300], "row 0, term 3: weight 1e-300"),
        ([0, 1], [9], [1.0], "row 0: term 9 is outside the vocabulary of 9"),
        ([0, 1], [-1], [1.0], "row 0: term -1 is outside"),
        ([0, 0, 2], [4, 4], [1.0, 1.0], "row 1: term 4 comes twice"),
        ([0, 0, 2], [4, 2], [1.0, 1.0], "row 1: term 2 comes after term 4"),
        ([0, 2, 1], [4], [1.0], "row 1: indptr falls from 2 to 1"),
        ([0, 2], [4], [1.0], "indptr must start at 0"),
        ([1], [], [], "indptr must start at 0"),
        ([0, 1], [4], [1.0, 2.0], "there are 1 terms but 2 weights"),
        ([0, 1], [1.5], [1.0], "terms has dtype float64"),
    ],
)
def test_bad_arrays_are_refused_by_row_and_term(
    indptr: list[int], terms: list[int], weights: list[float], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        SparseVectors.from_arrays(indptr, terms, weights, vocab_size=9)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"a": 1.0}, "term 'a' is not an integer"),
        ({True: 1.0}, "term True"),
        ({1: "x"}, "weight 'x' is not a number"),
        ({1: True}, "weight True is not a number"),
        ({2**70: 1.0}, "does not fit 64 bits"),
    ],
)
def test_bad_dicts_are_refused(row: dict[int, float], said: str) -> None:
    with pytest.raises(DataError, match=said):
        SparseVectors.from_dicts([row], vocab_size=9)


@pytest.mark.parametrize("size", [0, -1, 2**32, 1.5, True])
def test_vocabulary_sizes_that_cannot_be_are_refused(size: int) -> None:
    with pytest.raises(DataError, match="vocab_size"):
        SparseVectors.empty(size)


def test_vectors_cannot_be_changed_or_made_unchecked() -> None:
    vectors = SparseVectors.from_dicts([{1: 1.0}], vocab_size=2)
    with pytest.raises(AttributeError, match="immutable"):
        vectors.vocab_size = 3
    with pytest.raises(ValueError, match="read-only"):
        vectors.weights[0] = 2.0
    with pytest.raises(TypeError, match="from_arrays"):
        SparseVectors(vectors.indptr, vectors.terms, vectors.weights, 2, _checked=False)


def test_the_callers_arrays_are_not_shared_or_frozen() -> None:
    weights = np.array([1.0], np.float32)
    vectors = SparseVectors.from_arrays([0, 1], [0], weights, vocab_size=1)
    weights[0] = 7.0
    assert vectors.weights[0] == 1.0


@given(
    st.lists(st.integers(-1, 5), min_size=0, max_size=4),
    st.lists(st.integers(-1, 4), max_size=4),
    st.lists(st.sampled_from([1.0, 2.5, 0.0, -1.0, np.inf, -np.inf, np.nan]), max_size=4),
)
def test_few_entries_are_checked_as_many_are(
    indptr: list[int], terms: list[int], weights: list[float]
) -> None:
    def outcome(dtype: type) -> object:
        arrays = np.array(indptr, np.int64), np.array(terms, np.int64), np.array(weights, dtype)
        try:
            found = SparseVectors.from_arrays(*arrays, vocab_size=4)
        except DataError as error:
            return error.message
        return found.to_dicts(), found.weights.dtype

    # Other types than float32 go the long way.
    assert outcome(np.float32) == outcome(np.float64)
