"""The objective of a recipe: its parts, its state, and what it refuses."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lsr.errors import ConfigError, DataError, LsrError
from lsr.train.controller import TermsController
from lsr.train.encoded import Encoded
from lsr.train.guard import EMPTY_STEPS, FULL_STEPS
from lsr.train.objective import Candidates, Objective
from lsr.train.recipe import read_recipe

V = 40


def sparse(n: int, seed: int, share: float = 0.2) -> Encoded:
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(n, V, generator=generator)
    weights = weights * (torch.rand(n, V, generator=generator) < share)
    weights.requires_grad_()
    return Encoded(weights, weights)


def objective(name: str, *changes: str, **others: Any) -> Objective:
    others.setdefault("total_steps", 150_000)
    return Objective(read_recipe(name, changes=changes), **others)


def test_parts_add_up_and_statistics_describe_the_vectors() -> None:
    loss = objective("splade-max")(sparse(4, 0), sparse(8, 1), Candidates(2), 25_000)
    assert set(loss.parts) == {"infonce", "query_flops", "document_flops"}
    assert loss.total.item() == pytest.approx(sum(loss.parts.values()))
    documents = sparse(8, 1).vectors.detach()
    share = (25_000 / (0.33 * 150_000)) ** 2
    assert loss.statistics["document_terms"] == pytest.approx(
        float((documents > 0).sum(1).float().mean())
    )
    assert loss.statistics["document_lambda"] == pytest.approx(1e-4 * share)
    assert loss.parts["document_flops"] == pytest.approx(
        1e-4 * share * float(documents.mean(0).square().sum())
    )


def test_a_side_without_a_regulariser_has_no_lambda() -> None:
    loss = objective("splade-doc")(sparse(4, 0), sparse(8, 1), Candidates(2), 100_000)
    assert loss.statistics["query_lambda"] == 0
    assert set(loss.parts) == {"infonce", "document_flops"}


def test_flops_per_slot_adds_the_columns() -> None:
    documents = sparse(6, 2)
    changes = "regularise.document.per_slot=true", "regularise.document.ramp_steps=0"
    loss = objective("splade-doc", *changes)(sparse(3, 3), documents, Candidates(2), 0)
    columns = documents.vectors.detach().view(3, 2, -1).unbind(1)
    expected = sum(float(rows.mean(0).square().sum()) for rows in columns)
    assert loss.parts["document_flops"] == pytest.approx(1e-4 * expected)


def test_in_batch_negatives_leave_out_duplicates() -> None:
    queries, documents = sparse(2, 4), sparse(2, 5)
    duplicates = torch.tensor([[False, True], [True, False]])
    loss = objective("splade-max")(queries, documents, Candidates(1, duplicates=duplicates), 0)
    assert loss.parts["infonce"] == pytest.approx(0.0, abs=1e-6)  # nothing but the positive is left


@pytest.mark.parametrize(
    ("candidates", "documents", "said"),
    [
        (Candidates(2), 7, "7 documents; 2 for each query"),
        (Candidates(0), 8, "0 for each query"),
        (Candidates(2, teacher=torch.zeros(1, 4, 3)), 8, "have shape (1, 4, 3)"),
    ],
)
def test_batches_that_do_not_fit_are_told(
    candidates: Candidates, documents: int, said: str
) -> None:
    with pytest.raises(DataError, match=re.escape(said)):
        objective("splade-max")(sparse(4, 0), sparse(documents, 1), candidates, 0)


def test_distilling_without_teachers_is_told() -> None:
    with pytest.raises(DataError, match="this batch has no scores"):
        objective("splade-v3")(sparse(4, 0), sparse(8, 1), Candidates(2), 0)


def test_weights_of_another_number_of_teachers_are_told() -> None:
    wrong = objective("splade-v3", "rank.ensemble.weights=[1.0, 2.0]")
    with pytest.raises(ConfigError, match="2 values for 1 teachers"):
        candidates = Candidates(2, teacher=torch.rand(1, 4, 2))
        wrong(sparse(4, 0), sparse(8, 1), candidates, 0)


def test_a_recipe_without_losses_is_told() -> None:
    with pytest.raises(ConfigError, match="weight 0"):
        objective("splade-max", "rank.infonce.weight=0")(
            sparse(4, 0), sparse(8, 1), Candidates(2), 0
        )


def test_idf_and_shares_of_steps_have_to_be_given() -> None:
    with pytest.raises(ConfigError, match="no idf was given"):
        objective("splade-max", "regularise.document.vector=idf")
    with pytest.raises(ConfigError, match="a share of a number of steps"):
        objective("prosper-bert", total_steps=None)


def test_ramp_goes_on_where_it_was_since_it_follows_the_step() -> None:
    first = objective("splade-max")
    for step in (0, 10_000, 50_000):
        resumed = objective("splade-max")
        assert resumed.sides["document"].strength(step) == first.sides["document"].strength(step)


def test_state_goes_on_as_if_nothing_had_happened() -> None:
    changes = (
        "regularise.document.vector=df",
        "regularise.document.df_every=3",
        "regularise.document.target_terms=4",
        "regularise.document.ramp_steps=0",
        "regularise.document.weight=0.1",
    )
    straight, before = objective("splade-doc", *changes), objective("splade-doc", *changes)

    def run(one: Objective, steps: range) -> list[float]:
        return [
            one(sparse(2, step), sparse(4, 50 + step), Candidates(2), step).total.item()
            for step in steps
        ]

    expected = run(straight, range(10))
    found = run(before, range(5))
    after = objective("splade-doc", *changes)
    after.load_state_dict(before.state_dict())
    assert found + run(after, range(5, 10)) == expected
    assert after.state_dict().keys() == straight.state_dict().keys()


def test_frequent_terms_are_penalised_under_df() -> None:
    one = objective(
        "splade-doc", "regularise.document.vector=df", "regularise.document.ramp_steps=0"
    )
    weights = torch.zeros(20, V)
    weights[:, 0] = 1  # in every document
    weights[0, 1] = 1  # in one of them
    weights.requires_grad_()
    documents = Encoded(weights, weights)
    one(sparse(20, 0), documents, Candidates(1), 0)
    loss = one(sparse(20, 0), documents, Candidates(1), 1)
    [gradient] = torch.autograd.grad(loss.total - 0, weights)
    factors = one.sides["document"].factors
    assert factors is not None and factors[0] == pytest.approx(1.0)
    assert factors[1] < 0.01
    assert bool(torch.isfinite(gradient).all())


@settings(max_examples=20, deadline=None)
@given(st.floats(0.01, 100), st.integers(10, 300))
def test_controller_reaches_its_target_from_anywhere(first: float, target: int) -> None:
    """Terms fall with the logarithm of lambda, with a lag, as they do in training."""
    controller, terms = TermsController(target), 400.0
    for _ in range(3000):
        wanted = 400.0 / (1 + first * controller.factor) ** 0.5
        terms += 0.05 * (wanted - terms)
        controller.update(terms, share=1.0)
    assert terms == pytest.approx(target, rel=0.1)


def test_controller_waits_for_the_ramp() -> None:
    controller = TermsController(10)
    controller.update(1000, share=0.0)
    assert controller.factor == 1.0


def test_empty_documents_end_training() -> None:
    one, empty = objective("splade-max"), torch.zeros(4, V, requires_grad=True)
    with pytest.raises(LsrError, match="have no terms") as caught:
        for step in range(EMPTY_STEPS):
            one(sparse(4, 0), Encoded(empty, empty), Candidates(1), step)
    assert caught.value.hint is not None and "weight" in caught.value.hint


def test_full_documents_end_training_once_the_ramp_is_over() -> None:
    one, full = objective("splade-max"), sparse(4, 9, share=0.9)
    for step in range(FULL_STEPS + 5):
        one(sparse(4, 0), full, Candidates(1), step)
    with pytest.raises(LsrError, match="of all terms"):
        for step in range(50_000, 50_000 + FULL_STEPS):
            one(sparse(4, 0), full, Candidates(1), step)


def test_one_bad_batch_does_not_end_training() -> None:
    one, empty = objective("splade-max"), torch.zeros(4, V, requires_grad=True)
    for step in range(3 * EMPTY_STEPS):
        documents = sparse(4, 1) if step % 5 == 0 else Encoded(empty, empty)
        loss = one(sparse(4, 0), documents, Candidates(1), step)
        assert bool(torch.isfinite(loss.total))


def test_tilde_learns_queries_from_documents_and_documents_from_queries() -> None:
    made = objective("tilde")
    queries, documents = sparse(3, 4), sparse(3, 5)
    reverse = sparse(3, 6).vectors
    marked = [one._replace(inputs=one.vectors > 0) for one in (queries, documents)]
    both = made(marked[0]._replace(reverse=reverse), marked[1], Candidates(1), 0)
    assert set(both.parts) == {"likelihood", "document_likelihood"}
    chances = torch.log_softmax(reverse, 1)
    terms = documents.vectors > 0
    expected = -torch.stack([row[mine].mean() for row, mine in zip(chances, terms, strict=True)])
    assert both.parts["document_likelihood"] == pytest.approx(
        float(expected.mean().detach()), rel=1e-5
    )
    assert set(made(*marked, Candidates(1), 0).parts) == {"likelihood"}
