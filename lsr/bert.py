"""The BERT family (BERT, DistilBERT, RoBERTa, XLM-R) from its weights, without transformers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lsr.errors import ModelError
from lsr.weights import WeightFiles

Array = npt.NDArray[np.float32]


class Linear(NamedTuple):
    """`x @ weight.T + bias`; weight (out, in)."""

    weight: Array
    bias: Array


class Norm(NamedTuple):
    """Layer normalisation: scale and shift, both (hidden,)."""

    scale: Array
    shift: Array


class Layer(NamedTuple):
    """One post-norm transformer layer; `qkv` holds query, key and value stacked."""

    qkv: Linear
    out: Linear
    out_norm: Norm
    up: Linear
    down: Linear
    down_norm: Norm


@dataclass(frozen=True, slots=True)
class BertBody:
    """The layers of a model of the BERT family, all float32.

    `words` (vocab, hidden); `positions` (positions, hidden) starts at the first position that a
    token can have and includes the embedding of token type 0.
    """

    words: Array
    positions: Array
    input_norm: Norm
    layers: tuple[Layer, ...]
    n_heads: int
    activation: str
    epsilon: float


@dataclass(frozen=True, slots=True)
class BertWeights:
    """A masked language model of the BERT family, all float32.

    `decoder` (vocab, hidden) and `decoder_bias` (vocab,) map the transformed hidden states to
    logits.
    """

    body: BertBody
    transform: Linear
    transform_norm: Norm
    decoder: Array
    decoder_bias: Array
    head_activation: str


class _Names(NamedTuple):
    """Where a model type keeps its tensors and its settings."""

    prefix: str
    layer: str
    parts: tuple[str, str, str, str, str, str, str, str]
    transform: str
    transform_norm: str
    decoder: str
    bias: str


_BERT_PARTS = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "attention.output.LayerNorm",
    "intermediate.dense",
    "output.dense",
    "output.LayerNorm",
)
_ROBERTA = _Names(
    "roberta", "encoder.layer", _BERT_PARTS, "lm_head.dense", "lm_head.layer_norm",
    "lm_head.decoder", "lm_head.bias",
)  # fmt: skip
_FAMILY = {
    "bert": _Names(
        "bert",
        "encoder.layer",
        _BERT_PARTS,
        "cls.predictions.transform.dense",
        "cls.predictions.transform.LayerNorm",
        "cls.predictions.decoder",
        "cls.predictions.bias",
    ),
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "distilbert": _Names(
        "distilbert",
        "transformer.layer",
        (
            "attention.q_lin",
            "attention.k_lin",
            "attention.v_lin",
            "attention.out_lin",
            "sa_layer_norm",
            "ffn.lin1",
            "ffn.lin2",
            "output_layer_norm",
        ),
        "vocab_transform",
        "vocab_layer_norm",
        "vocab_projector",
        "vocab_projector.bias",
    ),
}
_ACTIVATIONS = {"gelu": "gelu", "relu": "relu", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}


def is_bert(config: dict[str, Any]) -> bool:
    """Return whether `read_bert` knows this configuration; other models need transformers."""
    return (
        config.get("model_type") in _FAMILY
        and config.get("position_embedding_type", "absolute") == "absolute"
        and not config.get("is_decoder", False)
        and not config.get("add_cross_attention", False)
        and not config.get("sinusoidal_pos_embds", False)
        and _activation(config) in _ACTIVATIONS
    )


def read_bert(config: dict[str, Any], files: WeightFiles) -> BertWeights:
    """Return the weights of a model for which `is_bert` holds; ModelError when one is missing."""
    reader = _Reader(config, files, _FAMILY[config["model_type"]])
    reader.check_head()
    return reader.weights()


def read_bert_body(config: dict[str, Any], files: WeightFiles) -> BertBody:
    """Return the layers of a model for which `is_bert` holds, with or without a head above them.

    ModelError when a tensor is missing.
    """
    return _Reader(config, files, _FAMILY[config["model_type"]]).body()


def _activation(config: dict[str, Any]) -> str:
    return str(config.get("hidden_act", config.get("activation", "gelu")))


class _Reader:
    def __init__(self, config: dict[str, Any], files: WeightFiles, names: _Names) -> None:
        self.config, self.files, self.names = config, files, names
        # Checkpoints of a model without a head leave the name of the body out.
        bare = "embeddings.word_embeddings.weight" in files.names
        self.prefix = "" if bare else f"{names.prefix}."

    def check_head(self) -> None:
        if not any(name.startswith(self.names.prefix + ".") for name in self.files.names):
            raise ModelError(
                f"{self.files.folder} is not a masked language model: its weights have no "
                f"{self.names.prefix}.* tensors and no vocabulary head",
                hint="give the ...ForMaskedLM checkpoint of the model",
            )

    def body(self) -> BertBody:
        names, config = self.names, self.config
        embeddings = f"{self.prefix}embeddings"
        words = self.tensor(f"{embeddings}.word_embeddings.weight")
        positions = self.tensor(f"{embeddings}.position_embeddings.weight")
        if names is _ROBERTA:
            positions = positions[int(config.get("pad_token_id", 1)) + 1 :]
        types = f"{embeddings}.token_type_embeddings.weight"
        if types in self.files.names:
            positions = positions + self.tensor(types)[0]
        count = config.get("num_hidden_layers", config.get("n_layers"))
        return BertBody(
            words=words,
            positions=positions,
            input_norm=self.norm(f"{embeddings}.LayerNorm"),
            layers=tuple(self.layer(number) for number in range(int(count or 0))),
            n_heads=int(config.get("num_attention_heads", config.get("n_heads", 0))),
            activation=_ACTIVATIONS[_activation(config)],
            epsilon=float(config.get("layer_norm_eps", 1e-12)),
        )

    def weights(self) -> BertWeights:
        names, body = self.names, self.body()
        decoder, bias = self.head(body.words)
        return BertWeights(
            body=body,
            transform=self.linear(names.transform),
            transform_norm=self.norm(names.transform_norm),
            decoder=decoder,
            decoder_bias=bias,
            head_activation="gelu" if names is _ROBERTA else body.activation,
        )

    def head(self, words: Array) -> tuple[Array, Array]:
        names = self.names
        stored = f"{names.decoder}.weight"
        if self.config.get("tie_word_embeddings", True):
            decoder = words
        elif stored in self.files.names:
            decoder = self.tensor(stored)
        else:
            raise self._no_head(stored)
        # Tied models share one bias and may store it under either name; untied ones use the last.
        candidates = (names.bias, f"{names.decoder}.bias")
        for name in candidates if decoder is words else reversed(candidates):
            if name in self.files.names:
                bias = self.tensor(name)
                break
        else:
            raise self._no_head(names.bias)
        if bias.shape != decoder.shape[:1]:
            raise ModelError(
                f"{self.files.folder}: the vocabulary head has {decoder.shape[0]} rows but "
                f"{bias.shape[0]} biases"
            )
        return decoder, bias

    def layer(self, number: int) -> Layer:
        base = f"{self.prefix}{self.names.layer}.{number}."
        query, key, value, out, out_norm, up, down, down_norm = self.names.parts
        stacked = [self.linear(base + part) for part in (query, key, value)]
        return Layer(
            qkv=Linear(
                np.concatenate([part.weight for part in stacked]),
                np.concatenate([part.bias for part in stacked]),
            ),
            out=self.linear(base + out),
            out_norm=self.norm(base + out_norm),
            up=self.linear(base + up),
            down=self.linear(base + down),
            down_norm=self.norm(base + down_norm),
        )

    def linear(self, name: str) -> Linear:
        return Linear(self.tensor(f"{name}.weight"), self.tensor(f"{name}.bias"))

    def norm(self, name: str) -> Norm:
        if f"{name}.gamma" in self.files.names:
            return Norm(self.tensor(f"{name}.gamma"), self.tensor(f"{name}.beta"))
        return Norm(self.tensor(f"{name}.weight"), self.tensor(f"{name}.bias"))

    def tensor(self, name: str) -> Array:
        if name not in self.files.names:
            if self.prefix and not name.startswith(self.prefix):
                raise self._no_head(name)
            raise ModelError(
                f"the weights in {self.files.folder} have no tensor {name!r}",
                hint="fetch the whole model again",
            )
        return self.files.tensor(name)

    def _no_head(self, name: str) -> ModelError:
        return ModelError(
            f"{self.files.folder} has no masked language model head (no tensor {name!r}); "
            "a sparse encoder needs one",
            hint="give the ...ForMaskedLM checkpoint of the model",
        )


def hidden_states(weights: BertWeights, ids: npt.NDArray[np.int32]) -> Array:
    """Return what the decoder multiplies, (tokens, hidden), for one text; plain numpy.

    For the few tokens of a query this costs less than importing torch does.
    """
    x = _linear(token_states(weights.body, ids), weights.transform)
    x = _ACTIVATE[weights.head_activation](x)
    return _norm(x, weights.transform_norm, weights.body.epsilon)


def token_states(body: BertBody, ids: npt.NDArray[np.int32]) -> Array:
    """Return what the last layer gives, (tokens, hidden), for one text; plain numpy."""
    x = _norm(body.words[ids] + body.positions[: len(ids)], body.input_norm, body.epsilon)
    for layer in body.layers:
        attended = _linear(_attention(_linear(x, layer.qkv), body.n_heads), layer.out)
        x = _norm(attended + x, layer.out_norm, body.epsilon)
        raised = _ACTIVATE[body.activation](_linear(x, layer.up))
        x = _norm(_linear(raised, layer.down) + x, layer.down_norm, body.epsilon)
    return x


def _linear(x: Array, linear: Linear) -> Array:
    return x @ linear.weight.T + linear.bias


def _norm(x: Array, norm: Norm, epsilon: float) -> Array:
    centred = x - x.mean(axis=-1, keepdims=True)
    spread = np.sqrt(np.mean(centred * centred, axis=-1, keepdims=True) + np.float32(epsilon))
    scaled: Array = centred / spread * norm.scale + norm.shift
    return scaled


def _attention(qkv: Array, n_heads: int) -> Array:
    n_tokens, width = qkv.shape
    query, key, value = qkv.reshape(n_tokens, 3, n_heads, -1).transpose(1, 2, 0, 3)
    scores = query @ key.transpose(0, 2, 1) / np.float32(np.sqrt(query.shape[-1]))
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    scores /= scores.sum(axis=-1, keepdims=True)
    attended: Array = (scores @ value).transpose(1, 0, 2).reshape(n_tokens, width // 3)
    return attended


def _relu(x: Array) -> Array:
    return np.maximum(x, np.float32(0))


def _tanh_gelu(x: Array) -> Array:
    inner = np.float32(np.sqrt(2 / np.pi)) * (x + np.float32(0.044715) * x * x * x)
    curve: Array = np.float32(0.5) * x * (1 + np.tanh(inner))
    return curve


def _gelu(x: Array) -> Array:
    # erf by formula 7.1.26 of Abramowitz and Stegun; its error is below 1.5e-7.
    z: Array = np.abs(x) * np.float32(np.sqrt(0.5))
    t = np.reciprocal(1 + np.float32(0.3275911) * z)
    tail: Array = np.full(x.shape, 1.061405429, np.float32)
    for factor in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        tail = tail * t + np.float32(factor)
    erf = np.copysign(1 - tail * t * np.exp(-z * z), x)
    curve: Array = np.float32(0.5) * x * (1 + erf)
    return curve


_ACTIVATE = {"gelu": _gelu, "relu": _relu, "tanh": _tanh_gelu}
