"""Anserini's JSON vectors, read and written piece by piece."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from lsr.corpus_bytes import Broken
from lsr.corpus_fields import BadRecord
from lsr.corpus_jsonl import JsonLines, parse_json
from lsr.rounding import Rounding
from lsr.sparse import SparseVector, SparseVectors
from lsr.vector_bytes import compressed
from lsr.vector_rows import Piece, RawRows, rows_of_lists

#: Stands for the id of a term beyond any vocabulary, so that the row is named as such.
_BEYOND = 2**62


class JsonVectors:
    """Anserini's JSON vectors: `{"id", "contents", "vector": {token: weight}}`, one a line.

    Tokens are looked up in `vocabulary`; without one they must be term ids. Weights are divided
    by `scale`.
    """

    def __init__(
        self,
        name: str,
        source: Path | IO[bytes] | None,
        *,
        vocabulary: Mapping[str, int] | None,
        vocab_size: int,
        scale: float = 1.0,
    ) -> None:
        self.name = name
        self.vocab_size: int | None = vocab_size
        self.seen = 0
        self._lines = JsonLines(name, source)
        self._vocabulary = vocabulary
        self._scale = scale

    def pieces(self, size: int, skip: int) -> Iterator[Piece]:
        """Yield the rows behind the first `skip`, at most `size` at a time."""
        numbers: list[int] = []
        raws: list[bytes] = []
        self.seen = 0
        for number, line in self._lines.items():
            if self.seen + len(numbers) < skip:
                self.seen += 1
                continue
            if isinstance(line, bytes):
                numbers.append(number)
                raws.append(line)
            if len(numbers) == size or (numbers and isinstance(line, Broken)):
                self.seen += len(numbers)
                yield self._rows(numbers, raws)
                numbers, raws = [], []
            if isinstance(line, Broken):
                self.seen += 1
                yield number, line
        if numbers:
            self.seen += len(numbers)
            yield self._rows(numbers, raws)

    def _rows(self, numbers: list[int], raws: list[bytes]) -> RawRows:
        values: list[Mapping[str, Any]] = []
        vectors: list[tuple[list[int], list[float]] | str] = []
        for raw in raws:
            found: dict[str, Any] = {}
            try:
                found = parse_json(raw)
                vectors.append(self._vector(found.pop("vector", None)))
            except BadRecord as error:
                vectors.append(str(error))
            values.append(found)
        rows = rows_of_lists(self.name, numbers, values, vectors, raws)
        if self._scale != 1.0:
            rows.weights = rows.weights / self._scale
        return rows

    def _vector(self, vector: Any) -> tuple[list[int], list[float]]:
        if not isinstance(vector, dict):
            raise BadRecord("there is no field 'vector' that holds an object of token to weight")
        terms = [term_of(token, self._vocabulary) for token in vector]
        weights = []
        for token, weight in vector.items():
            if isinstance(weight, bool) or not isinstance(weight, int | float):
                raise BadRecord(f"the weight of token {token!a} is not a number")
            weights.append(float(weight) if abs(weight) < 1e300 else float("inf"))
        return terms, weights


def term_of(token: str, vocabulary: Mapping[str, int] | None) -> int:
    """Return the term that a token stands for: its entry, or without a vocabulary its number.

    Raises BadRecord for a token that is neither. A number that no vocabulary reaches is cut to
    one that none reaches either.

    >>> term_of("cat", {"cat": 3}), term_of("17", None)
    (3, 17)
    """
    if vocabulary is not None:
        if token not in vocabulary:
            raise BadRecord(f"token {token!a} is not in the vocabulary")
        return vocabulary[token]
    if token.isascii() and token.isdigit():
        return min(int(token), _BEYOND) if len(token) < 20 else _BEYOND
    raise BadRecord(f"token {token!a} is not the id of a term, and no vocabulary is given")


def write_json(
    path: Path,
    name: str,
    batches: Iterable[tuple[Sequence[str], SparseVectors]],
    *,
    tokens: Sequence[str] | None,
    rounding: Rounding | None,
) -> int:
    """Write Anserini's JSON vectors, compressed if `name` ends in .gz or .zst.

    With `rounding` the weights are integers, and terms whose weight becomes 0 are left out.
    """
    rows = 0
    with (
        compressed(path, name) as raw,
        io.TextIOWrapper(raw, encoding="utf-8", newline="\n") as out,
    ):
        for ids, vectors in batches:
            weights = _written_weights(vectors.weights, rounding)
            for at, (identity, row) in enumerate(zip(ids, vectors, strict=True)):
                values = weights[vectors.indptr[at] : vectors.indptr[at + 1]]
                entry = {"id": identity, "contents": "", "vector": _entry(row, values, tokens)}
                out.write(json.dumps(entry, ensure_ascii=False) + "\n")
            rows += len(vectors)
    return rows


def _written_weights(
    weights: npt.NDArray[np.float32], rounding: Rounding | None
) -> list[int] | list[float]:
    if rounding is not None:
        rounded: list[int] = rounding(weights).tolist()
        return rounded
    # Nine digits bring every float32 back exactly.
    return [float(f"{weight:.9g}") for weight in weights.tolist()]


def _entry(
    row: SparseVector, weights: Sequence[float], tokens: Sequence[str] | None
) -> dict[str, float]:
    terms = row.terms.tolist()
    names = [str(term) for term in terms] if tokens is None else [tokens[term] for term in terms]
    return {name: weight for name, weight in zip(names, weights, strict=True) if weight}
