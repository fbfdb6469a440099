"""The network of a dense encoder: texts to pooled vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lsr.bert import BertBody, is_bert, read_bert_body, token_states
from lsr.dense_folder import DenseFolder, Projection, TokenPooling
from lsr.errors import ModelError
from lsr.tokens import Ids, TextTokenizer, read_json
from lsr.weights import WeightFiles

if TYPE_CHECKING:
    from torch import Tensor

Array = npt.NDArray[np.float32]


class DenseNetwork:
    """A transformer with pooling and what follows it, loaded from a folder.

    A few texts through a model of the BERT family need numpy only; everything else runs on
    torch, which is imported when it is first needed.
    """

    def __init__(self, folder: DenseFolder) -> None:
        self.folder = folder
        self._config = read_json(folder.network / "config.json")
        self.tokenizer = TextTokenizer(
            folder.network, length=folder.max_seq_length, lower_case=folder.lower_case
        )
        self._bert: BertBody | None = None
        if is_bert(self._config):
            self._bert = read_bert_body(self._config, WeightFiles(folder.network))
            if self.tokenizer.size > len(self._bert.words):
                raise ModelError(
                    f"{folder.network}: the tokenizer has {self.tokenizer.size} tokens but the "
                    f"model has a vocabulary of {len(self._bert.words)}",
                    hint="the tokenizer files belong to another model; fetch the whole model again",
                )
        self._after = [_Step(part) for part in folder.after]
        self.dim = self._count_dimensions()

    def _count_dimensions(self) -> int:
        for step in reversed(self._after):
            if step.weight is not None:
                return len(step.weight)
        if self._bert is not None:
            return int(self._bert.words.shape[1]) * len(self.folder.pooling)
        return len(self.encode(["a"], "", threads=1)[0])

    @property
    def can_skip_torch(self) -> bool:
        """Whether `encode_few` works for this model."""
        return self._bert is not None

    @cached_property
    def _states(self) -> Callable[[Sequence[Ids]], Tensor]:
        if self._bert is not None:
            from lsr.bert_torch import PackedBody

            return PackedBody(self._bert).token_states
        from lsr.transformer import TokenEncoder

        return TokenEncoder(self.folder.network, self._config).token_states

    def encode_few(self, texts: Sequence[str], prompt: str) -> Array:
        """Return a vector for each text, one text after the other, without torch."""
        bert = self._bert
        if bert is None:
            raise ModelError(f"{self.folder.network} needs torch")
        skip = self._skipped(prompt)
        rows = [
            self._pool(token_states(bert, ids), skip)
            for ids in self.tokenizer.encode([prompt + text for text in texts])
        ]
        return self._finish(rows)

    def encode(
        self,
        texts: Sequence[str],
        prompt: str,
        *,
        threads: int,
        on_progress: Callable[[int], None] | None = None,
    ) -> Array:
        """Return a vector for each text; the outcome does not depend on the number of threads."""
        from lsr.splade_batches import encode_in_batches

        skip = self._skipped(prompt)

        def pool(states: Tensor, batch: Sequence[Ids]) -> list[Array]:
            ends = [0, *np.cumsum([len(ids) for ids in batch]).tolist()]
            rows: Array = states.numpy()
            return [self._pool(rows[start:stop], skip) for start, stop in pairwise(ends)]

        return self._finish(
            encode_in_batches(
                [prompt + text for text in texts],
                self.tokenizer,
                self._states,
                pool,
                threads=threads,
                on_progress=on_progress,
            )
        )

    def _skipped(self, prompt: str) -> int:
        """Return how many tokens at the start of a text belong to its prompt and are not pooled."""
        if self.folder.pool_prompt or not prompt:
            return 0
        ids = self.tokenizer.encode([prompt])[0]
        return len(ids) - int(self.tokenizer.ends_with_special(ids))

    def _pool(self, states: Array, skip: int) -> Array:
        return np.concatenate([_pool(states, kind, skip) for kind in self.folder.pooling])

    def _finish(self, rows: Sequence[Array]) -> Array:
        vectors = np.stack(rows) if rows else np.zeros((0, self.dim), np.float32)
        for step in self._after:
            vectors = step(vectors)
        return np.ascontiguousarray(vectors, np.float32)


class _Step:
    """A module behind the pooling: a projection, or (`weight` is None) scaling to length one."""

    def __init__(self, part: Projection | str) -> None:
        self.weight: Array | None = None
        if not isinstance(part, Projection):
            return
        files = WeightFiles(part.folder)
        self.weight = files.tensor("linear.weight")
        self.bias: Array | None = None
        if "linear.bias" in files.names:
            self.bias = files.tensor("linear.bias")
        self.activation = part.activation

    def __call__(self, vectors: Array) -> Array:
        if self.weight is None:
            return normalize(vectors)
        vectors = vectors @ self.weight.T
        if self.bias is not None:
            vectors = vectors + self.bias
        if self.activation == "Tanh":
            return np.tanh(vectors)
        return np.maximum(vectors, np.float32(0)) if self.activation == "ReLU" else vectors


def normalize(vectors: Array) -> Array:
    """Return the vectors scaled to length one; a vector of zeros stays as it is.

    >>> normalize(np.array([[3, 4]], np.float32)).tolist()
    [[0.6000000238418579, 0.800000011920929]]
    """
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    scaled: Array = vectors / np.maximum(lengths, np.float32(1e-12))[:, None]
    return scaled


def _pool(states: Array, kind: TokenPooling, skip: int) -> Array:
    """Return one vector from the states (tokens, hidden) of a text; `skip` tokens are left out.

    Where nothing is left, the kinds follow sentence-transformers: the first token for "cls",
    zeros for means.
    """
    kept = states[skip:]
    pooled: Array
    if kind == "cls":
        pooled = states[skip if len(kept) else 0]
    elif kind == "lasttoken":
        pooled = states[-1]
    elif kind == "max":
        pooled = kept.max(axis=0, initial=-np.inf)
    elif kind == "weightedmean":
        weights = np.arange(1 + skip, 1 + len(states), dtype=np.float32)
        pooled = weights @ kept / max(weights.sum(), np.float32(1e-9))
    else:
        count = np.float32(max(len(kept), 1e-9))
        pooled = kept.sum(axis=0) / (count if kind == "mean" else np.sqrt(count))
    return pooled
