"""Our dense vectors beside those of sentence-transformers on the same folder."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dense_models import minilm, write_dense, write_network

from lsr.dense_encoder import load_dense_encoder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

TEXTS = [
    "",
    "  ",
    "pizza",
    "a\x00b\x07 control",
    "日本語のテキスト 東京",
    "[SEP] markers [MASK] inside [CLS]",
    "Naïve café owners résumé their work at 7:30 a.m. — usually. " * 5,
    "The mitochondrion is the powerhouse of the cell. " * 2,
]


def compare(folder: Path, *, texts: list[str] = TEXTS) -> float:
    """Return the largest difference of any number, on both sides of the encoder."""
    from sentence_transformers import SentenceTransformer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer: Any = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
        theirs = [peer.encode_query(texts), peer.encode_document(texts)]
    ours = load_dense_encoder(folder)
    both = [ours.encode_queries(texts), ours.encode_documents(texts)]
    assert all(mine.shape == np.shape(their) for mine, their in zip(both, theirs, strict=True))
    return max(float(np.abs(mine - their).max()) for mine, their in zip(both, theirs, strict=True))


def test_minilm() -> None:
    assert compare(minilm(), texts=[*TEXTS, TEXTS[-1] * 60]) < 1e-5


@pytest.mark.parametrize(
    "pooling",
    [
        {"pooling_mode_cls_token": True},
        {"pooling_mode_max_tokens": True, "pooling_mode_mean_tokens": True},
        {"pooling_mode": "weightedmean"},
        {"pooling_mode": ["lasttoken", "mean_sqrt_len_tokens"]},
    ],
)
def test_pooling(tmp_path: Path, pooling: dict[str, Any]) -> None:
    assert compare(write_dense(tmp_path / "m", pooling=pooling, normalize=False)) < 1e-4


@pytest.mark.parametrize("mode", ["mean", "cls", "max", "weightedmean"])
def test_prompts_that_are_not_pooled(tmp_path: Path, mode: str) -> None:
    folder = write_dense(
        tmp_path / "m",
        pooling={"pooling_mode": mode, "include_prompt": False},
        settings={"prompts": {"query": "Represent this: ", "passage": "never used "}},
    )
    assert compare(folder) < 1e-4


@pytest.mark.parametrize("activation", ["Tanh", "ReLU"])
def test_projections(tmp_path: Path, activation: str) -> None:
    assert compare(write_dense(tmp_path / "m", dense=activation)) < 1e-4


@pytest.mark.parametrize("kind", ["roberta", "distilbert", "mpnet"])
def test_other_architectures(tmp_path: Path, kind: str) -> None:
    assert compare(write_dense(tmp_path / "m", kind=kind)) < 1e-4


def test_bare_folder(tmp_path: Path) -> None:
    write_network(tmp_path / "m")
    assert compare(tmp_path / "m") < 1e-4
