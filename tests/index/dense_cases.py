"""A dense encoder without a model: words have fixed random vectors, a text is their sum."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]


class ToyDense:
    """Words are points that a hash chooses; `similarity` and `dim` as given."""

    name = "toy-dense"
    fingerprint = "toy-dense-1"
    licence: str | None = "MIT"
    max_seq_length = 512

    def __init__(self, dim: int = 8, similarity: Literal["cosine", "dot"] = "cosine") -> None:
        self.dim = dim
        self.similarity: Literal["cosine", "dot"] = similarity
        self.encoded = 0

    def _encode(self, texts: Sequence[str]) -> Vectors:
        rows = np.zeros((len(texts), self.dim), np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in text.lower().split():
                seed = zlib.crc32(word.strip(".,?!").encode())
                row += np.random.default_rng(seed).normal(size=self.dim).astype(np.float32)
        return rows

    def encode_queries(self, texts: Sequence[str], *, threads: int | None = None) -> Vectors:
        return self._encode(texts)

    def encode_documents(
        self,
        texts: Sequence[str],
        *,
        threads: int | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> Vectors:
        self.encoded += len(texts)
        return self._encode(texts)

    def info(self) -> dict[str, Any]:
        return {"name": self.name}
