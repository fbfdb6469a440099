"""Sides whose terms are latents: k-sparse codes of the vectors of a dense encoder (CSR)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np

from lsr.dense_network import DenseNetwork
from lsr.errors import ModelError
from lsr.head import Array, Row, keep_largest
from lsr.model_folder import CodeSide
from lsr.tokens import TextTokenizer, read_json
from lsr.weights import WeightFiles

#: Vectors that are coded at a time.
_BATCH = 512


class CodeNetwork:
    """A dense encoder and the coder behind it: z = TopK(relu(W (x - b_pre) + b_lat)).

    The arithmetic of the coder is numpy's; torch is only imported where the dense encoder needs it.
    """

    def __init__(self, side: CodeSide) -> None:
        self.side = side
        self._network = DenseNetwork(side.dense)
        config = read_json(side.coder / "config.json")
        self.k, self.vocab_size = int(config.get("k", 0)), int(config.get("hidden_dim", 0))
        if config.get("normalize"):
            raise ModelError(f"{side.coder} normalises its input, which this version does not")
        files = WeightFiles(side.coder)
        # Encoder and decoder are tied, and stored under either name.
        names = [
            name for name in ("encoder.weight", "decoder.linear.weight") if name in files.names
        ]
        self._weight = files.tensor(names[0] if names else "encoder.weight")
        self._shift = files.tensor("latent_bias") - self._weight @ files.tensor("pre_bias")
        if not side.dense.pool_prompt and (side.dense.query_prompt or side.dense.document_prompt):
            raise ModelError(f"{side.dense.path} leaves its prompts out of pooling; codes cannot")
        if self._weight.shape != (self.vocab_size, self._network.dim) or self.k < 1:
            raise ModelError(
                f"{side.coder} codes vectors of {self._weight.shape[1]} dimensions; the dense "
                f"encoder gives {self._network.dim}"
            )
        self.tokenizer = LatentNames(self._network.tokenizer, self.vocab_size)

    @property
    def can_skip_torch(self) -> bool:
        """Whether `encode_few` works for this model."""
        return self._network.can_skip_torch

    def encode_few(self, texts: Sequence[str], *, max_active: int | None = None) -> list[Row]:
        """Return a row for each text, without torch; prompts are already in the texts."""
        return self._rows(self._network.encode_few(texts, ""), max_active)

    def encode(
        self,
        texts: Sequence[str],
        *,
        threads: int,
        max_active: int | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> list[Row]:
        """Return a row for each text; the outcome does not depend on the number of threads."""
        vectors = self._network.encode(texts, "", threads=threads, on_progress=on_progress)
        return self._rows(vectors, max_active)

    def _rows(self, vectors: Array, max_active: int | None) -> list[Row]:
        rows: list[Row] = []
        for start in range(0, len(vectors), _BATCH):
            latents = vectors[start : start + _BATCH] @ self._weight.T + self._shift
            for values in latents:
                best = np.sort(np.argpartition(-values, min(self.k, len(values)) - 1)[: self.k])
                terms = best[values[best] > 0]
                weights = values[terms]
                if self.side.unit and len(weights):
                    weights = weights / np.linalg.norm(weights)
                rows.append(keep_largest(Row(terms, weights), max_active))
        return rows


class LatentNames:
    """What a tokenizer is asked for where terms are latents, which have numbers and no names."""

    def __init__(self, tokenizer: TextTokenizer, size: int) -> None:
        self._tokenizer = tokenizer
        self.size = size

    @cached_property
    def vocabulary(self) -> Mapping[str, int]:
        """Every latent and its term."""
        return {self.token(term): term for term in range(self.size)}

    def token(self, term: int) -> str:
        """Return the name of a latent, `#` and its number."""
        return f"#{term}"

    def count(self, text: str) -> int:
        """Return how many tokens a text has for the dense encoder."""
        return self._tokenizer.count(text)
