"""An encoder without a model: words are terms, counts are weights. For tests of the index."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lsr.sparse import SparseVectors


class ToyEncoder:
    """Lower-cased words, numbered by a small vocabulary; unknown words share term 0."""

    name = "toy"
    fingerprint = "toy-1"
    licence: str | None = "Apache-2.0"
    max_seq_length = 512

    def __init__(self, words: str = "cats purr dogs bark cows moo birds sing fish swim") -> None:
        self._tokens = ["[unk]", *words.split()]
        self.vocab_size = len(self._tokens)
        self.encoded = 0

    @property
    def vocabulary(self) -> Mapping[str, int]:
        return {token: term for term, token in enumerate(self._tokens)}

    def token(self, term: int) -> str:
        return self._tokens[term]

    def tokens(self, terms: Sequence[int]) -> list[str]:
        return [self.token(int(term)) for term in terms]

    def _encode(self, texts: Sequence[str]) -> SparseVectors:
        vocabulary = self.vocabulary
        rows: list[dict[int, float]] = []
        for text in texts:
            row: dict[int, float] = {}
            for word in text.lower().split():
                term = vocabulary.get(word.strip(".,?!"), 0)
                row[term] = row.get(term, 0.0) + 1.0
            rows.append(row)
        return SparseVectors.from_dicts(rows, vocab_size=self.vocab_size)

    def encode_queries(self, texts: Sequence[str], *, threads: int | None = None) -> SparseVectors:
        return self._encode(texts)

    def encode_documents(
        self,
        texts: Sequence[str],
        *,
        threads: int | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> SparseVectors:
        self.encoded += len(texts)
        if on_progress is not None:
            on_progress(len(texts))
        return self._encode(texts)

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def info(self) -> dict[str, Any]:
        return {"name": self.name}
