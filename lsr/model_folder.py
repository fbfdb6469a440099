"""What a model folder says about itself, in any of the public SparseEncoder layouts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lsr.dense_folder import DenseFolder, dense_chain
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

Pooling = Literal["max", "sum"]
Activation = Literal["relu", "log1p_relu"]

_NETWORKS = ("MLMTransformer", "Transformer")
_TABLES = ("SparseStaticEmbedding", "IDF")
_DENSE = ("Pooling", "Normalize", "Dense", "StaticEmbedding", "LayerNorm", "WeightedLayerPooling")
_CODES = ("SparseAutoEncoder", "CSRSparsity")


@dataclass(frozen=True, slots=True)
class NetworkSide:
    """A side that runs a masked language model and pools its logits.

    `frequency` is a file with the weight of each term's frequency residual (`lsr.frequency`),
    `window` the most terms of a vector, 0 for all; folders without `sparse_head.json` have neither.
    """

    folder: Path
    max_seq_length: int
    lower_case: bool = False
    pooling: Pooling = "max"
    activation: Activation = "relu"
    frequency: Path | None = None
    window: int = 0


@dataclass(frozen=True, slots=True)
class TableSide:
    """A side that looks each token of the text up in a table of weights.

    `counts` weighs a term as often as it stands in the text; `unit` scales vectors to length 1.
    """

    folder: Path
    max_seq_length: int
    counts: bool = False
    unit: bool = False


@dataclass(frozen=True, slots=True)
class LearnedSide:
    """A side with more than a vocabulary head, as `sparse_head.json` describes it.

    `tensors` is the file with what it learned beside its network, under names that begin with
    `extras`; the other fields are those of a recipe's `[model.query]` and `[model.document]`.
    """

    folder: Path
    max_seq_length: int
    tensors: Path
    extras: str
    kind: str = "mlm"
    activation: Literal["relu", "softplus", "identity"] = "relu"
    logs: int = 1
    pooling: str = "max"
    scope: str = "all"
    duplicates: str = "collapse"
    literal: bool = False
    window: int = 0
    norm: str = "none"
    importance: bool = False
    quality: bool = False
    prune: float = 0.0


@dataclass(frozen=True, slots=True)
class CodeSide:
    """A side whose vectors are k-sparse codes of a dense encoder's (CSR).

    `unit` scales codes to length 1: the folder compares them by cosine, and an index by dot.
    """

    dense: DenseFolder
    coder: Path
    unit: bool

    @property
    def max_seq_length(self) -> int:
        """The longest text in tokens."""
        return self.dense.max_seq_length


#: One side of a model.
AnySide = NetworkSide | TableSide | LearnedSide | CodeSide

#: The file that says what stock layouts cannot, and the one with its tensors.
HEAD_FILE = "sparse_head.json"
HEAD_TENSORS = "sparse_head.safetensors"
#: The tensor of a document side's frequency residual in it, (vocabulary,).
FREQUENCY_TENSOR = "document.frequency.weight"
#: The subfolders of a query side with a network, or a table, of its own.
QUERY_NETWORK = "query_0_MLMTransformer"
QUERY_TABLE = "query_0_SparseStaticEmbedding"


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A folder with a sparse encoder: its two sides and the prompts that go before the texts.

    `layout` is `symmetric` (one network for both sides), `router` (one route for each side),
    `bare` (a masked language model without sentence-transformers' files), `codes` (a dense
    encoder with a SparseAutoEncoder) or `head` (with a `sparse_head.json`, which `lsr train`
    writes for what the others cannot say).
    """

    path: Path
    layout: Literal["symmetric", "router", "bare", "codes", "head"]
    query: AnySide
    document: AnySide
    query_prompt: str = ""
    document_prompt: str = ""
    max_active_dims: int | None = None
    licence: str | None = None


def read_model_folder(path: Path, *, max_seq_length: int | None = None) -> ModelFolder:
    """Return what the folder holds; ModelError says why it is not a sparse encoder.

    `max_seq_length` replaces the limit of the folder, never beyond the positions it has.
    """
    if not path.is_dir():
        raise ModelError(f"{path} is not a folder", hint="give the folder of a model")
    read = _Reader(path, max_seq_length)
    if (path / HEAD_FILE).is_file():
        return read.head()
    if (path / "modules.json").is_file():
        return read.modules()
    return read.bare()


