"""GradCache gives the loss and the gradients of the whole batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from train_cases import NEGATIVES, POSITIVES, QUERIES

from lsr.train.encoded import Encoded, TokenBatch
from lsr.train.gradcache import cached_backward, split
from lsr.train.model import SparseModel, build_model
from lsr.train.objective import Candidates, Objective
from lsr.train.recipe import Recipe, read_recipe

DOCUMENTS = [text for pair in zip(POSITIVES, NEGATIVES, strict=True) for text in pair]


def made(name: str, masked: Path, *changes: str) -> tuple[SparseModel, Recipe]:
    recipe = read_recipe(name, changes=[f"model.init={masked}", *changes])
    recipe.model.query_length = recipe.model.document_length = 16
    torch.manual_seed(4)
    size = torch.linspace(0.5, 3, 200)
    from lsr.tokens import TextTokenizer

    model = build_model(recipe, idf=size[: TextTokenizer(masked, length=16).size])
    return model, recipe


def gradients(model: SparseModel) -> dict[str, torch.Tensor]:
    return {
        name: parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


@pytest.mark.parametrize("size", [1, 4, 5, 100])
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("splade-max", ()),
        ("prosper-bert", ("regularise.document.l0_threshold=3",)),
        ("opensearch-doc-v1", ()),
        ("li-lsr", ("rank.infonce.weight=1.0", "rank.kl.weight=0.0")),
        ("tilde", ()),
        ("splade", ("regularise.document.kind=joint", "regularise.document.unbiased=true")),
    ],
)
def test_parts_give_the_gradients_of_the_whole(
    name: str, changes: tuple[str, ...], size: int, masked: Path
) -> None:
    model, recipe = made(name, masked, *changes)
    objective = Objective(recipe, total_steps=10)
    queries, documents = model.collate("query", QUERIES), model.collate("document", DOCUMENTS)

    def loss_of(left: Encoded, right: Encoded) -> torch.Tensor:
        return objective(left, right, Candidates(2), 10**6).total

    whole = loss_of(model.encode("query", queries), model.encode("document", documents))
    whole.backward()
    expected = gradients(model)
    model.zero_grad()
    found = cached_backward(model.encode, split(queries, size), split(documents, size), loss_of)
    torch.testing.assert_close(found, whole.detach(), atol=1e-5, rtol=1e-5)
    ours = gradients(model)
    assert expected.keys() == ours.keys()
    for key, value in expected.items():
        torch.testing.assert_close(ours[key], value, atol=2e-5, rtol=1e-3, msg=key)


def test_dropout_is_the_same_in_both_passes(masked: Path) -> None:
    model, recipe = made("splade-max", masked)
    model.document.backbone.network.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.3
    objective = Objective(recipe, total_steps=10)
    queries, documents = model.collate("query", QUERIES), model.collate("document", DOCUMENTS)
    seen: list[torch.Tensor] = []

    def encode(side: str, batch: TokenBatch) -> Encoded:
        encoded = model.encode(side, batch)  # type: ignore[arg-type]
        seen.append(encoded.vectors.detach())
        return encoded

    before = torch.get_rng_state()
    cached_backward(
        encode, split(queries, 3), split(documents, 4),
        lambda left, right: objective(left, right, Candidates(2), 0).total,
    )  # fmt: skip
    first, second = seen[: len(seen) // 2], seen[len(seen) // 2 :]
    assert all(one.equal(other) for one, other in zip(first, second, strict=True))
    assert not torch.get_rng_state().equal(before)  # the second pass goes on where the first ended


def test_split_trims_each_part_to_its_longest_text() -> None:
    mask = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 0, 0]])
    parts = split(TokenBatch(mask * 7, mask), 2)
    assert [part.input_ids.shape for part in parts] == [(2, 3), (1, 2)]
