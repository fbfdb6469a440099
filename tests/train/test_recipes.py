"""Every recipe of the package is read, explained, trained for a few steps, saved and searched."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from train_cases import NEGATIVES, POSITIVES, QUERIES

from lsr.added_terms import with_added
from lsr.encoder import load_encoder
from lsr.errors import ConfigError
from lsr.sparse import SparseVectors
from lsr.train.model import SparseModel, build_model, load_model
from lsr.train.objective import Candidates, Objective
from lsr.train.recipe import Recipe, describe, read_recipe, recipe_names

CODES = ("csr", "csrv2")
DOCUMENTS = [text for pair in zip(POSITIVES, NEGATIVES, strict=True) for text in pair]
#: Raw scores of two teachers: the first document of each query is the better one.
TEACHER = torch.tensor([[9.0, 2.0], [0.8, 0.1]])[:, None, :].expand(2, len(QUERIES), 2)
STEPS = 12


def small(name: str, masked: Path, causal: Path) -> Recipe:
    """The recipe on the tiny models, with ramps of a few steps."""
    recipe = read_recipe(name)
    if recipe.model.document.kind == "causal":
        recipe.model.init = str(causal)
    else:
        recipe.model.init = str(masked)
    recipe.model.query_length = recipe.model.document_length = 16
    for side in (recipe.regularise.query, recipe.regularise.document):
        side.ramp_steps = 5
    return recipe


def texts_of(recipe: Recipe) -> list[str]:
    """The documents; where added terms are weighed, relevant ones have the query's last word."""
    if recipe.model.document.kind != "expmlp":
        return DOCUMENTS
    added = [word for query in QUERIES for word in (query.split()[-1], "")]
    return [with_added(text, word) for text, word in zip(DOCUMENTS, added, strict=True)]


def train(model: SparseModel, recipe: Recipe, idf: torch.Tensor) -> list[float]:
    objective = Objective(recipe, idf, total_steps=STEPS)
    optimiser = torch.optim.AdamW(model.parameter_groups(3e-3, 3e-3, 0.01))
    queries = model.collate("query", QUERIES)
    documents = model.collate("document", texts_of(recipe))
    losses = []
    for step in range(STEPS):
        encoded = model.encode("query", queries), model.encode("document", documents)
        loss = objective(*encoded, Candidates(2, teacher=TEACHER), step)
        assert set(loss.parts) and loss.statistics["document_terms"] >= 0
        optimiser.zero_grad()
        loss.total.backward()
        optimiser.step()
        losses.append(loss.total.item())
    return losses


def ordered(queries: SparseVectors, documents: SparseVectors) -> int:
    """Return how many queries find their own document before its negative."""
    scores = np.asarray((queries.to_scipy() @ documents.to_scipy().T).todense())
    places = np.arange(len(QUERIES))
    return int((scores[places, 2 * places] > scores[places, 2 * places + 1]).sum())


@pytest.mark.parametrize("name", [name for name in recipe_names() if name not in CODES])
def test_recipe_learns_is_saved_and_finds(
    name: str, masked: Path, causal: Path, tmp_path: Path
) -> None:
    torch.manual_seed(3)
    recipe = small(name, masked, causal)
    idf = torch.linspace(0.5, 3, 200)
    probe = build_model(recipe, idf=idf) if recipe.model.query.kind != "table" else None
    size = probe.n_vocabulary if probe is not None else _vocabulary(recipe)
    model = probe or build_model(recipe, idf=idf[:size])
    texts = texts_of(recipe)
    losses = train(model, recipe, idf[:size])
    assert losses[-1] < losses[0]
    model.eval()
    with torch.no_grad():
        queries = model.encode("query", model.collate("query", QUERIES)).vectors
        documents = model.encode("document", model.collate("document", texts)).vectors
    assert float((documents > 0).float().mean()) > 0
    assert int(queries[:, model.special].count_nonzero()) == 0
    assert int(documents[:, model.special].count_nonzero()) == 0

    model.save(tmp_path / "model")
    again = load_model(tmp_path / "model", recipe).eval()
    with torch.no_grad():
        torch.testing.assert_close(
            again.encode("document", again.collate("document", texts)).vectors,
            documents, atol=0, rtol=0,
        )  # fmt: skip
    encoder = load_encoder(tmp_path / "model", threads=1)
    ours = encoder.encode_queries(QUERIES), encoder.encode_documents(texts)
    for vectors, tensor in zip(ours, (queries, documents), strict=True):
        np.testing.assert_allclose(
            vectors.to_scipy().toarray(), tensor.clamp(min=0).numpy(), atol=1e-4, rtol=1e-4
        )
    assert ordered(*ours) >= 5