class _Reader:
    """Walks the files of one folder."""

    def __init__(self, path: Path, max_seq_length: int | None) -> None:
        self.path = path
        self.limit = max_seq_length

    def bare(self) -> ModelFolder:
        if not (self.path / "config.json").is_file():
            raise ModelError(
                f"{self.path} has neither modules.json nor config.json; it is not a model folder",
                hint="give the folder that holds config.json and model.safetensors",
            )
        settings = read_json(self.path / "config_sentence_transformers.json", missing={})
        _check_model_type(self.path, settings)
        side = self._network("", {}, bare=True)
        return ModelFolder(self.path, "bare", side, side, licence=licence(self.path))

    def head(self) -> ModelFolder:
        file = self.path / HEAD_FILE
        content = read_json(file)
        if content.get("format") != 1:
            raise ModelError(
                f"{file} is format {content.get('format')!r}; this version reads format 1",
                hint="update lsr",
            )
        sides = [self._described(file, content.get(name)) for name in ("query", "document")]
        settings = read_json(self.path / "config_sentence_transformers.json", missing={})
        texts = prompts(self.path, settings)
        return ModelFolder(
            self.path, "head", sides[0], sides[1], texts[0], texts[1],
            licence=licence(self.path),
        )  # fmt: skip

    def _described(self, file: Path, content: object) -> TableSide | NetworkSide | LearnedSide:
        if not isinstance(content, dict) or not isinstance(content.get("folder"), str):
            raise ModelError(f"{file} does not describe both sides", hint="save the model again")
        values = dict(content)
        folder = inside(self.path, values.pop("folder"))
        config = read_json(folder / "config.json", missing={})
        length = max_length(folder, config, self.limit, values.pop("max_seq_length", None))
        try:
            if values.get("kind") in ("binary", "table"):
                values.pop("kind")
                return TableSide(folder, length, **values)
            frequency = values.pop("frequency", 0)
            side = LearnedSide(folder, length, self.path / HEAD_TENSORS, **values)
        except TypeError as error:
            raise ModelError(
                f"{file} has a setting that this version does not know ({error})",
                hint="update lsr",
            ) from error
        return self._with_frequency(side) if frequency else side

    def _with_frequency(self, side: LearnedSide) -> NetworkSide:
        """Return a side whose frequency residual stands beside a plain head: the fast path."""
        if not side.tensors.is_file():
            raise ModelError(f"{side.tensors} is missing", hint="fetch the whole model again")
        plain = LearnedSide(
            side.folder, side.max_seq_length, side.tensors, side.extras,
            logs=side.logs, pooling=side.pooling, window=side.window,
        )  # fmt: skip
        if side != plain or side.pooling not in ("max", "sum") or side.logs not in (1, 2):
            raise ModelError(
                f"{self.path / HEAD_FILE} has a frequency residual beside parts that exclude it; "
                "a plain head with max or sum pooling is expected",
                hint="save the model again",
            )
        return NetworkSide(
            side.folder, side.max_seq_length,
            pooling="sum" if side.pooling == "sum" else "max",
            activation="relu" if side.logs == 1 else "log1p_relu",
            frequency=side.tensors, window=side.window,
        )  # fmt: skip

    def modules(self) -> ModelFolder:
        settings = read_json(self.path / "config_sentence_transformers.json", missing={})
        _check_model_type(self.path, settings)
        chain = read_chain(self.path)
        if chain and kind_of(chain[-1][0]) in _CODES:
            return self._codes(chain, settings)
        query: NetworkSide | TableSide
        if len(chain) == 1 and kind_of(chain[0][0]) in ("Router", "Asym"):
            folder = inside(self.path, chain[0][1])
            query, document = self._routes(folder, chain[0][1])
            layout: Literal["symmetric", "router"] = "router"
        else:
            query = document = self._side(chain)
            layout = "symmetric"
        query_prompt, document_prompt = prompts(self.path, settings)
        return ModelFolder(
            self.path,
            layout,
            query,
            document,
            query_prompt=query_prompt,
            document_prompt=document_prompt,
            max_active_dims=_positive(self.path, settings, "max_active_dims"),
            licence=licence(self.path),
        )

    def _codes(self, chain: list[tuple[str, str]], settings: dict[str, Any]) -> ModelFolder:
        dense = dense_chain(self.path, chain[:-1], settings, self.limit)
        unit = settings.get("similarity_fn_name") == "cosine"
        side = CodeSide(dense, inside(self.path, chain[-1][1]), unit)
        return ModelFolder(
            self.path,
            "codes",
            side,
            side,
            query_prompt=dense.query_prompt,
            document_prompt=dense.document_prompt,
            max_active_dims=_positive(self.path, settings, "max_active_dims"),
            licence=dense.licence,
        )

    def _routes(
        self, folder: Path, prefix: str
    ) -> tuple[NetworkSide | TableSide, NetworkSide | TableSide]:
        file = folder / "router_config.json"
        if not file.is_file() and (folder / "config.json").is_file():
            file = folder / "config.json"
        config = read_json(file)
        types, structure = config.get("types"), config.get("structure")
        if not isinstance(types, dict) or not isinstance(structure, dict):
            raise ModelError(f"{file} has no `types` and `structure` of routes")
        if (config.get("parameters") or {}).get("route_mappings"):
            raise ModelError(f"{file} maps routes by task and modality; query and document only")
        sides = []
        for route in ("query", "document"):
            names = structure.get(route)
            if not isinstance(names, list) or not names:
                raise ModelError(f"{file} has no route for {route}")
            unknown = [name for name in names if name not in types]
            if unknown:
                raise ModelError(f"{file}: module {unknown[0]!r} of route {route} has no type")
            chain = [(str(types[name]), f"{prefix}/{name}".strip("/")) for name in names]
            sides.append(self._side(chain))
        return sides[0], sides[1]

    def _side(self, chain: Sequence[tuple[str, str]]) -> NetworkSide | TableSide:
        kinds = [kind_of(name) for name, _ in chain]
        _refuse_other_families(self.path, kinds)
        if len(chain) == 1 and kinds[0] in _TABLES:
            return self._table(chain[0][1])
        if len(chain) == 2 and kinds[0] in _NETWORKS and kinds[1] == "SpladePooling":
            pooling = inside(self.path, chain[1][1]) / "config.json"
            return self._network(chain[0][1], read_json(pooling, missing={}), type=chain[0][0])
        raise ModelError(
            f"{self.path} is a chain of {' + '.join(kinds) or 'no'} modules; a masked language "
            "model with SpladePooling, or a SparseStaticEmbedding, is expected"
        )

    def _network(
        self, where: str, pooling: dict[str, Any], *, type: str = "", bare: bool = False
    ) -> NetworkSide:
        folder = inside(self.path, where)
        config = read_json(folder / "config.json")
        _check_architecture(folder, config)
        settings = {} if bare else transformer_settings(folder)
        task = settings.get("transformer_task")
        if task is None:
            task = (
                "fill-mask" if bare or kind_of(type) == "MLMTransformer" else "feature-extraction"
            )
        if task != "fill-mask":
            raise ModelError(
                f"{folder}: its Transformer module is set up for {task}; SPLADE needs fill-mask",
                hint='write "transformer_task": "fill-mask" in sentence_bert_config.json',
            )
        strategy = pooling.get("pooling_strategy", "max")
        activation = pooling.get("activation_function", "relu")
        if strategy not in ("max", "sum") or activation not in ("relu", "log1p_relu"):
            raise ModelError(
                f"{self.path}: SpladePooling with {strategy!r} and {activation!r}; max or sum, "
                "with relu or log1p_relu, are expected"
            )
        return NetworkSide(
            folder,
            max_length(folder, config, self.limit, settings.get("max_seq_length")),
            lower_case=bool(settings.get("do_lower_case", False)),
            pooling=strategy,
            activation=activation,
        )

    def _table(self, where: str) -> TableSide:
        folder = inside(self.path, where)
        return TableSide(folder, max_length(folder, {}, self.limit))


