from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from search_cases import random_rows, toy_set

import lsr.eval.search_truth as search_truth
from lsr.eval.search_sets import Csr, prepare_set
from lsr.eval.search_truth import Truth, find_truth, make_truth, truth_path
from lsr.sparse import SparseVectors


def csr(rows: SparseVectors) -> Csr:
    return Csr(rows.indptr, rows.terms, rows.weights, rows.vocab_size)


def of_query(truth: Truth, query: int) -> list[int]:
    return truth.rows[truth.indptr[query] : truth.indptr[query + 1]].tolist()


def brute_force(documents: Csr, queries: Csr) -> npt.NDArray[np.float64]:
    dense: npt.NDArray[np.float64] = (
        queries.scipy().astype(np.float64) @ documents.scipy().astype(np.float64).T
    ).toarray()
    return dense


@pytest.mark.parametrize("window", [7, 65_536])
def test_truth_is_what_brute_force_finds(window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_truth, "_WINDOW", window)
    documents, queries = csr(random_rows(90, 8, 40, 3)), csr(random_rows(9, 4, 40, 4))
    scores = brute_force(documents, queries)
    for k, truth in find_truth(documents, queries, [1, 10, 500]).items():
        for query in range(queries.n_rows):
            most = min(k, int((scores[query] > 0).sum()))
            assert truth.needed[query] == most
            best = np.argsort(-scores[query], kind="stable")[:most]
            assert set(best.tolist()) == set(of_query(truth, query))
            assert truth.recall(query, best.tolist(), k) == 1.0
            assert truth.recall(query, best.tolist()[: most // 2], k) == (most // 2) / most


def test_documents_that_tie_with_the_kth_all_count_as_hits() -> None:
    rows = SparseVectors.from_dicts(
        [{0: 3.0}, {0: 1.0}, {0: 1.0}, {0: 1.0}, {0: 0.5}], vocab_size=2
    )
    asked = SparseVectors.from_dicts([{0: 2.0}], vocab_size=2)
    truth = find_truth(csr(rows), csr(asked), [2])[2]
    assert of_query(truth, 0) == [0, 1, 2, 3] and truth.needed[0] == 2
    assert truth.recall(0, [0, 3], 2) == truth.recall(0, [0, 1], 2) == 1.0
    assert truth.recall(0, [2, 3], 2) == 1.0  # a tie with the k-th stands in for any hit
    assert truth.recall(0, [0, 4], 2) == 0.5


def test_row_given_twice_is_one_hit_and_what_comes_behind_k_is_none() -> None:
    truth = Truth(np.array([0, 3]), np.array([4, 7, 9]), np.array([3]))
    assert truth.recall(0, [4, 4, 4], 3) == pytest.approx(1 / 3)
    assert truth.recall(0, [1, 2, 3, 4, 7, 9], 3) == 0.0


def test_query_without_any_document_is_answered_by_nothing() -> None:
    rows = SparseVectors.from_dicts([{0: 3.0}], vocab_size=3)
    asked = SparseVectors.from_dicts([{2: 2.0}, {}], vocab_size=3)
    truth = find_truth(csr(rows), csr(asked), [5])[5]
    assert [truth.recall(query, [], 5) for query in range(2)] == [1.0, 1.0]


def test_truth_is_kept_beside_the_set(tmp_path: Path) -> None:
    found = prepare_set(str(toy_set(tmp_path / "toy")), tmp_path / "work")
    said: list[str] = []
    for _ in range(2):
        make_truth(found, [3, 5], said.append)
    assert said == ["exact answers of 12 queries"]
    kept = Truth.load(truth_path(found, 3))
    again = find_truth(found.documents, found.queries, [3])[3]
    assert all(np.array_equal(one, other) for one, other in zip(kept, again, strict=True))
