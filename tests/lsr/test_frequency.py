"""The frequency residual: a term of a text is lifted by how often it stands in it."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lsr.frequency import add_frequency, saturation
from lsr.head import Row

SPECIAL = np.array([0, 1], np.int32)
VOCABULARY = 12
#: A subnormal number times a share may be rounded to zero; weights that are learned are none.
LIFTS = st.just(0.0) | st.floats(2.0**-20, 3, width=32)


@given(
    ids=st.lists(st.integers(0, VOCABULARY - 1), max_size=40),
    weights=st.dictionaries(st.integers(2, VOCABULARY - 1), st.floats(0.125, 5, width=32)),
    lift=st.lists(LIFTS, min_size=VOCABULARY, max_size=VOCABULARY),
)
def test_a_row_gets_what_bm25_says_of_each_term(
    ids: list[int], weights: dict[int, float], lift: list[float]
) -> None:
    terms = np.array(sorted(weights), np.int64)
    row = Row(terms, np.array([weights[int(term)] for term in terms], np.float32))
    found = add_frequency(row, np.array(ids, np.int32), np.array(lift, np.float32), SPECIAL)
    own = [term for term in ids if term not in SPECIAL]
    expected = dict(weights)
    for term, count in Counter(own).items():
        added = lift[term] * count / (count + 0.9 * (0.25 + 0.75 * len(own) / 100))
        if added > 0:
            expected[term] = expected.get(term, 0.0) + added
    assert found.terms.tolist() == sorted(expected)
    wanted = [expected[term] for term in found.terms.tolist()]
    np.testing.assert_allclose(found.weights, wanted, rtol=1e-5)
    assert found.weights.dtype == np.float32


def test_frequency_saturates_and_long_texts_count_less() -> None:
    counts = np.arange(1.0, 50.0)
    short, long = saturation(counts, np.array(20.0)), saturation(counts, np.array(400.0))
    assert (np.diff(short) > 0).all() and short[-1] < 1
    assert (long < short).all()
