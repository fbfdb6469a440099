"""The static side of an inference-free model: each token of the text has its weight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from lsr.errors import ModelError
from lsr.head import Array, Row, keep_largest
from lsr.model_folder import TableSide
from lsr.tokens import Ids, TextTokenizer, read_json
from lsr.weights import WeightFiles


class StaticTable:
    """A weight for each term; a text has the weight of every distinct token it contains.

    Needs neither torch nor transformers. Tokens with a weight of zero or less are left out.
    """

    def __init__(self, side: TableSide) -> None:
        self.side = side
        self.tokenizer = TextTokenizer(side.folder, length=side.max_seq_length, special=False)
        self.weights = self._read()
        self.vocab_size = len(self.weights)
        if self.tokenizer.size > self.vocab_size:
            raise ModelError(
                f"{side.folder}: the tokenizer has {self.tokenizer.size} tokens but the table "
                f"has {self.vocab_size} weights"
            )

    def _read(self) -> Array:
        folder = self.side.folder
        config = read_json(folder / "config.json", missing={})
        path = config.get("path")
        if isinstance(path, str) and path.endswith(".json"):
            return self._read_json(path)
        weights = WeightFiles(folder).tensor("weight").reshape(-1)
        if not np.isfinite(weights).all():
            raise ModelError(f"{folder}: the table of weights holds a value that is not finite")
        return weights

    def _read_json(self, name: str) -> Array:
        folder = self.side.folder
        file = folder / name
        if not file.is_file():
            raise ModelError(f"{folder / 'config.json'} names the table {name!r}, which is missing")
        weights = np.zeros(self.tokenizer.size, np.float32)
        for token, weight in read_json(file).items():
            term = self.tokenizer.vocabulary.get(token)
            if term is not None:
                weights[term] = weight
        return weights

    def encode_few(self, texts: Sequence[str], *, max_active: int | None = None) -> list[Row]:
        """Return a row for each text."""
        return [self._row(ids, max_active) for ids in self.tokenizer.encode(texts)]

    def _row(self, ids: Ids, max_active: int | None) -> Row:
        numbers = ids.tolist()
        # Texts are short: a set takes a tenth of the time of np.unique.
        found = np.array(sorted(set(numbers)), np.int64)
        terms = found[self.weights[found] > 0]
        weights = self.weights[terms]
        if self.side.counts:
            counts = Counter(numbers)
            weights = weights * np.array([counts[term] for term in terms.tolist()], np.float32)
        if self.side.unit and len(weights):
            weights = weights / np.linalg.norm(weights)
        return keep_largest(Row(terms, weights), max_active)
