"""Formulas of the papers, against worked values and against each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from lsr.head_parts import activate, focus, literal_residual, prune
from lsr.train.literal import LiteralResidual
from lsr.train.ramp import ramp
from lsr.train.ranking import (
    combine_teachers,
    infonce,
    kl,
    marginmse,
    own_scores,
    term_likelihood,
    term_mse,
)
from lsr.train.regularisers import df_factors, flops, idf_factors, joint, l1

IDF = torch.tensor([0.1353, 5.7729])


def test_idf_on_the_query_equals_idf_in_the_documents_with_its_factors() -> None:
    """arXiv:2411.04403: (A) table on the query and plain FLOPS, (B) the same in document space."""
    torch.manual_seed(0)
    idf = torch.rand(30) * 5 + 0.1
    raw = torch.rand(8, 30, requires_grad=True)
    query = (torch.rand(4, 30) < 0.3).float()
    positives = torch.arange(4) * 2
    a = infonce((query * idf) @ raw.T, positives) + 0.1 * flops(raw)
    b = infonce(query @ (raw * idf).T, positives) + 0.1 * flops(raw * idf, idf_factors(idf))
    c = infonce(query @ (raw * idf).T, positives) + 0.1 * flops(raw * idf)
    torch.testing.assert_close(a, b)
    [da], [db], [dc] = (torch.autograd.grad(loss, raw, retain_graph=True) for loss in (a, b, c))
    torch.testing.assert_close(da, db, atol=1e-6, rtol=1e-5)
    assert (da - dc).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("query_idf", "document_idf", "factors", "ratio"),
    [
        (IDF, torch.ones(2), None, float((IDF[0] / IDF[1]) ** 2)),  # (A)
        (torch.ones(2), IDF, idf_factors(IDF), float((IDF[0] / IDF[1]) ** 2)),  # (B)
        (torch.ones(2), IDF, None, 1.0),  # (C): FLOPS on documents times idf; idf cancels
    ],
)
def test_stationary_point_of_a_constant_pull(
    query_idf: Tensor, document_idf: Tensor, factors: Tensor | None, ratio: float
) -> None:
    """At equal pull, what a term adds to the score goes with idf squared, or not at all."""
    raw = torch.full((1, 2), 0.5, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([raw], lr=0.5, max_iter=400, tolerance_grad=1e-12)

    def loss() -> Tensor:
        optimiser.zero_grad()
        documents = raw * document_idf
        value = 0.5 * flops(documents, factors) - (documents * query_idf).sum()
        value.backward()
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    contribution = (raw * document_idf * query_idf).detach()[0]
    assert float(contribution[0] / contribution[1]) == pytest.approx(ratio, rel=1e-3)


def test_the_floor_of_idf_keeps_factors_finite() -> None:
    assert idf_factors(torch.zeros(3)).tolist() == pytest.approx([400.0] * 3)


def test_minmax_of_equal_scores_is_zero() -> None:
    scores = torch.full((2, 3, 4), 7.0)
    assert combine_teachers(scores, scale=30.0).tolist() == [[0.0] * 4] * 3


def test_teachers_are_normalised_by_query_weighted_and_scaled() -> None:
    first = torch.tensor([[0.0, 5.0, 10.0]])
    second = torch.tensor([[-2.0, -1.0, -2.0]])
    scores = torch.stack([first, second])
    equal = combine_teachers(scores, scale=10.0)
    torch.testing.assert_close(equal, torch.tensor([[0.0, 7.5, 5.0]]), atol=1e-4, rtol=0)
    mostly_first = combine_teachers(scores, scale=1.0, weights=[3, 1])
    torch.testing.assert_close(mostly_first, torch.tensor([[0.0, 0.625, 0.75]]), atol=1e-4, rtol=0)
    raw = combine_teachers(scores[:1], normalise="none")
    torch.testing.assert_close(raw, first)
    standard = combine_teachers(scores[:1], normalise="standard")
    torch.testing.assert_close(standard.mean(1), torch.zeros(1), atol=1e-6, rtol=0)
    torch.testing.assert_close(standard.std(1, correction=0), torch.ones(1), atol=1e-5, rtol=0)


def test_kl_of_the_same_scores_is_zero_and_its_gradient_sums_to_zero() -> None:
    teacher = torch.randn(5, 7)
    assert float(kl(teacher, teacher)) == pytest.approx(0.0, abs=1e-6)
    student = torch.randn(5, 7, requires_grad=True)
    loss = kl(student, teacher, temperature=2.0)
    [gradient] = torch.autograd.grad(loss, student)
    torch.testing.assert_close(gradient.sum(1), torch.zeros(5), atol=1e-6, rtol=0)
    p, q = (teacher / 2).softmax(1), (student / 2).softmax(1)
    torch.testing.assert_close(loss, (p * (p / q).log()).sum(1).mean())


def test_marginmse_looks_at_margins_only() -> None:
    scores = torch.tensor([[3.0, 1.0, 0.0]])
    assert float(marginmse(scores, scores + 100)) == pytest.approx(0.0)
    teacher = torch.tensor([[3.0, 2.0, 0.0]])
    assert float(marginmse(scores, teacher)) == pytest.approx(0.5)  # (1 + 0) / 2


def test_infonce_leaves_duplicates_out_but_never_the_positive() -> None:
    scores = torch.tensor([[2.0, 2.0, 0.0]])
    positive = torch.tensor([0])
    assert float(infonce(scores, positive)) == pytest.approx(math.log(2 + math.exp(-2)))
    excluded = torch.tensor([[True, True, False]])
    without = float(infonce(scores, positive, excluded=excluded))
    assert without == pytest.approx(math.log(1 + math.exp(-2)))


def test_own_scores_are_inner_products_with_the_own_group() -> None:
    queries, documents = torch.rand(3, 10), torch.rand(6, 10)
    every = queries @ documents.T
    expected = torch.stack([every[at, 2 * at : 2 * at + 2] for at in range(3)])
    torch.testing.assert_close(own_scores(queries, documents, 2), expected)


def test_l0_mask_spares_documents_of_up_to_t_terms() -> None:
    """arXiv:2504.14839: strictly more than t terms are penalised; spared ones count in n."""
    short, long = torch.zeros(6), torch.zeros(6)
    short[:3] = 1
    long[:4] = 1
    assert float(flops(short[None], l0_threshold=3)) == 0
    assert float(flops(long[None], l0_threshold=3)) == 4
    assert float(flops(torch.stack([short, long]), l0_threshold=3)) == pytest.approx(4 / 4)
    assert float(l1(torch.stack([short, long]), l0_threshold=3)) == pytest.approx(2)


def test_unbiased_flops_is_the_same_at_every_batch_size_and_plain_is_not() -> None:
    torch.manual_seed(1)
    collection = torch.rand(4096, 50) * (torch.rand(4096, 50) < 0.1)
    truth = float(flops(collection))

    def mean(n: int, *, unbiased: bool) -> float:
        rows = collection[: 4096 // n * n].view(-1, n, 50)
        return float(np.mean([float(flops(part, unbiased=unbiased)) for part in rows]))

    assert mean(4, unbiased=True) == pytest.approx(truth, rel=0.03)
    assert mean(64, unbiased=True) == pytest.approx(truth, rel=0.03)
    assert mean(4, unbiased=False) > 2 * truth
    one = collection[:1]
    assert float(flops(one, unbiased=True)) == float(flops(one))


def test_unbiased_flops_is_never_negative_and_is_the_mean_over_pairs() -> None:
    weights = torch.rand(5, 9) * (torch.rand(5, 9) < 0.5)
    pairs = [(i, j) for i in range(5) for j in range(5) if i != j]
    expected = torch.stack([weights[i] @ weights[j] for i, j in pairs]).mean()
    torch.testing.assert_close(flops(weights, unbiased=True), expected)
    assert float(flops(torch.eye(4), unbiased=True)) >= 0


def test_joint_flops_is_the_expected_product_of_a_pair() -> None:
    queries, documents = torch.rand(3, 8), torch.rand(5, 8)
    expected = (queries @ documents.T).mean()
    torch.testing.assert_close(joint(queries, documents), expected)


def test_df_activation_is_half_at_alpha_one_at_one_and_finite_at_zero() -> None:
    """arXiv:2505.15070; the factors are squares of the activation."""
    shares = torch.tensor([0.0, 0.1, 1.0, 0.001, 0.5])
    factors = df_factors(shares, alpha=0.1, beta=10.0, n_documents=1000).sqrt()
    assert factors[1] == pytest.approx(0.5)
    assert factors[2] == pytest.approx(1.0)
    assert bool(torch.isfinite(factors).all())
    assert float(factors[0]) == pytest.approx(float(factors[3]), rel=0.01)
    assert factors[3] < 1e-6
    assert 0.5 < factors[4] <= 1


def test_literal_residual_lifts_literal_terms_only() -> None:
    """arXiv:2510.18527: never negative, zero outside the text, gradients in few rows."""
    torch.manual_seed(2)
    layer = LiteralResidual(6, 20)
    state = torch.randn(2, 6)
    inputs = torch.zeros(2, 20, dtype=torch.bool)
    inputs[0, [3, 7]] = True
    inputs[1, [0]] = True
    residual = layer(state, inputs)
    assert bool((residual >= 0).all())
    assert int((residual * ~inputs).count_nonzero()) == 0
    residual.sum().backward()
    opposed = layer.linear(functional.relu(state).log1p())
    largest = opposed.argmax(1).tolist()
    gradient = layer.linear.bias.grad
    assert gradient is not None
    assert set(gradient.nonzero().squeeze(1).tolist()) <= {3, 7, 0, *largest}
    expected = opposed.max(1).values[0] - opposed[0, 3]
    torch.testing.assert_close(residual[0, 3], expected)
    everywhere = literal_residual(opposed, torch.ones(2, 20, dtype=torch.bool))
    assert everywhere.argmin(1).tolist() == largest


def test_window_keeps_the_largest_and_their_gradients() -> None:
    weights = torch.tensor([[0.0, 3.0, 1.0, 2.0], [0.0, 0.0, 5.0, 0.0]], requires_grad=True)
    assert focus(weights, 3).equal(weights)
    assert focus(weights, 0).equal(weights)
    focused = focus(weights, 2)
    assert focused.tolist() == [[0, 3, 0, 2], [0, 0, 5, 0]]
    focused.sum().backward()
    assert weights.grad is not None
    assert weights.grad[0].tolist() == [0, 1, 0, 1]
    assert weights.grad[1, 2] == 1


def test_prune_drops_weights_of_at_most_the_share() -> None:
    weights = torch.tensor([[1.0, 0.1, 0.11]])
    assert prune(weights, 0.1).tolist() == [[1.0, 0.0, pytest.approx(0.11)]]
    assert prune(weights, 0.0).equal(weights)


def test_activations_and_logarithms() -> None:
    logits = torch.tensor([-1.0, 0.0, math.e - 1])
    assert activate(logits, "relu", 1).tolist() == pytest.approx([0, 0, 1])
    assert activate(logits, "relu", 2).tolist() == pytest.approx([0, 0, math.log(2)])
    assert activate(logits, "identity", 0).equal(logits)
    assert activate(logits, "softplus", 0)[0] == pytest.approx(math.log(1 + math.exp(-1)))


def test_ramp_begins_small_and_ends_whole() -> None:
    assert ramp(0, 100) == 0
    assert ramp(10, 100) == pytest.approx(0.01)
    assert ramp(100, 100) == ramp(1000, 100) == ramp(0, 0) == 1


def test_deepct_learns_which_terms_queries_recall() -> None:
    weights = torch.tensor([[0.5, 1.0, 0.3]])
    inputs = torch.tensor([[True, True, False]])
    recalled = torch.tensor([[True, False, True]])
    assert float(term_mse(weights, inputs, recalled)) == pytest.approx((0.25 + 1) / 2)


def test_likelihood_is_that_of_the_softmax_over_the_vocabulary() -> None:
    documents = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    terms = torch.tensor([[True, False, False], [False, False, False]])
    expected = -math.log(math.exp(2) / (math.exp(2) + 2))
    assert float(term_likelihood(documents, terms)) == pytest.approx(expected)
