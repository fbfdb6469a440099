"""A language model without its vocabulary projection."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lsr.errors import DataError, ModelError
from lsr.masked_lm import load_language_model
from lsr.model_files import find_model
from lsr.tokens import TextTokenizer

#: How far the shortcut may be from the model's own logits on the probe.
_TOLERANCE = 1e-4
#: The bias that keeps a special token out of every vector; float16 can hold it.
NEVER = -1e4


class Hidden(NamedTuple):
    """Hidden states as the projection sees them, texts end to end.

    `states` (tokens, width), `terms` int64 (tokens,); `lengths` of the texts add up to tokens.
    """

    states: Tensor
    terms: Tensor
    lengths: list[int]

    def rows(self, *, last: bool) -> Tensor:
        """Return the states of the first or the last token of each text, (texts, width)."""
        lengths = torch.tensor(self.lengths, device=self.states.device)
        ends = lengths.cumsum(0)
        return self.states[ends - 1 if last else ends - lengths]

    def texts(self) -> Tensor:
        """Return which text each token belongs to, int64 (tokens,)."""
        lengths = torch.tensor(self.lengths, device=self.states.device)
        return torch.repeat_interleave(lengths)


class Backbone(nn.Module):
    """A masked or causal language model that stops before its vocabulary projection.

    `decoder` (vocabulary, width) and `bias` (vocabulary,) are the projection. The bias of special
    tokens is set so low that they are in no vector, here or in whatever loads the saved model.
    """

    def __init__(self, name: str, *, causal: bool = False) -> None:
        super().__init__()
        self.folder = find_model(name)
        self.causal = causal
        self.network: Any = load_language_model(self.folder, causal=causal)
        projection = self.network.get_output_embeddings()
        if not isinstance(projection, nn.Linear):
            raise ModelError(f"{self.folder} has no linear projection to a vocabulary")
        self.n_vocabulary, self.width = projection.weight.shape
        self.pad = int(self.network.config.pad_token_id or 0)
        _check_projection(self.network, projection, self.folder)
        # A forward of its own, not another module: weights stay tied, and saved as they were.
        _replace_forward(projection, _unchanged)
        self._own_bias: Tensor | None
        missing = torch.zeros(self.n_vocabulary) if projection.bias is None else None
        self.register_buffer("_own_bias", missing, persistent=False)

    @property
    def decoder(self) -> Tensor:
        """The projection's matrix, (vocabulary, width)."""
        weight: Tensor = self.network.get_output_embeddings().weight
        return weight

    @property
    def bias(self) -> Tensor:
        """The projection's bias, (vocabulary,)."""
        own: Tensor | None = self.network.get_output_embeddings().bias
        if own is not None:
            return own
        if self._own_bias is None:
            raise ModelError(f"{self.folder} lost the bias of its projection")
        return self._own_bias

    def prepare(self, special: list[int], scale: float) -> None:
        """Keep `special` terms out of every vector, and divide the logits by `scale` for good.

        The scale goes into the last layer norm and the bias, so that the saved model has it.
        """
        if scale != 1.0:
            self._divide_head(scale)
        with torch.no_grad():
            self.bias[special] = NEVER

    def _divide_head(self, scale: float) -> None:
        norm = _last_norm(self.network)
        before = _probe(self.network)
        with torch.no_grad():
            for parameter in norm.parameters(recurse=False):
                parameter.div_(scale)
            self.bias.div_(scale)
        if not torch.allclose(before / scale, _probe(self.network), rtol=1e-3, atol=1e-5):
            raise ModelError(
                f"{self.folder}: its last norm ({type(norm).__name__}) cannot be scaled",
                hint="--set model.head_scale=1.0",
            )

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Hidden:
        """Return the hidden states of the tokens that the mask leaves."""
        states = self.network(input_ids=input_ids, attention_mask=attention_mask).logits
        lengths = attention_mask.sum(1).tolist()
        if 0 in lengths:
            raise DataError(
                f"text {lengths.index(0)} of a batch has no tokens; a network needs at least one"
            )
        kept = attention_mask.flatten().nonzero().squeeze(1)
        return Hidden(states.flatten(0, 1)[kept], input_ids.flatten()[kept], lengths)


def special_ids(tokenizer: TextTokenizer, n_vocabulary: int) -> list[int]:
    """Return the ids that are no terms: special tokens, and rows no token belongs to."""
    beyond = range(tokenizer.size, n_vocabulary)
    return sorted({*tokenizer.special_ids, *beyond})


def _unchanged(states: Tensor) -> Tensor:
    return states


def _replace_forward(module: Any, forward: Any) -> None:
    module.forward = forward


def _probe(network: Any) -> Tensor:
    training = network.training
    network.eval()
    with torch.inference_mode():
        states: Tensor = network(input_ids=torch.arange(2, 10)[None]).logits
    network.train(training)
    return states


def _last_norm(network: Any) -> nn.Module:
    """Return the norm whose output is what the projection sees."""
    outputs: list[tuple[nn.Module, Any]] = []
    handles = [
        module.register_forward_hook(lambda module, _, output: outputs.append((module, output)))
        for module in network.modules()
        if "norm" in type(module).__name__.lower()
    ]
    states = _probe(network)
    for handle in handles:
        handle.remove()
    if not outputs or not torch.equal(outputs[-1][1], states):
        raise ModelError(
            "no layer norm stands right before the vocabulary projection, so head_scale has "
            "nothing to scale",
            hint="--set model.head_scale=1.0",
        )
    return outputs[-1][0]


def _check_projection(network: Any, projection: nn.Linear, folder: Path) -> None:
    expected = _probe(network)
    whole = projection.forward
    _replace_forward(projection, _unchanged)
    with torch.inference_mode():
        found = whole(_probe(network))
    _replace_forward(projection, whole)
    same = found.shape == expected.shape and torch.allclose(
        found, expected, atol=_TOLERANCE, rtol=_TOLERANCE
    )
    if not same:
        raise ModelError(
            f"{folder}: its logits are not its hidden states times its projection; "
            "such a head cannot be trained in chunks"
        )