def _check_model_type(path: Path, settings: dict[str, Any]) -> None:
    found = settings.get("model_type", "SparseEncoder")
    if found == "SparseEncoder":
        return
    if found == "CrossEncoder":
        raise ModelError(f"{path} is a CrossEncoder: it scores pairs and gives no vectors")
    raise ModelError(
        f"{path} is a {found}, not a SparseEncoder; its vectors are not sparse",
        hint="give a SPLADE model, such as naver/splade-v3",
    )


def _refuse_other_families(path: Path, kinds: Sequence[str]) -> None:
    codes = [kind for kind in kinds if kind in _CODES]
    if codes:
        raise ModelError(
            f"{path} has a {codes[0]} module (CSR codes) that is not the last of one chain; "
            "a dense encoder with its codes is expected"
        )
    dense = [kind for kind in kinds if kind in _DENSE]
    if dense:
        raise ModelError(
            f"{path} is a dense sentence-transformers model (module {dense[0]}); "
            "a sparse encoder is expected",
            hint="give a SPLADE model, such as naver/splade-v3",
        )


def _check_architecture(folder: Path, config: dict[str, Any]) -> None:
    names = config.get("architectures") or []
    if any(str(name).endswith(("ForMaskedLM", "ForPreTraining")) for name in names):
        return
    if any(str(name).endswith("ForSequenceClassification") for name in names):
        raise ModelError(
            f"{folder} is a {names[0]}, a classifier or cross-encoder; it has no vocabulary head"
        )
    if names:
        raise ModelError(
            f"{folder} is a {names[0]}, which has no masked language model head; loading it would "
            "give it a random one",
            hint="give the ...ForMaskedLM checkpoint of the model",
        )
    if not config.get("model_type"):
        raise ModelError(f"{folder / 'config.json'} names no model_type and no architecture")


def _positive(path: Path, settings: dict[str, Any], key: str) -> int | None:
    value = settings.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ModelError(f"{path}: {key} is {value!r}; a positive integer is expected")
    return value