@pytest.mark.parametrize("name", ["splade-max", "splade", "epic", "prosper-bert", "unicoil"])
def test_networks_in_bfloat16_give_vectors_and_losses_in_float32(
    name: str, masked: Path, causal: Path
) -> None:
    torch.manual_seed(3)
    recipe = small(name, masked, causal)
    model, objective = build_model(recipe), Objective(recipe, total_steps=STEPS)
    batches = model.collate("query", QUERIES), model.collate("document", DOCUMENTS)
    whole = model.encode("document", batches[1]).vectors.detach()
    with torch.autocast("cpu", torch.bfloat16):
        encoded = model.encode("query", batches[0]), model.encode("document", batches[1])
        loss = objective(*encoded, Candidates(2, teacher=TEACHER), 10)
    kinds = {tensor.dtype for one in encoded for tensor in (one.vectors, one.base)}
    assert kinds == {torch.float32} == {loss.total.dtype}
    loss.total.backward()
    for parameter in model.parameters():
        assert parameter.grad is None or bool(torch.isfinite(parameter.grad).all())
    cosine = torch.cosine_similarity(encoded[1].vectors.detach(), whole, dim=1)
    assert float(cosine.min()) > 0.98


def _vocabulary(recipe: Recipe) -> int:
    from lsr.tokens import TextTokenizer

    return TextTokenizer(Path(recipe.model.init), length=16).size


def test_every_recipe_says_method_and_paper_and_explains_every_field() -> None:
    for name in recipe_names():
        recipe = read_recipe(name)
        if name == "bundled":
            continue
        assert recipe.name == name
        assert recipe.method and recipe.about
        assert re.search(r"arXiv:\d{4}\.\d{5}|10\.\d+/", recipe.paper), name
        fields = list(describe(recipe))
        assert all(about for _, _, about, _ in fields)
        assert {"model.query.kind", "rank.kl.temperature"} <= {field for field, *_ in fields}


def test_methods_of_the_framework_differ_where_their_papers_do() -> None:
    assert read_recipe("splade").model.document.pooling == "sum"
    assert read_recipe("splade-v-l").regularise.query.kind == "l1"
    assert not read_recipe("splade-v-l").model.shared
    assert read_recipe("splade-v3").rank.marginmse.weight == 0.05
    assert read_recipe("opensearch-doc-v3").model.document.logs == 2
    assert read_recipe("opensearch-doc-v3").regularise.document.l0_threshold == 200
    assert read_recipe("li-lsr").model.query.table == "learned"
    assert read_recipe("prosper-llm").model.query.norm == "l2"


def test_changes_and_inheritance(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text('extends = "splade-doc"\n[rank.infonce]\ntemperature = 2\n')
    (tmp_path / "next.toml").write_text('extends = "own.toml"\nname = "next"\n')
    recipe = read_recipe(tmp_path / "next.toml", changes=["model.init=some/model"])
    assert (recipe.name, recipe.model.init) == ("next", "some/model")
    assert (recipe.rank.infonce.temperature, recipe.rank.infonce.weight) == (2.0, 1.0)
    assert recipe.model.query.kind == "binary"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[model\n", "is not TOML"),
        ("[model]\nwidth = 3\n", "there is no setting model.width"),
        ('[model.query]\nkind = "mln"\n', "model.query.kind is 'mln'"),
        ('[model.query]\nkind = "table"\n', "needs a table"),
        ('[model.document]\nkind = "binary"\n', "nothing to learn"),
        ('[model.document]\nactivation = "identity"\n', "identity has no zeros"),
        ('extends = "splade-mx"\n', "there is no recipe 'splade-mx'"),
        ("extends = 3\n", "extends is 3"),
        ("[regularise.document]\nweight = -1\n", "greater than or equal to 0"),
        ("[csr]\nk = 8\nk_start = 4\n", "k can only fall"),
    ],
)
def test_wrong_recipes_are_told_where(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "wrong.toml").write_text(text)
    with pytest.raises(ConfigError, match=re.escape(said)):
        read_recipe(tmp_path / "wrong.toml")


def test_recipes_that_extend_each_other_are_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('extends = "b.toml"\n')
    (tmp_path / "b.toml").write_text('extends = "a.toml"\n')
    with pytest.raises(ConfigError, match="circle"):
        read_recipe(tmp_path / "a.toml")


@pytest.mark.parametrize("change", ["train.lr", "=3", "name.x=3", "model.query.kind.x=1"])
def test_wrong_changes_are_told(change: str) -> None:
    with pytest.raises(ConfigError):
        read_recipe("splade-max", changes=[change])


def test_a_name_that_is_nearly_right_is_suggested() -> None:
    with pytest.raises(ConfigError) as caught:
        read_recipe("splade-mx")
    assert caught.value.hint == "did you mean splade-max?"


def test_the_table_of_recipes_names_each_with_its_paper() -> None:
    text = (Path(__file__).parents[2] / "train" / "README.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `([\w-]+)` \|(.*)\|$", text, flags=re.MULTILINE))
    assert sorted(rows) == recipe_names()
    for name, row in rows.items():
        assert read_recipe(name).paper.split(":")[-1].split()[-1] in row


def test_the_example_of_the_readme_runs(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "train" / "README.md").read_text("utf-8")
    [example] = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    (tmp_path / "example.py").write_text(example, "utf-8")
    loss = runpy.run_path(str(tmp_path / "example.py"))["loss"]
    assert loss.statistics["document_terms"] > 1
