"""The chunked head gives what the whole matrix of logits would, values and gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lsr.head_parts import activate
from lsr.train import head
from lsr.train.head import gather_sums, max_logits, pool_weights


def naive(
    hidden: Tensor, weight: Tensor, bias: Tensor, lengths: list[int], *, floor: bool = True
) -> Tensor:
    logits = hidden @ weight.T + bias
    pooled = torch.stack([text.max(0).values for text in logits.split(lengths)])
    return pooled.relu() if floor else pooled


def leaves(n: int, width: int, terms: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = (n, width), (terms, width), (terms,)
    hidden, weight, bias = (torch.randn(shape, generator=generator) for shape in shapes)
    return hidden.requires_grad_(), weight.requires_grad_(), bias.requires_grad_()


def gradients(pooled: Tensor, inputs: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, ...]:
    steep = torch.linspace(-1, 1, pooled.numel()).view(pooled.shape)
    return torch.autograd.grad((pooled.log1p() * steep).sum(), inputs)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=6),
    st.sampled_from([1, 3, 16, 50, 1000]),
    st.sampled_from([1, 8, 64]),
    st.sampled_from([0.0, 0.05, 2.0]),
    st.floats(-3, 3),
    st.integers(0, 10**6),
)
def test_chunks_equal_the_whole_matrix(
    lengths: list[int], terms: int, tokens: int, dense: float, shift: float, seed: int
) -> None:
    inputs = leaves(sum(lengths), 5, 37, seed)
    with torch.no_grad():
        inputs[2].add_(shift)  # few terms active, or nearly all
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(head, "TERMS", terms)
        patch.setattr(head, "TOKENS", tokens)
        patch.setattr(head, "DENSE", dense)  # 0: always products, 2: never
        pooled = max_logits(*inputs, lengths)
        found = gradients(pooled, inputs)
    expected = naive(*inputs, lengths)
    torch.testing.assert_close(pooled, expected, atol=1e-5, rtol=1e-5)
    for one, other in zip(found, gradients(expected, inputs), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_all_terms_keeps_negative_logits_and_their_gradients() -> None:
    inputs, lengths = leaves(7, 4, 20, 1), [3, 4]
    pooled = max_logits(*inputs, lengths, all_terms=True)
    expected = naive(*inputs, lengths, floor=False)
    torch.testing.assert_close(pooled, expected)
    assert bool((pooled < 0).any())
    weights = torch.randn(pooled.shape)
    found = torch.autograd.grad((pooled * weights).sum(), inputs, retain_graph=True)
    wanted = torch.autograd.grad((expected * weights).sum(), inputs)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_of_equal_logits_the_first_token_gets_the_gradient() -> None:
    hidden = torch.ones(4, 2, requires_grad=True)
    weight, bias = torch.ones(3, 2), torch.zeros(3)
    max_logits(hidden, weight, bias, [3, 1]).sum().backward()
    assert hidden.grad is not None
    assert hidden.grad.tolist() == [[3, 3], [0, 0], [0, 0], [3, 3]]


def test_all_negative_logits_give_empty_vectors_and_no_gradient() -> None:
    hidden, weight, bias = leaves(5, 3, 11, 2)
    pooled = max_logits(hidden, weight, bias - 100, [2, 3])
    assert int(pooled.count_nonzero()) == 0
    pooled.sum().backward()
    assert hidden.grad is not None and int(hidden.grad.count_nonzero()) == 0


def test_half_precision_states_give_float32_vectors_and_gradients_of_their_own_kind() -> None:
    hidden, weight, bias = leaves(6, 4, 9, 3)
    half = hidden.detach().bfloat16().requires_grad_()
    pooled = max_logits(half, weight, bias, [2, 4])
    assert pooled.dtype == torch.float32
    torch.testing.assert_close(pooled, naive(hidden, weight, bias, [2, 4]), atol=0.1, rtol=0.05)
    pooled.sum().backward()
    assert half.grad is not None and half.grad.dtype == torch.bfloat16
    assert weight.grad is not None and weight.grad.dtype == torch.float32


@pytest.mark.parametrize("importance", [False, True])
@pytest.mark.parametrize("pooling", ["max", "sum"])
@pytest.mark.parametrize("activation", ["relu", "softplus"])
def test_weights_pooled_in_chunks_equal_the_whole(
    pooling: str, activation: str, importance: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head, "TERMS", 1)
    monkeypatch.setattr(head, "TOKENS", 1)  # chunks of 256 terms
    hidden, weight, bias = leaves(6, 4, 600, 4)
    factor = torch.rand(6, 1, requires_grad=True) if importance else None

    def into(logits: Tensor) -> Tensor:
        return activate(logits, activation, 1)  # type: ignore[arg-type]

    found = pool_weights(
        hidden, weight, bias, [2, 1, 3],
        pooling=pooling, activate=into, importance=factor,  # type: ignore[arg-type]
    )  # fmt: skip
    weights = into(hidden @ weight.T + bias) * (1 if factor is None else factor)
    parts = weights.split([2, 1, 3])
    expected = torch.stack([p.sum(0) if pooling == "sum" else p.amax(0) for p in parts])
    torch.testing.assert_close(found, expected)
    inputs = [hidden, weight, bias] + ([] if factor is None else [factor])
    slopes = torch.randn(found.shape)
    ours = torch.autograd.grad((found * slopes).sum(), inputs)
    theirs = torch.autograd.grad((expected * slopes).sum(), inputs)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_gathered_sums_equal_index_add() -> None:
    rows = torch.randn(8, 5)
    source, target = torch.randint(8, (40,)).int(), torch.randint(6, (40,)).int()
    factors = torch.randn(40)
    expected = torch.zeros(7, 5).index_add_(0, target, factors[:, None] * rows[source])
    torch.testing.assert_close(gather_sums(rows, source, target, factors, 7), expected)


@pytest.mark.parametrize(("length", "multiplied"), [(3, True), (30, False)])
def test_matrices_are_multiplied_where_texts_are_short_and_many_terms_active(
    length: int, multiplied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    original = head.multiply_sums

    def spy(*args: Tensor, texts: int) -> tuple[Tensor, Tensor]:
        calls.append(texts)
        return original(*args, texts=texts)

    monkeypatch.setattr(head, "multiply_sums", spy)
    inputs = leaves(2 * length, 4, 500, 5)
    with torch.no_grad():
        inputs[2].sub_(2)  # so that not every term is active
    pooled = max_logits(*inputs, [length, length])
    share = float((pooled > 0).float().mean())
    assert (share >= head.DENSE * length) is multiplied
    pooled.sum().backward()
    assert bool(calls) is multiplied
