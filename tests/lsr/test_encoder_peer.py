"""Our vectors beside those of sentence-transformers on the same folder."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lsr.encoder import load_encoder
from lsr.model_files import find_model
from lsr.model_save import save_router, save_symmetric
from lsr.sparse import SparseVectors

# ~6 s of imports and a dozen models: all in this module.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

BUNDLED = find_model("bundled")
SENTENCES = (
    "The mitochondrion is the powerhouse of the cell. ",
    "Best pizza in New York, according to nobody in particular? ",
    "Naïve café owners résumé their work at 7:30 a.m. — usually. ",
)
TEXTS = [
    "",
    "  ",
    "pizza",
    "a\x00b\x07 control",
    "日本語のテキスト 東京",
    "[SEP] markers [MASK] inside [CLS]",
    *(SENTENCES[number % 3] * (1 + number % 5) for number in range(6)),
]


def compare(folder: Path, *, texts: list[str] = TEXTS) -> float:
    """Return the largest difference of any weight, on both sides of the encoder."""
    from sentence_transformers import SparseEncoder

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer: Any = SparseEncoder(str(folder), device="cpu", local_files_only=True)
        theirs = [peer.encode_query(texts), peer.encode_document(texts)]
    ours = load_encoder(folder)
    both = [ours.encode_queries(texts), ours.encode_documents(texts)]
    return max(difference(mine, their) for mine, their in zip(both, theirs, strict=True))


def difference(mine: SparseVectors, their: Any) -> float:
    dense = np.asarray(their.to_dense())
    assert mine.nnz > 0 and dense.shape == (len(mine), mine.vocab_size)
    return float(np.abs(mine.to_scipy().toarray() - dense).max())


def rename_types(folder: Path) -> None:
    """Write the module names of version 6."""
    new = {
        "sentence_transformers.sparse_encoder.models.MLMTransformer": (
            "sentence_transformers.base.modules.transformer.Transformer"
        ),
        "sentence_transformers.sparse_encoder.models.SpladePooling": (
            "sentence_transformers.sparse_encoder.modules.splade_pooling.SpladePooling"
        ),
        "sentence_transformers.sparse_encoder.models.SparseStaticEmbedding": (
            "sentence_transformers.sparse_encoder.modules.sparse_static_embedding"
            ".SparseStaticEmbedding"
        ),
        "sentence_transformers.models.Router": "sentence_transformers.base.modules.router.Router",
    }
    for name in ("modules.json", "router_config.json"):
        if (folder / name).is_file():
            text = (folder / name).read_text("utf-8")
            for before, after in new.items():
                text = text.replace(before, after)
            (folder / name).write_text(text, "utf-8")
    file = folder / "sentence_bert_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "transformer_task": "fill-mask"}))


def test_the_base_of_the_bundled_model(tmp_path: Path) -> None:
    """Others load the network and the query table; what `sparse_head.json` adds is ours."""
    folder = shutil.copytree(
        BUNDLED, tmp_path / "m", ignore=shutil.ignore_patterns("sparse_head.*", "__*")
    )
    assert compare(folder, texts=["pizza", SENTENCES[0] * 70]) < 1e-4


@pytest.mark.parametrize(
    ("settings", "newer"),
    [
        ({"pooling": "sum"}, False),
        ({"activation": "log1p_relu"}, True),
        ({"pooling": "sum", "activation": "log1p_relu", "max_seq_length": 48}, True),
        ({"max_seq_length": 17, "prompts": {"query": "query: ", "document": "Paper: "}}, False),
    ],
)
def test_symmetric_folder(tmp_path: Path, settings: dict[str, Any], newer: bool) -> None:
    save_symmetric(BUNDLED, tmp_path / "m", half=True, **settings)
    if newer:
        rename_types(tmp_path / "m")
    assert compare(tmp_path / "m") < 1e-4


@pytest.mark.parametrize("newer", [False, True])
def test_router_folder(tmp_path: Path, newer: bool) -> None:
    table = np.random.default_rng(2).uniform(0, 9, 30522).astype(np.float32)
    save_router(
        BUNDLED,
        table,
        tmp_path / "m",
        activation="log1p_relu",
        prompts={"query": "find "},
        half=True,
    )
    if newer:
        rename_types(tmp_path / "m")
    assert compare(tmp_path / "m") < 1e-4


def test_router_folder_that_sentence_transformers_wrote(tmp_path: Path) -> None:
    from sentence_transformers import SparseEncoder

    table = np.random.default_rng(3).uniform(0, 9, 30522).astype(np.float32)
    save_router(BUNDLED, table, tmp_path / "ours", max_seq_length=64)
    peer: Any = SparseEncoder(str(tmp_path / "ours"), device="cpu", local_files_only=True)
    peer.save_pretrained(str(tmp_path / "theirs"), create_model_card=False)
    assert (tmp_path / "theirs" / "document_0_MLMTransformer").is_dir() or (
        tmp_path / "theirs" / "document_0_Transformer"
    ).is_dir()
    assert compare(tmp_path / "theirs") < 1e-4


def test_bare_folder(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    save_symmetric(BUNDLED, folder)
    for name in ("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"):
        (folder / name).unlink()
    assert compare(folder) < 1e-4


def tiny(kind: str) -> Any:
    """Return a small random masked language model of another architecture."""
    import torch
    import transformers as hf

    torch.manual_seed(len(kind))
    size = {"vocab_size": 30522, "hidden_size": 32, "num_hidden_layers": 2, "pad_token_id": 0}
    heads = {"num_attention_heads": 4, "intermediate_size": 64}
    configs: dict[str, Any] = {
        "roberta": lambda: hf.RobertaConfig(**size, **heads, max_position_embeddings=130),
        "xlm-roberta": lambda: hf.XLMRobertaConfig(**size, **heads, max_position_embeddings=130),
        "distilbert": lambda: hf.DistilBertConfig(
            vocab_size=30522, dim=32, n_layers=2, n_heads=4, hidden_dim=64
        ),
        "untied bert": lambda: hf.BertConfig(**size, **heads, tie_word_embeddings=False),
        "tanh bert": lambda: hf.BertConfig(**size, **heads, hidden_act="gelu_new"),
        "electra": lambda: hf.ElectraConfig(**size, **heads, embedding_size=16),
        "albert": lambda: hf.AlbertConfig(**size, **heads, embedding_size=16),
        "mpnet": lambda: hf.MPNetConfig(**{**size, "pad_token_id": 1}, **heads),
        "modernbert": lambda: hf.ModernBertConfig(
            **size, **heads, bos_token_id=101, eos_token_id=102, cls_token_id=101, sep_token_id=102
        ),
    }
    model: Any = hf.AutoModelForMaskedLM.from_config(configs[kind]())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        head = model.get_output_embeddings()
        if head.bias is not None:
            head.bias.sub_(1.0)
    return model


@pytest.mark.parametrize(
    "kind",
    [
        "roberta",
        "xlm-roberta",
        "distilbert",
        "untied bert",
        "tanh bert",
        "electra",
        "albert",
        "mpnet",
        "modernbert",
    ],
)
def test_other_architectures(tmp_path: Path, kind: str) -> None:
    hf = tmp_path / "hf"
    tiny(kind).save_pretrained(hf)
    (hf / "tokenizer.json").write_bytes((BUNDLED / "tokenizer.json").read_bytes())
    settings = json.loads((BUNDLED / "tokenizer_config.json").read_text())
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    settings["model_max_length"] = 100
    (hf / "tokenizer_config.json").write_text(json.dumps(settings))
    save_symmetric(hf, tmp_path / "m", max_seq_length=100)
    assert compare(tmp_path / "m") < 1e-4
