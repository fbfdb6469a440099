"""What a folder with a dense encoder says about itself, in sentence-transformers' layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from lsr.errors import ModelError
from lsr.model_parts import (
    inside,
    kind_of,
    licence,
    max_length,
    prompts,
    read_chain,
    transformer_settings,
)
from lsr.tokens import read_json

TokenPooling = Literal["mean", "cls", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]
DenseActivation = Literal["Identity", "Tanh", "ReLU"]
Similarity = Literal["cosine", "dot"]

#: The keys of sentence-transformers before version 6, in the order of its concatenation.
_OLD_POOLING: dict[str, TokenPooling] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_SPARSE = ("SpladePooling", "MLMTransformer", "SparseStaticEmbedding", "IDF")


@dataclass(frozen=True, slots=True)
class Projection:
    """A Dense module: a linear map, and what is applied to its outcome."""

    folder: Path
    activation: DenseActivation


@dataclass(frozen=True, slots=True)
class DenseFolder:
    """A folder with a dense encoder: a network, how its tokens are pooled, and what follows.

    `pooling` holds several kinds where their vectors are concatenated; `after` is in order, with
    "normalize" for a Normalize module. `pool_prompt`: whether tokens of a prompt are pooled.
    """

    path: Path
    network: Path
    layout: Literal["modules", "bare"]
    max_seq_length: int
    lower_case: bool = False
    pooling: tuple[TokenPooling, ...] = ("mean",)
    pool_prompt: bool = True
    after: tuple[Projection | Literal["normalize"], ...] = ()
    similarity: Similarity = "cosine"
    query_prompt: str = ""
    document_prompt: str = ""
    licence: str | None = None


def read_dense_folder(path: Path, *, max_seq_length: int | None = None) -> DenseFolder:
    """Return what the folder holds; ModelError says why it is not a dense encoder.

    A folder without modules.json is a transformers encoder; its tokens are averaged, as
    sentence-transformers does. `max_seq_length` replaces the limit of the folder, never beyond
    the positions it has.
    """
    if not path.is_dir():
        raise ModelError(f"{path} is not a folder", hint="give the folder of a model")
    if (path / "modules.json").is_file():
        return _read_modules(path, max_seq_length)
    if not (path / "config.json").is_file():
        raise ModelError(
            f"{path} has neither modules.json nor config.json; it is not a model folder",
            hint="give the folder that holds config.json and model.safetensors",
        )
    config = _network_config(path)
    length = max_length(path, config, max_seq_length)
    return DenseFolder(path, path, "bare", length, licence=licence(path))


def _read_modules(path: Path, limit: int | None) -> DenseFolder:
    settings = read_json(path / "config_sentence_transformers.json", missing={})
    _check_model_type(path, settings)
    return dense_chain(path, read_chain(path), settings, limit)


def dense_chain(
    path: Path, modules: Sequence[tuple[str, str]], settings: dict[str, Any], limit: int | None
) -> DenseFolder:
    """Return the dense encoder of a list of modules, (type, folder) as `read_chain` gives them."""
    chain = [(kind_of(name), inside(path, folder)) for name, folder in modules]
    kinds = [kind for kind, _ in chain]
    if any(kind in _SPARSE for kind in kinds):
        raise ModelError(
            f"{path} is a sparse encoder ({' + '.join(kinds)}); a dense one is expected here",
            hint="give it as the sparse model, or a dense one such as "
            "sentence-transformers/all-MiniLM-L6-v2",
        )
    if kinds[:2] != ["Transformer", "Pooling"]:
        raise ModelError(
            f"{path} is a chain of {' + '.join(kinds) or 'no'} modules; a Transformer with "
            "Pooling, then Dense and Normalize, are expected"
        )
    network = chain[0][1]
    own = transformer_settings(network)
    pooling, pool_prompt = _read_pooling(chain[1][1])
    query_prompt, document_prompt = prompts(path, settings)
    return DenseFolder(
        path,
        network,
        "modules",
        max_length(network, _network_config(network), limit, own.get("max_seq_length")),
        lower_case=bool(own.get("do_lower_case", False)),
        pooling=pooling,
        pool_prompt=pool_prompt,
        after=tuple(_read_after(path, kind, folder) for kind, folder in chain[2:]),
        similarity=_similarity(path, settings),
        query_prompt=query_prompt,
        document_prompt=document_prompt,
        licence=licence(path),
    )


def _network_config(folder: Path) -> dict[str, Any]:
    config = read_json(folder / "config.json")
    if not config.get("model_type") and not config.get("architectures"):
        raise ModelError(f"{folder / 'config.json'} names no model_type and no architecture")
    if any(
        str(name).endswith("ForSequenceClassification")
        for name in config.get("architectures") or []
    ):
        raise ModelError(
            f"{folder} is a {config['architectures'][0]}, a classifier or cross-encoder; it gives "
            "no vectors of texts"
        )
    return config


def _read_pooling(folder: Path) -> tuple[tuple[TokenPooling, ...], bool]:
    file = folder / "config.json"
    config = read_json(file)
    found = config.get("pooling_mode")
    if found is None:
        found = [kind for key, kind in _OLD_POOLING.items() if config.get(key)] or ["mean"]
    kinds = [found] if isinstance(found, str) else found
    known = get_args(TokenPooling)
    if not isinstance(kinds, list) or not kinds or not all(kind in known for kind in kinds):
        raise ModelError(f"{file}: pooling {found!r} is unknown; {', '.join(known)} are expected")
    return tuple(kinds), bool(config.get("include_prompt", True))


def _read_after(path: Path, kind: str, folder: Path) -> Projection | Literal["normalize"]:
    if kind == "Normalize":
        return "normalize"
    if kind != "Dense":
        raise ModelError(
            f"{path}: module {kind} after the pooling is not supported; Dense and Normalize are"
        )
    config = read_json(folder / "config.json")
    activation = kind_of(str(config.get("activation_function", "torch.nn.modules.activation.Tanh")))
    if activation not in get_args(DenseActivation) or config.get("use_residual"):
        raise ModelError(
            f"{folder}: a Dense module with {activation}"
            f"{' and a residual' if config.get('use_residual') else ''} is not supported; "
            "Identity, Tanh and ReLU are"
        )
    return Projection(folder, cast(DenseActivation, activation))


def _check_model_type(path: Path, settings: dict[str, Any]) -> None:
    found = settings.get("model_type", "SentenceTransformer")
    if found == "SparseEncoder":
        raise ModelError(
            f"{path} is a SparseEncoder; a dense encoder is expected here",
            hint="give it as the sparse model",
        )
    if found != "SentenceTransformer":
        raise ModelError(f"{path} is a {found}; it gives no single vector of a text")


def _similarity(path: Path, settings: dict[str, Any]) -> Similarity:
    found = settings.get("similarity_fn_name") or "cosine"
    if found not in get_args(Similarity):
        raise ModelError(
            f"{path} compares its vectors by {found!r}; cosine and dot are supported",
            hint="give a model that was trained for cosine or dot",
        )
    return cast(Similarity, found)
