from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lsr.errors import ConfigError
from lsr.index.feedback import Feedback, average_dense, rm3, rocchio_dense, rocchio_sparse
from lsr.sparse import SparseVectors

VOCABULARY = 12
rows = st.dictionaries(st.integers(0, VOCABULARY - 1), st.floats(0.1, 9), min_size=1, max_size=6)


def vectors(found: list[dict[int, float]]) -> SparseVectors:
    return SparseVectors.from_dicts(found, vocab_size=VOCABULARY)


def test_rm3_by_hand() -> None:
    documents = [{"cat": 2, "purr": 2}, {"cat": 1, "milk": 3}]
    found = rm3({"cat": 1, "happy": 3}, documents, [3.0, 1.0], terms=2, alpha=0.5)
    cat, purr = 3 * 0.5 + 1 * 0.25, 3 * 0.5  # milk has 0.75, the least
    assert found == pytest.approx(
        {
            "cat": 0.5 * 0.25 + 0.5 * cat / (cat + purr),
            "happy": 0.5 * 0.75,
            "purr": 0.5 * purr / (cat + purr),
        }
    )


def test_rm3_takes_documents_alike_where_scores_mean_nothing() -> None:
    documents = [{"a": 1}, {"b": 1}]
    even = rm3({"q": 1}, documents, [1.0, 1.0], terms=5, alpha=0.5)
    assert rm3({"q": 1}, documents, [2.0, -1.0], terms=5, alpha=0.5) == even
    assert even == {"q": 0.5, "a": 0.25, "b": 0.25}


def test_rm3_adds_only_what_may_be_added() -> None:
    documents = [{"the": 9, "cat": 1}]
    found = rm3({"q": 2}, documents, [1.0], terms=5, alpha=0.5, keep=lambda term: term != "the")
    assert found == {"q": 0.5, "cat": 0.5}
    assert rm3({"q": 2}, documents, [1.0], terms=5, alpha=0.5, keep=lambda term: False) == {"q": 1}
    assert rm3({"q": 2}, [{}], [1.0], terms=5, alpha=0.5) == {"q": 1}
    assert rm3({}, documents, [1.0], terms=1, alpha=0.0) == {"the": 1.0}


@settings(deadline=None)
@given(rows, st.lists(rows, min_size=1, max_size=4), st.integers(1, 8), st.floats(0, 1))
def test_rocchio_on_sparse_vectors_equals_its_formula(
    query: dict[int, float], documents: list[dict[int, float]], terms: int, alpha: float
) -> None:
    found = rocchio_sparse(vectors([query])[0], vectors(documents), terms=terms, alpha=alpha)
    asked = vectors([query]).to_scipy().toarray()[0].astype(np.float64)
    rows = vectors(documents).to_scipy().toarray().astype(np.float64)
    mean = (rows / np.linalg.norm(rows, axis=1)[:, None]).sum(axis=0)
    order = np.argsort(-mean, kind="stable")
    # Which of two terms with nearly equal weights is kept may be decided by rounding.
    gap = mean[order[terms - 1]] - mean[order[terms]]
    assume(mean[order[terms]] == 0 or gap > 1e-5 * mean[order[0]])
    mean[order[terms:]] = 0
    length = np.linalg.norm(asked)
    mixed = alpha * asked / length + (1 - alpha) * mean / np.linalg.norm(mean)
    mixed *= length / np.linalg.norm(mixed)
    dense = np.zeros(VOCABULARY)
    dense[found.terms] = found.weights
    assert np.linalg.norm(dense) == pytest.approx(length, rel=1e-5)
    np.testing.assert_allclose(dense, mixed, atol=1e-5 * length)
    assert (np.diff(found.terms.astype(int)) > 0).all() and (found.weights > 0).all()


@settings(deadline=None)
@given(rows, st.lists(rows, min_size=1, max_size=4))
def test_all_of_the_query_is_the_query(query: dict[int, float], documents: list[Any]) -> None:
    asked = vectors([query])[0]
    found = rocchio_sparse(asked, vectors(documents), terms=5, alpha=1.0)
    assert found.terms.tolist() == asked.terms.tolist()
    np.testing.assert_allclose(found.weights, asked.weights, rtol=1e-5)


def test_dense_feedback_by_hand() -> None:
    query, documents = np.float32([1, 0, 2]), np.float32([[0, 1, 0], [2, 1, 0]])
    np.testing.assert_allclose(rocchio_dense(query, documents, alpha=0.4), [1.0, 0.6, 0.8])
    np.testing.assert_allclose(average_dense(query, documents), [1.0, 2 / 3, 2 / 3])
    assert rocchio_dense(query, documents, alpha=0.4).dtype == np.float32


def test_which_legs_get_feedback() -> None:
    assert Feedback().chosen(["sparse", "bm25", "dense"]) == ["sparse", "bm25", "dense"]
    assert Feedback(when="pre").chosen(["sparse", "bm25", "dense"]) == ["dense"]
    assert Feedback().chosen(["sparse", "bm25"]) == ["sparse", "bm25"]
    assert Feedback(when="pre").chosen(["sparse", "bm25"]) == ["sparse"]
    assert Feedback(legs=("bm25", "sparse")).chosen(["sparse", "bm25"]) == ["sparse", "bm25"]
    with pytest.raises(ConfigError, match="'dense'"):
        Feedback(legs=("dense",)).chosen(["sparse"])
    with pytest.raises(ConfigError, match="one leg"):
        Feedback(legs=("bm25", "sparse"), when="pre").chosen(["sparse", "bm25"])


@pytest.mark.parametrize(
    "bad",
    [
        {"docs": 0},
        {"docs": True},
        {"terms": 1001},
        {"alpha": 1.5},
        {"alpha": "all"},
        {"when": "never"},
        {"dense": "sum"},
    ],
)
def test_settings_that_mean_nothing_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Feedback(**bad)
