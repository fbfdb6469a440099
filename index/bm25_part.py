"""Bm25Part: what BM25 keeps for a segment, as it lies on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.errors import IndexFormatError

from .ids import find_in_table, hash_ids
from .leg_files import PartFiles
from .manifest import CHECK_HINT
from .windows import Postings

#: The arrays of a part and their types.
#: `forward.*`: the terms of each document ascending, with their weighted counts. `lengths`: the
#: weighted number of terms of each document. `postings.*`: see `windows.Postings`. `terms.*`: the
#: vocabulary in the order of UTF-8 bytes, which numbers it, where each term ends, a hash table, and
#: in how many documents each is.
ARRAYS = {
    "forward.indptr": "<i8",
    "forward.terms": "<u4",
    "forward.counts": "<f4",
    "lengths": "<f4",
    "postings.windows": "<i8",
    "postings.lists": "<u4",
    "postings.records": "<u4",
    "postings.entries": "<u4",
    "terms.bytes": "<u1",
    "terms.ends": "<i8",
    "terms.hash": "<u8",
    "terms.number": "<u4",
    "terms.frequency": "<u4",
}


@dataclass(frozen=True, slots=True)
class PartFacts:
    """What a part knows of all its documents, deleted ones included.

    `total` is the sum of the lengths, `shortest` and `longest` their extremes, `least_count` the
    smallest count. The codes of the postings are weights for `k1`, `b` and `mean`.
    """

    n_documents: int
    n_terms: int
    total: float
    shortest: float
    longest: float
    least_count: float
    k1: float
    b: float
    mean: float

    def rest(self, length: float) -> float:
        """Return what a document's counts are divided by, beside themselves, in the postings."""
        return rest(self.k1, self.b, self.mean, length)


def rest(k1: float, b: float, mean: float, length: float) -> float:
    """Return k1 (1 - b + b length / mean), the denominator of BM25 without the count.

    >>> rest(0.9, 0.4, 10.0, 20.0)
    1.26
    """
    return k1 * (1 - b + b * length / mean) if mean > 0 else k1


class Bm25Part:
    """The counts and postings of a segment's documents, memory-mapped."""

    def __init__(self, files: PartFiles) -> None:
        try:
            self.facts = PartFacts(**files.facts)
        except TypeError as error:
            raise IndexFormatError(
                f"{files.folder} is not a part of a BM25 leg: {error}", hint=CHECK_HINT
            ) from error
        self.folder = files.folder
        self.bytes = files.bytes
        self.n_documents = self.facts.n_documents
        self.n_terms = self.facts.n_terms
        arrays = {name: files.array(name) for name in ARRAYS}
        self._check_shapes(arrays)
        self.indptr: npt.NDArray[np.int64] = arrays["forward.indptr"]
        self.terms: npt.NDArray[np.uint32] = arrays["forward.terms"]
        self.counts: npt.NDArray[np.float32] = arrays["forward.counts"]
        self.lengths: npt.NDArray[np.float32] = arrays["lengths"]
        self.postings = Postings(*(arrays[f"postings.{name}"] for name in Postings._fields))
        self.frequency: npt.NDArray[np.uint32] = arrays["terms.frequency"]
        self._bytes, self._ends = arrays["terms.bytes"], arrays["terms.ends"]
        self._hash, self._number = arrays["terms.hash"], arrays["terms.number"]

    def term(self, number: int) -> str:
        """Return a term by its number."""
        start = int(self._ends[number - 1]) if number else 0
        return self._bytes[start : int(self._ends[number])].tobytes().decode()

    def vocabulary(self) -> list[str]:
        """Return all terms, in order."""
        data = self._bytes.tobytes()
        ends = self._ends.tolist()
        return [data[start:end].decode() for start, end in pairwise([0, *ends])]

    def find(self, terms: Sequence[str]) -> npt.NDArray[np.int64]:
        """Return the number of each term, -1 for one that no document has."""

        def matches(
            wanted: npt.NDArray[np.int64], found: npt.NDArray[np.int64]
        ) -> npt.NDArray[np.bool_]:
            pairs = zip(wanted.tolist(), found.tolist(), strict=True)
            return np.array([terms[at] == self.term(number) for at, number in pairs], np.bool_)

        return find_in_table(self._hash, self._number, hash_ids(terms), matches)

    def frequencies(self, documents: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return for each term in how many of the given documents it is."""
        starts, stops = self.indptr[documents], self.indptr[documents + 1]
        lengths = stops - starts
        ends = np.cumsum(lengths)
        total = int(ends[-1]) if len(ends) else 0
        places = np.arange(total) - np.repeat(ends - lengths - starts, lengths)
        return np.bincount(self.terms[places], minlength=self.n_terms)

    def problems(self) -> list[str]:
        """Return what is wrong beyond checksums; everything is read."""
        wrong = []
        if (np.diff(self.indptr) < 0).any() or int(self.indptr[0]) != 0:
            wrong.append("the bounds of its documents do not ascend")
        elif int(self.terms.max(initial=0)) >= max(1, self.n_terms):
            wrong.append("a document has a term beyond the vocabulary")
        elif not np.array_equal(np.bincount(self.terms, minlength=self.n_terms), self.frequency):
            wrong.append("the frequencies of its terms are not those of its documents")
        if not (np.isfinite(self.counts).all() and (self.counts > 0).all()):
            wrong.append("a count is not a number above 0")
        return [f"{self.folder}: {one}" for one in wrong]

    def _check_shapes(self, arrays: dict[str, npt.NDArray[Any]]) -> None:
        n, v, nnz = self.n_documents, self.n_terms, len(arrays["forward.terms"])
        wanted = {
            "forward.indptr": n + 1,
            "forward.counts": nnz,
            "lengths": n,
            "postings.entries": nnz,
            "postings.lists": v * (len(arrays["postings.windows"]) - 1),
            "terms.ends": v,
            "terms.hash": v,
            "terms.number": v,
            "terms.frequency": v,
        }
        for name, array in arrays.items():
            if array.dtype != np.dtype(ARRAYS[name]) or len(array) != wanted.get(name, len(array)):
                raise IndexFormatError(
                    f"{self.folder} is damaged: {name} is {array.dtype} of length {len(array)}; "
                    f"expected {ARRAYS[name]} of length {wanted.get(name, len(array))}",
                    hint=CHECK_HINT,
                )
        if int(arrays["forward.indptr"][-1]) != nnz:
            raise IndexFormatError(
                f"{self.folder} is damaged: its documents end elsewhere than its terms",
                hint=CHECK_HINT,
            )
