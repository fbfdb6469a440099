from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lsr.coarse_head import CoarseHead, int8_pays
from lsr.head import Row, pool_text
from lsr.pooling import FloatHead


def made(seed: int, tokens: int, terms: int, width: int, shift: float) -> tuple[torch.Tensor, ...]:
    random = torch.Generator().manual_seed(seed)
    spread = torch.rand(width, generator=random) * 3 + 0.01
    hidden = torch.randn(tokens, width, generator=random) * spread + 2 * spread
    decoder = torch.randn(terms, width, generator=random) / width**0.5
    bias = torch.randn(terms, generator=random) + shift
    return hidden, decoder, bias


def same(left: Row, right: Row) -> bool:
    """Equal but for terms whose logit is zero to within float32."""
    weights = dict(zip(left.terms.tolist(), left.weights.tolist(), strict=True))
    others = dict(zip(right.terms.tolist(), right.weights.tolist(), strict=True))
    return all(
        abs(weights.get(term, 0.0) - others.get(term, 0.0)) < 1e-4
        for term in weights.keys() | others.keys()
    )


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    lengths=st.lists(st.integers(1, 90), min_size=1, max_size=12),
    terms=st.integers(1, 2500),
    width=st.sampled_from([8, 20, 64]),
    shift=st.sampled_from([-20.0, -8.0, -3.0, 0.0, 5.0]),
    double=st.booleans(),
)
def test_coarse_pass_never_changes_the_outcome(
    seed: int, lengths: list[int], terms: int, width: int, shift: float, double: bool
) -> None:
    hidden, decoder, bias = made(seed, sum(lengths), terms, width, shift)
    probe = torch.randn(16, width, generator=torch.Generator().manual_seed(seed + 1))
    activation = "log1p_relu" if double else "relu"
    with torch.inference_mode():
        coarse = CoarseHead(decoder, bias, probe, activation)(hidden, lengths)
        whole = FloatHead(decoder, bias, "max", activation)(hidden, lengths)
    assert len(coarse) == len(whole) == len(lengths)
    texts = torch.split(hidden, lengths)
    for text, fast, plain in zip(texts, coarse, whole, strict=True):
        twin = pool_text(
            text.numpy(), decoder.numpy(), bias.numpy(), pooling="max", activation=activation
        )
        assert same(fast, plain) and same(fast, twin)


def test_coarse_pass_discards_almost_all_inactive_terms() -> None:
    hidden, decoder, bias = made(3, 256, 20_000, 128, -14.0)
    with torch.inference_mode():
        head = CoarseHead(decoder, bias, hidden[:64], "relu")
        survivors = int(head._survivors(hidden, [256]).sum())
        active = len(head(hidden, [256])[0].terms)
    assert 0 < active <= survivors < 2000


def test_survivors_hold_every_active_term_when_one_channel_is_an_outlier() -> None:
    hidden, decoder, bias = made(4, 64, 6000, 64, -6.0)
    hidden[:, 5] *= 100
    with torch.inference_mode():
        head = CoarseHead(decoder, bias, torch.zeros(8, 64), "relu")
        alive = head._survivors(hidden, [64])[0]
        active = (hidden @ decoder.T + bias).amax(0) > 0
    assert bool(active.any()) and not bool((active & ~alive).any())


@pytest.mark.parametrize("double", [False, True])
def test_sum_pooling_equals_its_formula(double: bool) -> None:
    hidden, decoder, bias = made(5, 30, 5000, 32, -2.0)
    activation = "log1p_relu" if double else "relu"
    with torch.inference_mode():
        row = FloatHead(decoder, bias, "sum", activation)(hidden, [30])[0]
    weights = np.log1p(np.maximum(hidden.numpy() @ decoder.numpy().T + bias.numpy(), 0))
    expected = (np.log1p(weights) if double else weights).sum(0)
    assert np.allclose(row.weights, expected[row.terms], atol=1e-4)
    assert row.terms.tolist() == np.flatnonzero(expected > 0).tolist()


def test_choice_of_int8_is_a_fact_of_the_machine() -> None:
    assert int8_pays(128) is int8_pays(128)
