"""Rows of a vector file on their way in: checked one batch at a time, the bad ones named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.corpus_bytes import Broken
from lsr.corpus_fields import BadRecord, FieldMap
from lsr.errors import DataError
from lsr.rejects import Rejects
from lsr.sparse import SparseVectors
from lsr.types import Document


@dataclass(frozen=True, slots=True)
class VectorBatch:
    """Some vectors of a file with their documents, in the order of the file.

    `documents` hold at least the id, and what else the file says. `lines` are the places in
    `source`, from 1. `position` is how many records of the whole source, good and bad, lie before
    the next batch: what to `skip` to go on there.
    """

    documents: list[Document]
    vectors: SparseVectors
    lines: list[int]
    source: str
    position: int

    @property
    def ids(self) -> list[str]:
        """The ids of the documents."""
        return [document.id for document in self.documents]


@dataclass(slots=True)
class RawRows:
    """Rows as a file holds them, not checked yet.

    `values` become the documents; row i has `terms` and `weights` from indptr[i] to indptr[i+1].
    `problems` are reasons found while reading, by row; such a row has no terms. `raws` are the
    rows as they stand in the file, where that can be shown.
    """

    source: str
    lines: list[int]
    values: Sequence[Mapping[str, Any]]
    indptr: npt.NDArray[np.int64]
    terms: npt.NDArray[Any]
    weights: npt.NDArray[Any]
    problems: dict[int, str] = field(default_factory=dict)
    raws: Sequence[str | bytes] = ()

    def check(self, vocab_size: int, mapping: FieldMap, rejects: Rejects) -> VectorBatch | None:
        """Return the good rows, None when there are none; the others go to the rejects.

        Weights of exactly 0 say that a term is absent, and are dropped. Terms may come in any
        order.
        """
        documents: dict[int, Document] = {}
        problems = dict(self.problems)
        for at, values in enumerate(self.values):
            if at in problems:
                continue
            try:
                documents[at] = mapping.document(values, need_text=False)
            except BadRecord as error:
                problems[at] = str(error)
        self._drop_zeros()
        vectors = self._vectors(vocab_size, problems)
        for at in sorted(problems):
            raw = self.raws[at] if self.raws else str(dict(self.values[at]))
            rejects.reject(self.source, self.lines[at], problems[at], raw)
        good = [at for at in range(len(self.lines)) if at not in problems]
        if not good:
            return None
        return VectorBatch(
            [documents[at] for at in good],
            vectors if len(vectors) == len(good) else vectors.take(good),
            [self.lines[at] for at in good],
            self.source,
            0,
        )

    def _drop_zeros(self) -> None:
        zero = self.weights == 0
        if not zero.any():
            return
        before = np.concatenate([[0], np.cumsum(~zero)])
        self.indptr = before[self.indptr].astype(np.int64)
        self.terms, self.weights = self.terms[~zero], self.weights[~zero]

    def _vectors(self, vocab_size: int, problems: dict[int, str]) -> SparseVectors:
        """Return a vector for each row, an empty one where `problems` has, or gets, a reason."""
        everything = slice(0, len(self.lines))
        for sort in (False, True):  # nearly always sorted already, and then twice as fast
            try:
                return self._made(everything, vocab_size, sort=sort)
            except DataError:
                continue
        made = [SparseVectors.from_dicts([{}], vocab_size=vocab_size)] * len(self.lines)
        for at in range(len(self.lines)):
            try:
                made[at] = self._made(slice(at, at + 1), vocab_size, sort=True)
            except DataError as error:
                problems.setdefault(
                    at, error.message.removeprefix("row 0: ").removeprefix("row 0, ")
                )
        return SparseVectors.concat(made)

    def _made(self, rows: slice, vocab_size: int, *, sort: bool) -> SparseVectors:
        indptr = self.indptr[rows.start : rows.stop + 1]
        span = slice(int(indptr[0]), int(indptr[-1]))
        return SparseVectors.from_arrays(
            indptr - indptr[0],
            self.terms[span],
            self.weights[span],
            vocab_size=vocab_size,
            sort=sort,
        )


def rows_of_lists(
    source: str,
    lines: list[int],
    values: Sequence[Mapping[str, Any]],
    vectors: Sequence[tuple[list[int], list[float]] | str],
    raws: Sequence[str | bytes] = (),
) -> RawRows:
    """Return rows from one (terms, weights) a row, or the reason why a row has none."""
    problems = {at: vector for at, vector in enumerate(vectors) if isinstance(vector, str)}
    found = [([], []) if isinstance(vector, str) else vector for vector in vectors]
    indptr = np.zeros(len(found) + 1, np.int64)
    np.cumsum([len(terms) for terms, _ in found], out=indptr[1:])
    return RawRows(
        source,
        lines,
        values,
        indptr,
        np.array([term for terms, _ in found for term in terms], np.int64),
        np.array([weight for _, weights in found for weight in weights], np.float64),
        problems,
        raws,
    )


#: What a reader of vectors gives, piece after piece; Broken ends a file that cannot be read on.
Piece = RawRows | tuple[int, Broken]
