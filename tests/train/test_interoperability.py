"""What we save, sentence-transformers loads with the same vectors, and what it has, we train."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from train_cases import NEGATIVES, POSITIVES, QUERIES, write_masked

from lsr.added_terms import with_added
from lsr.encoder import load_encoder
from lsr.errors import ConfigError, ModelError
from lsr.index.index import Index
from lsr.train.guard import check_start, probe
from lsr.train.model import SparseModel, build_model, load_model
from lsr.train.recipe import Recipe, read_recipe
from lsr.types import Document

DOCUMENTS = [*POSITIVES, *NEGATIVES]


def built(name: str, folder: Path, *changes: str, seed: int = 5) -> tuple[SparseModel, Recipe]:
    recipe = read_recipe(name, changes=[f"model.init={folder}", *changes])
    recipe.model.query_length = recipe.model.document_length = 24
    torch.manual_seed(seed)
    from lsr.tokens import TextTokenizer

    idf = torch.linspace(0.5, 3, TextTokenizer(folder, length=16).size)
    return build_model(recipe, idf=idf).eval(), recipe


def vectors(model: SparseModel, side: str, texts: list[str]) -> npt.NDArray[np.float32]:
    with torch.no_grad():
        batch = model.collate(side, texts)  # type: ignore[arg-type]
        found = model.encode(side, batch).vectors  # type: ignore[arg-type]
    return found.numpy()


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("splade-max", ()),
        ("splade", ()),
        ("splade-max", ("model.query.logs=2", "model.document.logs=2")),
        ("splade-doc", ()),
        ("opensearch-doc-v3", ()),
        ("splade-v-l", ()),
    ],
)
def test_stock_layouts_load_with_equal_vectors(
    name: str, changes: tuple[str, ...], masked: Path, tmp_path: Path
) -> None:
    from sentence_transformers import SparseEncoder

    model, recipe = built(name, masked, *changes)
    if not recipe.model.shared:  # so that the two networks are told apart
        with torch.no_grad():
            model.query.backbone.bias.add_(0.3)  # type: ignore[union-attr]
    model.save(tmp_path / "model")
    assert not (tmp_path / "model" / "sparse_head.json").exists()
    stock = SparseEncoder(str(tmp_path / "model"), device="cpu", local_files_only=True)
    for side, encode, texts in (
        ("query", stock.encode_query, list(QUERIES)),
        ("document", stock.encode_document, DOCUMENTS),
    ):
        theirs = encode(texts, convert_to_sparse_tensor=False).numpy()
        assert theirs.any()
        np.testing.assert_allclose(vectors(model, side, texts), theirs, atol=1e-5)


def test_a_head_of_our_own_lies_beside_a_valid_base(masked: Path, tmp_path: Path) -> None:
    """Others load the base weights w of a literal residual model; lsr loads W."""
    from sentence_transformers import SparseEncoder

    model, recipe = built(
        "prosper-bert", masked, "model.query.pooling=max", "model.document.pooling=max"
    )
    model.save(tmp_path / "model")
    described = json.loads((tmp_path / "model" / "sparse_head.json").read_text())
    assert described["document"]["literal"] and "other libraries" in described["about"]
    stock = SparseEncoder(str(tmp_path / "model"), device="cpu", local_files_only=True)
    theirs = stock.encode_document(DOCUMENTS, convert_to_sparse_tensor=False).numpy()
    with torch.no_grad():
        base = model.encode("document", model.collate("document", DOCUMENTS)).base.numpy()
    np.testing.assert_allclose(base, theirs, atol=1e-5)
    ours = load_encoder(tmp_path / "model").encode_documents(DOCUMENTS).to_scipy().toarray()
    np.testing.assert_allclose(ours, vectors(model, "document", DOCUMENTS), atol=1e-5)
    assert np.abs(ours - theirs).max() > 0.01
    assert recipe.model.document.literal


def test_a_model_with_a_head_of_our_own_is_indexed_and_searched(
    masked: Path, tmp_path: Path
) -> None:
    from lsr.index.index import Index

    model, _ = built("prosper-bert", masked)
    model.save(tmp_path / "model")
    encoder = load_encoder(tmp_path / "model")
    with Index.create(tmp_path / "index", encoder=encoder) as index:
        index.add([Document(str(at), text=text) for at, text in enumerate(DOCUMENTS)])
        index.commit()
        found = [index.search(query, k=len(DOCUMENTS)).ids[0] for query in QUERIES]
    expected = vectors(model, "query", list(QUERIES)) @ vectors(model, "document", DOCUMENTS).T
    assert found == [str(at) for at in expected.argmax(1)]
    assert encoder.info()["document"]["literal"] is True


@pytest.mark.parametrize("side", ["query", "document"])
def test_a_residual_of_one_side_leaves_the_other_alone(
    side: str, masked: Path, tmp_path: Path
) -> None:
    other = "document" if side == "query" else "query"
    changes = f"model.{other}.literal=false", "model.query.norm=none"
    model, recipe = built("prosper-bert", masked, *changes)
    with torch.no_grad():
        for name, lifted in ((side, True), (other, False)):
            encoded = model.encode(name, model.collate(name, DOCUMENTS))  # type: ignore[arg-type]
            assert encoded.vectors.equal(encoded.base) is not lifted
    model.save(tmp_path / "model")
    again = load_model(tmp_path / "model", recipe).eval()
    encoder = load_encoder(tmp_path / "model")
    np.testing.assert_array_equal(vectors(again, side, DOCUMENTS), vectors(model, side, DOCUMENTS))
    np.testing.assert_allclose(
        encoder.encode_documents(DOCUMENTS).to_scipy().toarray(),
        vectors(model, "document", DOCUMENTS), atol=1e-5,
    )  # fmt: skip
    np.testing.assert_allclose(
        encoder.encode_queries(DOCUMENTS).to_scipy().toarray(),
        vectors(model, "query", DOCUMENTS), atol=1e-5,
    )  # fmt: skip


def test_head_settings_and_tensors_are_part_of_the_fingerprint(
    masked: Path, tmp_path: Path
) -> None:
    for at, change in enumerate(("model.document.window=512", "model.document.window=5")):
        model, _ = built("prosper-bert", masked, change)
        model.save(tmp_path / str(at))
    model, _ = built("prosper-bert", masked, seed=6)  # other tensors
    model.save(tmp_path / "2")
    assert len({load_encoder(tmp_path / str(at)).fingerprint for at in range(3)}) == 3


def test_a_window_of_use_and_pruning_are_kept(masked: Path, tmp_path: Path) -> None:
    model, recipe = built("splade-doc", masked, "model.document.prune=0.5")
    model.save(tmp_path / "model")
    pruned = load_encoder(tmp_path / "model").encode_documents(DOCUMENTS)
    whole = model.train().encode("document", model.collate("document", DOCUMENTS)).vectors
    assert pruned.to_scipy().nnz < int((whole > 0).sum())
    rows = pruned.to_scipy().toarray()
    assert all(row[row > 0].min() > 0.5 * row.max() for row in rows)
    assert recipe.model.document.prune == 0.5


def test_a_saved_model_is_only_taken_for_the_sides_it_has(masked: Path, tmp_path: Path) -> None:
    model, _ = built("prosper-bert", masked)
    model.save(tmp_path / "model")
    other = read_recipe("prosper-bert", changes=["model.document.window=7"])
    with pytest.raises(ModelError, match="window 512; the recipe has 7"):
        load_model(tmp_path / "model", other)
    with pytest.raises(ModelError, match="pooling 'cls'; the recipe has 'max'"):
        load_model(tmp_path / "model", read_recipe("splade-max"))


def test_half_precision_is_stored_and_computed_with_in_float32(
    masked: Path, tmp_path: Path
) -> None:
    model, recipe = built("splade-doc", masked)
    model.save(tmp_path / "whole")
    model.save(tmp_path / "half", half=True)
    sizes = [(tmp_path / kind / "model.safetensors").stat().st_size for kind in ("whole", "half")]
    assert sizes[1] < 0.6 * sizes[0]
    again = load_model(tmp_path / "half", recipe).eval()
    np.testing.assert_allclose(
        vectors(again, "document", DOCUMENTS), vectors(model, "document", DOCUMENTS), atol=0.02
    )


def test_other_vocabularies_are_told(masked: Path, tmp_path: Path) -> None:
    recipe = read_recipe("opensearch-doc-v2", changes=[f"model.init={masked}"])
    with pytest.raises(ConfigError, match=r"the query table has 7 weights; the model has \d+"):
        build_model(recipe, idf=torch.ones(7))
    with pytest.raises(ConfigError, match="no idf was given"):
        build_model(recipe)
    table = tmp_path / "idf.json"
    table.write_text(json.dumps({"cats": 2.0, "quetzalcoatlus": 9.0}))
    changes = ["model.query.table=file", f"model.query.table_file={table}"]
    recipe = read_recipe("opensearch-doc-v2", changes=[f"model.init={masked}", *changes])
    with pytest.raises(ConfigError, match="'quetzalcoatlus' first"):
        build_model(recipe)
    table.write_text(json.dumps({"cats": 2.0, "dogs": -1.0}))
    with pytest.raises(ConfigError, match=r"weight -1\.0 for term"):
        build_model(recipe)
    table.write_text(json.dumps({"cats": 2.0}))
    model = build_model(recipe)
    cats = model.tokenizer.vocabulary["cats"]
    assert float(model.query.table()[cats]) == 2.0  # type: ignore[operator]
    changes.append("model.table_scale=0.25")
    recipe = read_recipe("opensearch-doc-v2", changes=[f"model.init={masked}", *changes])
    scaled = build_model(recipe)
    assert float(scaled.query.table()[cats]) == 0.5  # type: ignore[operator]
    scaled.save(tmp_path / "scaled")
    again = load_model(tmp_path / "scaled", recipe)
    assert float(again.query.table()[cats]) == 0.5  # type: ignore[operator]


def test_an_untrained_head_that_is_too_large_is_told_and_can_be_scaled(
    masked: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    network = AutoModelForMaskedLM.from_pretrained(masked)
    with torch.no_grad():
        network.cls.predictions.transform.LayerNorm.weight.mul_(50)
        network.cls.predictions.bias.add_(60)
    network.save_pretrained(tmp_path / "large")
    AutoTokenizer.from_pretrained(masked).save_pretrained(tmp_path / "large")
    model, _ = built("splade-max", tmp_path / "large")
    with pytest.raises(ModelError, match="of all terms") as caught:
        check_start(model, DOCUMENTS)
    assert caught.value.hint == "--set model.head_scale=16"
    scaled, _ = built("splade-max", tmp_path / "large", "model.head_scale=16")
    batch = model.collate("document", DOCUMENTS)
    with torch.no_grad():
        whole = model.encode("document", batch).vectors.expm1() / 16
        torch.testing.assert_close(
            scaled.encode("document", batch).vectors.expm1(), whole, atol=1e-4, rtol=1e-3
        )
    assert probe(scaled, DOCUMENTS).median_weight < probe(model, DOCUMENTS).median_weight


def test_added_terms_are_weighed_like_terms_of_the_text(masked: Path) -> None:
    model, _ = built("deepimpact", masked)
    cats = model.tokenizer.vocabulary["cats"]
    texts = ["dogs bark", "cows graze in the green meadow"]
    plain = vectors(model, "document", texts)
    grown = vectors(model, "document", [with_added(texts[0], ["cats dogs", "cats"]), texts[1]])
    assert float(grown[0, cats]) > 0 == float(plain[0, cats])
    assert np.count_nonzero(grown[0]) == np.count_nonzero(plain[0]) + 1
    np.testing.assert_allclose(grown[1], plain[1], rtol=1e-5)
    others, _ = built("unicoil", masked)  # sides of other kinds read the text alone
    np.testing.assert_array_equal(
        vectors(others, "document", [with_added(texts[0], "cats")]),
        vectors(others, "document", texts[:1]),
    )


def test_documents_are_found_by_the_terms_that_were_added_to_them(
    masked: Path, tmp_path: Path
) -> None:
    model, _ = built("tildev2", masked)
    model.save(tmp_path / "model")
    index = Index.create(tmp_path / "index", encoder=load_encoder(tmp_path / "model"))
    index.add(
        [
            Document("a", text="dogs bark"),
            Document("b", text="cows graze", fields={"added_terms": ["cats", "purr"]}),
        ]
    )
    index.commit()
    assert index.search("cats").ids == ["b"]
    assert index.search("cats")[0].text == "cows graze"


def test_a_repeated_query_term_counts_once_or_as_often_as_it_stands(masked: Path) -> None:
    """OpenSearch collapses duplicates, the unified framework sums them."""
    collapsed, _ = built("splade-doc", masked)
    summed, _ = built("splade-doc", masked, "model.query.duplicates=sum")
    cats = collapsed.tokenizer.vocabulary["cats"]
    for model, expected in ((collapsed, 1.0), (summed, 2.0)):
        assert vectors(model, "query", ["cats and cats"])[0, cats] == expected


def test_scaling_a_normalised_query_changes_nothing() -> None:
    from lsr.train.encoded import TokenBatch
    from lsr.train.settings_model import SideSettings
    from lsr.train.table import StaticSide

    side = SideSettings(kind="table", table="learned", norm="l2")
    batch = TokenBatch(torch.tensor([[1, 2]]), torch.ones(1, 2, dtype=torch.long))
    first = StaticSide(side, 5, [0], torch.tensor([0.0, 1, 2, 3, 4]))
    second = StaticSide(side, 5, [0], torch.tensor([0.0, 1, 2, 3, 4]) * 7)
    torch.testing.assert_close(first(batch).vectors, second(batch).vectors)
    assert not first(batch).base.equal(second(batch).base)


def test_golden_terms_of_a_public_model(shared: Path, tmp_path: Path) -> None:
    folder = shared / "models" / "splade-tiny"
    if not folder.is_dir():
        pytest.skip("splade-tiny is not among the shared models")
    recipe = read_recipe("splade-max", changes=[f"model.init={folder}"])
    model = build_model(recipe).eval()
    model.save(tmp_path / "model")
    golden = {
        "best pizza in new york": {"pizza": 2.331, "haven": 2.039, "best": 1.970, "york": 1.869},
        "The Eiffel tower is in Paris.": {"paris": 2.153, "tower": 2.121, "e": 2.009},
    }
    from sentence_transformers import SparseEncoder

    stock = SparseEncoder(str(tmp_path / "model"), device="cpu", local_files_only=True)
    for text, terms in golden.items():
        ours = vectors(model, "document", [text])[0]
        best = np.argsort(-ours)[: len(terms)]
        found = {model.tokenizer.token(int(term)): float(ours[term]) for term in best}
        assert found == pytest.approx(terms, abs=2e-3)
        theirs = stock.encode_document([text], convert_to_sparse_tensor=False).numpy()[0]
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_public_layouts_can_be_trained_on(masked: Path, tmp_path: Path) -> None:
    """A folder that sentence-transformers wrote is where training may begin."""
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder.models import MLMTransformer, SpladePooling

    stock = SparseEncoder(modules=[MLMTransformer(str(masked)), SpladePooling()], device="cpu")
    stock.save_pretrained(str(tmp_path / "stock"))
    model, _ = built("splade-max", tmp_path / "stock")
    theirs = stock.encode_document(DOCUMENTS, convert_to_sparse_tensor=False).numpy().copy()
    theirs[:, model.special] = 0
    np.testing.assert_allclose(vectors(model, "document", DOCUMENTS), theirs, atol=1e-5)


def test_a_head_that_is_missing_is_told(tmp_path: Path) -> None:
    write_masked(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="cannot load the masked language model"):
        built("splade-max", tmp_path)


@pytest.mark.parametrize("window", [0, 6])
def test_a_frequency_residual_is_learned_saved_and_encoded(
    window: int, masked: Path, tmp_path: Path
) -> None:
    """Few texts run in numpy, many on torch, others load the base: one vector for a text."""
    from sentence_transformers import SparseEncoder

    changes = "model.document.frequency=0.5", f"model.document.window={window}"
    model, recipe = built("bundled", masked, *changes)
    with torch.no_grad():
        model.document.extras.frequency.weight.add_(  # type: ignore[union-attr,operator]
            torch.linspace(-2, 1, model.n_vocabulary)
        )
    texts = [*DOCUMENTS, "cats cats cats purr", "dogs " * 30, ""]
    wanted = vectors(model, "document", texts)
    model.save(tmp_path / "model")
    encoder = load_encoder(tmp_path / "model")
    found = encoder.encode_documents(texts).to_scipy().toarray()
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    network = encoder._document  # type: ignore[attr-defined]
    few = network.encode_few(texts)
    for row, vector in zip(few, wanted, strict=True):
        assert row.terms.tolist() == np.flatnonzero(vector).tolist()
        np.testing.assert_allclose(row.weights, vector[row.terms], atol=1e-5)
    again = load_model(tmp_path / "model", recipe).eval()
    np.testing.assert_array_equal(vectors(again, "document", texts), wanted)
    with torch.no_grad():
        base = model.encode("document", model.collate("document", texts)).base.numpy()
    stock = SparseEncoder(str(tmp_path / "model"), device="cpu", local_files_only=True)
    theirs = stock.encode_document(texts, convert_to_sparse_tensor=False).numpy()
    np.testing.assert_allclose(theirs, base, atol=1e-5)
    assert np.abs(base - wanted).max() > 0.1
    if window:
        assert (wanted > 0).sum(1).max() == window


def test_the_frequency_residual_begins_at_a_share_of_idf_and_learns(masked: Path) -> None:
    model, _ = built("bundled", masked, "model.document.frequency=0.5")
    weight = model.document.extras.frequency.weight  # type: ignore[union-attr]
    size = model.tokenizer.size
    torch.testing.assert_close(weight[:size].detach(), 0.5 * torch.linspace(0.5, 3, size))
    model.encode("document", model.collate("document", DOCUMENTS)).vectors.sum().backward()
    assert weight.grad is not None
    assert weight.grad[model.special].eq(0).all() and weight.grad.gt(0).any()
    rates = {id(p): group["lr"] for group in model.parameter_groups(1e-5, 1e-3, 0.01)
             for p in group["params"]}  # fmt: skip
    assert rates[id(weight)] == 1e-3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (("model.document.frequency=1", "model.document.literal=true"), "goes with kind mlm"),
        (("model.document.frequency=1", "model.document.prune=0.1"), "goes with kind mlm"),
        (("model.query.frequency=1",), "is for documents"),
    ],
)
def test_a_frequency_residual_needs_a_plain_document_head(
    changes: tuple[str, ...], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        read_recipe("splade-max", changes=list(changes))


def test_weights_of_a_frequency_residual_have_the_models_vocabulary(
    masked: Path, tmp_path: Path
) -> None:
    from safetensors.numpy import load_file, save_file

    model, _ = built("bundled", masked)
    model.save(tmp_path / "model")
    file = tmp_path / "model" / "sparse_head.safetensors"
    tensors = load_file(file)
    save_file({name: tensor[:-1] for name, tensor in tensors.items()}, file)
    with pytest.raises(ModelError, match=r"has shape \(\d+,\); \(\d+,\) is expected"):
        load_encoder(tmp_path / "model").encode_documents(DOCUMENTS)


def test_a_frequency_residual_that_is_not_whole_is_told(masked: Path, tmp_path: Path) -> None:
    model, _ = built("bundled", masked)
    model.save(tmp_path / "model")
    file = tmp_path / "model" / "sparse_head.json"
    content = json.loads(file.read_text())
    (tmp_path / "model" / "sparse_head.safetensors").rename(tmp_path / "away")
    with pytest.raises(ModelError, match=r"sparse_head\.safetensors is missing"):
        load_encoder(tmp_path / "model")
    (tmp_path / "away").rename(tmp_path / "model" / "sparse_head.safetensors")
    del content["document"]["logs"]  # what is not said is the default
    file.write_text(json.dumps(content))
    assert load_encoder(tmp_path / "model").encode_documents(DOCUMENTS).nnz
    content["document"]["literal"] = True
    file.write_text(json.dumps(content))
    with pytest.raises(ModelError, match="beside parts that exclude it"):
        load_encoder(tmp_path / "model")
