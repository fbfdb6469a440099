from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dense_models import BUNDLED, minilm, write_dense, write_json, write_network

from lsr.dense_encoder import load_dense_encoder
from lsr.dense_network import normalize
from lsr.errors import ConfigError, ModelError

TEXTS = ["", "cats purr", "the meadow " * 60, "日本語 and [SEP] markers", "dogs"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dense(tmp_path_factory.mktemp("dense") / "m")


def test_vectors_do_not_depend_on_threads_batches_or_torch(folder: Path) -> None:
    encoder = load_dense_encoder(folder)
    together = encoder.encode_documents(TEXTS, threads=2)
    alone = np.concatenate([encoder.encode_documents([text], threads=1) for text in TEXTS])
    assert together.shape == (5, encoder.dim) and together.dtype == np.float32
    np.testing.assert_allclose(together, alone, atol=2e-6)
    np.testing.assert_allclose(encoder.encode_queries(TEXTS), together, atol=2e-6)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    many = encoder.encode_queries(TEXTS * 4)
    np.testing.assert_allclose(many[:5], together, atol=2e-6)


def test_no_texts_give_no_vectors(folder: Path) -> None:
    encoder = load_dense_encoder(folder)
    assert encoder.encode_documents([]).shape == (0, 32)
    assert encoder.encode_queries([]).shape == (0, 32)


def test_progress_counts_every_text(folder: Path) -> None:
    seen: list[int] = []
    load_dense_encoder(folder).encode_documents(TEXTS * 30, on_progress=seen.append)
    assert sum(seen) == 150


def test_prompts_lengths_and_licence_come_from_the_folder(tmp_path: Path) -> None:
    settings = {"prompts": {"query": "query: ", "document": "passage: "}}
    made = write_dense(tmp_path / "m", settings=settings)
    (made / "README.md").write_text("---\nlicense: mit\n---\n")
    encoder = load_dense_encoder(made)
    plain = load_dense_encoder(write_dense(tmp_path / "plain"))
    assert encoder.licence == "mit" and encoder.max_seq_length == 40
    assert load_dense_encoder(made, max_seq_length=12).max_seq_length == 12
    np.testing.assert_allclose(
        encoder.encode_queries(["cat"]), plain.encode_queries(["query: cat"]), atol=1e-6
    )
    np.testing.assert_allclose(
        encoder.encode_documents(["cat"]), plain.encode_documents(["passage: cat"]), atol=1e-6
    )
    assert encoder.fingerprint != plain.fingerprint


def test_the_fingerprint_changes_with_pooling_and_weights(tmp_path: Path, folder: Path) -> None:
    first = load_dense_encoder(folder).fingerprint
    assert load_dense_encoder(folder).fingerprint == first
    other = write_dense(tmp_path / "m", pooling={"pooling_mode_cls_token": True})
    assert load_dense_encoder(other).fingerprint != first
    projected = write_dense(tmp_path / "p", dense="Tanh")
    assert load_dense_encoder(projected).fingerprint != first
    assert load_dense_encoder(projected).dim == 8


def test_a_bare_folder_is_averaged(tmp_path: Path) -> None:
    write_network(tmp_path / "bare")
    encoder = load_dense_encoder(tmp_path / "bare")
    same = load_dense_encoder(write_dense(tmp_path / "m"), max_seq_length=90)
    assert encoder.max_seq_length == 100
    np.testing.assert_allclose(
        normalize(encoder.encode_documents(["cats purr"])),
        same.encode_documents(["cats purr"]),
        atol=1e-6,
    )


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("modules.json", [{"idx": 0, "type": "a.Transformer", "path": ""}], "a chain of Transf"),
        ("config.json", {"architectures": ["BertForSequenceClassification"]}, "classifier"),
        ("config_sentence_transformers.json", {"model_type": "SparseEncoder"}, "is a SparseEnc"),
        ("config_sentence_transformers.json", {"model_type": "CrossEncoder"}, "no single vector"),
        ("config_sentence_transformers.json", {"similarity_fn_name": "manhattan"}, "manhattan"),
        ("1_Pooling/config.json", {"pooling_mode": "median"}, "pooling 'median' is unknown"),
    ],
)
def test_a_folder_that_is_no_dense_encoder_is_refused(
    tmp_path: Path, file: str, content: object, said: str
) -> None:
    made = write_dense(tmp_path / "m")
    write_json(made / file, content)
    with pytest.raises(ModelError, match=said):
        load_dense_encoder(made)


def test_other_refusals(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is a SparseEncoder"):
        load_dense_encoder(BUNDLED)
    with pytest.raises(ModelError, match="is not supported"):
        load_dense_encoder(write_dense(tmp_path / "m", dense="Softmax"))
    with pytest.raises(ConfigError, match="at least 3"):
        load_dense_encoder(tmp_path / "m", max_seq_length=1)
    with pytest.raises(ModelError, match="no model folder"):
        load_dense_encoder("./nothing-here")


def test_a_few_queries_need_no_torch(folder: Path) -> None:
    code = (
        "import sys; from lsr.dense_encoder import load_dense_encoder as load;"
        f"load({str(folder)!r}).encode_queries(['cats']);"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_real_model_knows_what_is_alike() -> None:
    encoder = load_dense_encoder(minilm())
    vectors = encoder.encode_documents(["A cat sits on the sofa", "a kitten rests", "Stock prices"])
    assert encoder.dim == 384
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2
