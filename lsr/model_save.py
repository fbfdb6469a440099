"""Write a model folder in the public SparseEncoder layouts, so that others load it too."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.dense_folder import DenseFolder
from lsr.errors import ConfigError
from lsr.model_folder import (
    HEAD_FILE,
    HEAD_TENSORS,
    QUERY_NETWORK,
    QUERY_TABLE,
    Activation,
    Pooling,
)
from lsr.tokens import read_json
from lsr.weights import WeightFiles

# The names of version 5, which version 6 of sentence-transformers resolves as well.
_NETWORK = "sentence_transformers.sparse_encoder.models.MLMTransformer"
_POOLING = "sentence_transformers.sparse_encoder.models.SpladePooling"
_TABLE = "sentence_transformers.sparse_encoder.models.SparseStaticEmbedding"
_ROUTER = "sentence_transformers.models.Router"
_TRANSFORMER = "sentence_transformers.models.Transformer"
_DENSE_POOLING = "sentence_transformers.models.Pooling"
_PROJECTION = "sentence_transformers.models.Dense"
_NORMALIZE = "sentence_transformers.models.Normalize"
_CODES = "sentence_transformers.sparse_encoder.models.SparseAutoEncoder"
#: Tensors of a coder, by our names and those of sentence-transformers' SparseAutoEncoder.
CODE_NAMES = {
    "pre_bias": "pre_bias",
    "latent_bias": "latent_bias",
    "encoder.weight": "encoder.weight",
    "silent": "stats_last_nonzero",
}
_TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
)


def save_symmetric(
    network: Path,
    target: Path,
    *,
    pooling: Pooling = "max",
    activation: Activation = "relu",
    max_seq_length: int | None = None,
    prompts: Mapping[str, str] | None = None,
    half: bool = False,
) -> None:
    """Write a folder in which one masked language model encodes both sides.

    `network` is a plain model folder with config.json, safetensors and tokenizer. `half` stores
    the weights as float16; they are computed with in float32 all the same.
    """
    _new_folder(target)
    _copy_network(network, target, max_seq_length, half)
    _write_pooling(target / "1_SpladePooling", network, pooling, activation)
    _write_modules(target, [("", _NETWORK), ("1_SpladePooling", _POOLING)])
    _write_settings(target, prompts)


def save_router(
    network: Path,
    table: npt.NDArray[np.float32],
    target: Path,
    *,
    pooling: Pooling = "max",
    activation: Activation = "relu",
    max_seq_length: int | None = None,
    prompts: Mapping[str, str] | None = None,
    half: bool = False,
) -> None:
    """Write an inference-free folder: a network for documents, a table of weights for queries.

    `table` (vocab,) float32 has a weight for each term. The network lies at the root, where
    plain transformers finds it; `idf.json` repeats the table for engines that read it.
    """
    _new_folder(target)
    _copy_network(network, target, max_seq_length, half)
    query = target / QUERY_TABLE
    pool = "document_1_SpladePooling"
    _write_pooling(target / pool, network, pooling, activation)
    _write_table(query, network, table)
    structure = {"query": [query.name], "document": ["", pool]}
    _write_router(target, {query.name: _TABLE, "": _NETWORK, pool: _POOLING}, structure)
    _write_settings(target, prompts)
    vocabulary = read_json(target / "tokenizer.json")["model"]["vocab"]
    if isinstance(vocabulary, dict):
        weights = {token: float(table[term]) for token, term in vocabulary.items()}
        _write_json(target / "idf.json", weights)


def save_two_networks(
    query: Path,
    document: Path,
    target: Path,
    *,
    pooling: tuple[Pooling, Pooling] = ("max", "max"),
    activation: tuple[Activation, Activation] = ("relu", "relu"),
    max_seq_length: tuple[int | None, int | None] = (None, None),
    prompts: Mapping[str, str] | None = None,
    half: bool = False,
) -> None:
    """Write a folder with a network for each side; pairs are (query, document).

    The network for documents lies at the root.
    """
    _new_folder(target)
    _copy_network(document, target, max_seq_length[1], half)
    own = target / QUERY_NETWORK
    own.mkdir()
    _copy_network(query, own, max_seq_length[0], half)
    pools = "query_1_SpladePooling", "document_1_SpladePooling"
    for name, network, strategy, function in zip(
        pools, (query, document), pooling, activation, strict=True
    ):
        _write_pooling(target / name, network, strategy, function)
    structure = {"query": [own.name, pools[0]], "document": ["", pools[1]]}
    types = {own.name: _NETWORK, "": _NETWORK, **dict.fromkeys(pools, _POOLING)}
    _write_router(target, types, structure)
    _write_settings(target, prompts)


def add_head(
    target: Path,
    query: Mapping[str, Any],
    document: Mapping[str, Any],
    tensors: Mapping[str, npt.NDArray[Any]],
    *,
    query_network: Path | None = None,
    query_table: npt.NDArray[np.float32] | None = None,
) -> None:
    """Add to a saved folder what the public layouts cannot say, in files of our own.

    `query` and `document` describe the sides as `lsr.model_folder.LearnedSide` names their
    fields. Others load what lies beside it: the base weights, without these parts.
    """
    if query_network is not None and not (target / QUERY_NETWORK).exists():
        (target / QUERY_NETWORK).mkdir()
        _copy_network(query_network, target / QUERY_NETWORK, None, half=False)
    if query_table is not None and not (target / QUERY_TABLE).exists():
        _write_table(target / QUERY_TABLE, target, query_table)
    about = "read by lsr; other libraries load the base weights without these parts"
    content = {"format": 1, "about": about, "query": dict(query), "document": dict(document)}
    _write_json(target / HEAD_FILE, content)
    if tensors:
        _write_tensors(target / HEAD_TENSORS, tensors)


def save_codes(target: Path, tensors: Mapping[str, npt.NDArray[Any]], *, k: int, dead: int) -> None:
    """Write a SparseAutoEncoder module: `tensors` by the names on the left of `CODE_NAMES`."""
    _new_folder(target)
    latents, dimensions = tensors["encoder.weight"].shape
    settings = {
        "input_dim": dimensions,
        "hidden_dim": latents,
        "k": k,
        "k_aux": min(512, latents),
        "normalize": False,
        "dead_threshold": dead,
    }
    _write_json(target / "config.json", settings)
    named = {theirs: tensors[own] for own, theirs in CODE_NAMES.items()}
    _write_tensors(target / "model.safetensors", named)


def save_code_encoder(
    dense: DenseFolder, tensors: Mapping[str, npt.NDArray[Any]], target: Path, *, k: int, dead: int
) -> None:
    """Write a folder with a dense encoder and the codes of its vectors (CSR)."""
    _new_folder(target)
    _copy_files(dense.network, target)
    chain = [("", _TRANSFORMER), ("1_Pooling", _DENSE_POOLING)]
    (target / "1_Pooling").mkdir()
    dimensions = tensors["encoder.weight"].shape[1]
    pooling = {"word_embedding_dimension": dimensions, "include_prompt": dense.pool_prompt}
    own = dense.path / "1_Pooling" / "config.json"
    _write_json(
        target / "1_Pooling" / "config.json",
        read_json(own, missing={**pooling, "pooling_mode_mean_tokens": True}),
    )
    for part in dense.after:
        name = f"{len(chain)}_{'Normalize' if isinstance(part, str) else 'Dense'}"
        (target / name).mkdir()
        if not isinstance(part, str):
            _copy_files(part.folder, target / name)
        chain.append((name, _NORMALIZE if isinstance(part, str) else _PROJECTION))
    name = f"{len(chain)}_SparseAutoEncoder"
    save_codes(target / name, tensors, k=k, dead=dead)
    _write_modules(target, [*chain, (name, _CODES)])
    prompts = {"query": dense.query_prompt, "document": dense.document_prompt}
    _write_settings(target, prompts, similarity="cosine")
    _write_json(
        target / "sentence_bert_config.json",
        {"max_seq_length": dense.max_seq_length, "do_lower_case": dense.lower_case},
    )


def _copy_files(source: Path, target: Path) -> None:
    for file in sorted(source.iterdir()):
        if file.is_file() and file.suffix in (".json", ".txt", ".model", ".safetensors"):
            shutil.copyfile(file, target / file.name)
    (target / "modules.json").unlink(missing_ok=True)


def save_network(network: Path, target: Path, *, half: bool = False) -> None:
    """Write a language model and its tokenizer alone, for `add_head` to add to."""
    _new_folder(target)
    _copy_network(network, target, None, half)


def _new_folder(target: Path) -> None:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(f"{target} exists and is not an empty folder")
    target.mkdir(parents=True, exist_ok=True)


def _copy_network(network: Path, target: Path, max_seq_length: int | None, half: bool) -> None:
    config = read_json(network / "config.json")
    config["dtype"] = "float32"
    config.pop("torch_dtype", None)
    _write_json(target / "config.json", config)
    _copy_tokenizer(network, target)
    if max_seq_length is None:
        max_seq_length = read_json(target / "tokenizer_config.json").get("model_max_length")
    _write_json(
        target / "sentence_bert_config.json",
        {"max_seq_length": max_seq_length, "do_lower_case": False},
    )
    files = WeightFiles(network)
    dtype = np.float16 if half else np.float32
    tensors = {name: files.tensor(name).astype(dtype) for name in sorted(files.names)}
    _write_tensors(target / "model.safetensors", tensors)


def _copy_tokenizer(source: Path, target: Path) -> None:
    for name in _TOKENIZER:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def _write_pooling(folder: Path, network: Path, pooling: Pooling, activation: Activation) -> None:
    folder.mkdir()
    settings = {
        "pooling_strategy": pooling,
        "activation_function": activation,
        "word_embedding_dimension": read_json(network / "config.json").get("vocab_size"),
    }
    _write_json(folder / "config.json", settings)


def _write_table(folder: Path, network: Path, table: npt.NDArray[np.float32]) -> None:
    folder.mkdir()
    _copy_tokenizer(network, folder)
    _write_json(folder / "config.json", {"frozen": True})
    _write_tensors(folder / "model.safetensors", {"weight": table.astype(np.float32)})


def _write_tensors(file: Path, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
    from safetensors.numpy import save_file

    contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    save_file(contiguous, str(file), metadata={"format": "pt"})
    file.chmod(0o644)  # the library makes it readable for its owner only


def _write_router(
    target: Path, types: Mapping[str, str], structure: Mapping[str, list[str]]
) -> None:
    parameters = {"default_route": "document", "allow_empty_key": True, "route_mappings": {}}
    router = {"types": types, "structure": structure, "parameters": parameters}
    _write_json(target / "router_config.json", router)
    _write_modules(target, [("", _ROUTER)])


def _write_modules(target: Path, modules: list[tuple[str, str]]) -> None:
    entries = [
        {"idx": number, "name": str(number), "path": path, "type": kind}
        for number, (path, kind) in enumerate(modules)
    ]
    _write_json(target / "modules.json", entries)


def _write_settings(
    target: Path, prompts: Mapping[str, str] | None, *, similarity: str = "dot"
) -> None:
    settings = {
        "model_type": "SparseEncoder",
        "prompts": {"query": "", "document": "", **(prompts or {})},
        "default_prompt_name": None,
        "similarity_fn_name": similarity,
    }
    _write_json(target / "config_sentence_transformers.json", settings)


def _write_json(file: Path, content: object) -> None:
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
