"""SparseVectors: the one shape in which vectors travel through lsr."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from math import isfinite
from operator import lt
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lsr.errors import DataError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Indptr = npt.NDArray[np.int64]
Terms = npt.NDArray[np.uint32]
Weights = npt.NDArray[np.float32]

_WEIGHT = np.dtype(np.float32)
#: Batches of so many terms, or rows, are checked in plain Python first, which is quicker.
_FEW = 256


class SparseVector(NamedTuple):
    """One row: `terms` uint32 ascending, `weights` float32 > 0, both of shape (nnz,)."""

    terms: Terms
    weights: Weights


class SparseVectors:
    """An immutable batch of sparse vectors in CSR form, checked once and trusted after.

    `indptr` int64 (n+1,), `terms` uint32 (nnz,) strictly ascending in each row, `weights`
    float32 (nnz,) finite and > 0; every term is below `vocab_size`. Make one with
    `from_arrays`, `from_dicts`, `from_scipy` or `concat`; there is no unchecked way in.

    >>> vectors = SparseVectors.from_dicts([{3: 1.5, 1: 0.5}, {}], vocab_size=10)
    >>> len(vectors), vectors[0].terms.tolist(), vectors[0].weights.tolist()
    (2, [1, 3], [0.5, 1.5])
    """

    __slots__ = ("indptr", "terms", "vocab_size", "weights")

    indptr: Indptr
    terms: Terms
    weights: Weights
    vocab_size: int

    def __init__(
        self, indptr: Indptr, terms: Terms, weights: Weights, vocab_size: int, *, _checked: bool
    ) -> None:
        if not _checked:
            raise TypeError("make SparseVectors with from_arrays, from_dicts or from_scipy")
        for array in (indptr, terms, weights):
            array.flags.writeable = False
        object.__setattr__(self, "indptr", indptr)
        object.__setattr__(self, "terms", terms)
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "vocab_size", vocab_size)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"SparseVectors is immutable; {name} cannot be set")

    @classmethod
    def from_arrays(
        cls,
        indptr: npt.ArrayLike,
        terms: npt.ArrayLike,
        weights: npt.ArrayLike,
        *,
        vocab_size: int,
        sort: bool = False,
    ) -> SparseVectors:
        """Return the CSR triple as SparseVectors, every entry checked; the arrays are copied.

        Terms must ascend strictly in each row unless `sort` is true, which sorts them first.
        Raises DataError that names the row and the term at fault.
        """
        size = _vocab_size(vocab_size)
        starts = _integers(indptr, "indptr").astype(np.int64)
        wide = _integers(terms, "terms")
        values = np.atleast_1d(np.asarray(weights))
        if values.dtype is not _WEIGHT:
            values = values.astype(np.float64)
        if not sort and _few_are_sound(starts, wide, values, size):
            return cls(starts, wide.astype(np.uint32), values.copy(), size, _checked=True)
        _check_indptr(starts, wide.shape, values.shape)
        if sort and wide.size:
            rows = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
            order = np.lexsort((wide, rows))
            wide, values = wide[order], values[order]
        _check_terms(starts, wide, size)
        with np.errstate(over="ignore"):
            narrow = values.astype(np.float32)
        _check_weights(starts, wide, values, narrow)
        return cls(starts, wide.astype(np.uint32), narrow, size, _checked=True)

    @classmethod
    def from_dicts(cls, rows: Iterable[Mapping[int, float]], *, vocab_size: int) -> SparseVectors:
        """Return one vector for each mapping of term to weight; terms may come in any order."""
        indptr, terms, weights = [0], [], []
        for number, row in enumerate(rows):
            for term, weight in row.items():
                if isinstance(term, bool) or not isinstance(term, int | np.integer):
                    raise DataError(f"row {number}: term {term!r} is not an integer id")
                if isinstance(weight, bool) or not isinstance(weight, int | float | np.number):
                    raise DataError(f"row {number}, term {term}: weight {weight!r} is not a number")
                terms.append(int(term))
                weights.append(float(weight))
            indptr.append(len(terms))
        return cls.from_arrays(
            np.array(indptr, np.int64),
            _int64_list(terms),
            np.array(weights, np.float64),
            vocab_size=vocab_size,
            sort=True,
        )

    @classmethod
    def from_scipy(cls, matrix: Any) -> SparseVectors:
        """Return the rows of a scipy sparse matrix (documents x vocabulary).

        Explicitly stored zeros are dropped and duplicate entries summed, as scipy means them.
        """
        csr = matrix.tocsr(copy=True)
        csr.sum_duplicates()
        csr.eliminate_zeros()
        return cls.from_arrays(
            csr.indptr, csr.indices, csr.data, vocab_size=int(csr.shape[1]), sort=True
        )

    @classmethod
    def empty(cls, vocab_size: int) -> SparseVectors:
        """Return a batch of no vectors."""
        return cls.from_arrays([0], np.empty(0, np.int64), [], vocab_size=vocab_size)

    @classmethod
    def concat(cls, parts: Sequence[SparseVectors]) -> SparseVectors:
        """Return the rows of all parts, in order; the parts must share one vocabulary size."""
        if not parts:
            raise DataError("there is nothing to concatenate; give at least one SparseVectors")
        sizes = {part.vocab_size for part in parts}
        if len(sizes) > 1:
            raise DataError(f"the parts have different vocabulary sizes: {sorted(sizes)}")
        lengths = np.concatenate([np.diff(part.indptr) for part in parts])
        indptr = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths, out=indptr[1:])
        terms = np.concatenate([part.terms for part in parts])
        weights = np.concatenate([part.weights for part in parts])
        return cls(indptr, terms, weights, parts[0].vocab_size, _checked=True)

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @property
    def nnz(self) -> int:
        """The number of stored weights in all rows together."""
        return int(self.indptr[-1])

    def __getitem__(self, row: int) -> SparseVector:
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        row %= len(self)
        span = slice(self.indptr[row], self.indptr[row + 1])
        return SparseVector(self.terms[span], self.weights[span])

    def __iter__(self) -> Iterator[SparseVector]:
        return (self[row] for row in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SparseVectors):
            return NotImplemented
        return (
            self.vocab_size == other.vocab_size
            and np.array_equal(self.indptr, other.indptr)
            and np.array_equal(self.terms, other.terms)
            and np.array_equal(self.weights, other.weights)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"SparseVectors({len(self)} x {self.vocab_size}, nnz {self.nnz})"

    def slice(self, start: int, stop: int) -> SparseVectors:
        """Return rows `start` to `stop` (exclusive) without copying terms or weights.

        >>> SparseVectors.from_dicts([{0: 1.0}, {1: 2.0}], vocab_size=2).slice(1, 2).to_dicts()
        [{1: 2.0}]
        """
        start, stop, _ = slice(start, stop).indices(len(self))
        stop = max(start, stop)
        lo, hi = int(self.indptr[start]), int(self.indptr[stop])
        indptr = self.indptr[start : stop + 1] - lo
        return SparseVectors(
            indptr, self.terms[lo:hi], self.weights[lo:hi], self.vocab_size, _checked=True
        )

    def take(self, rows: npt.ArrayLike) -> SparseVectors:
        """Return the given rows, in the given order; a row may be taken more than once."""
        picked = np.atleast_1d(np.asarray(rows, dtype=np.int64))
        if picked.size and not (picked.min() >= 0 and picked.max() < len(self)):
            raise IndexError(f"rows must be in 0..{len(self) - 1}")
        lengths = np.diff(self.indptr)[picked]
        indptr = np.zeros(len(picked) + 1, np.int64)
        np.cumsum(lengths, out=indptr[1:])
        flat = np.repeat(self.indptr[:-1][picked] - indptr[:-1], lengths)
        flat += np.arange(indptr[-1])
        return SparseVectors(
            indptr, self.terms[flat], self.weights[flat], self.vocab_size, _checked=True
        )

    def to_dicts(self) -> list[dict[int, float]]:
        """Return one `{term: weight}` for each row, terms ascending."""
        return [dict(zip(row.terms.tolist(), row.weights.tolist(), strict=True)) for row in self]

    def to_scipy(self) -> csr_array:
        """Return a scipy CSR array of shape (n, vocab_size), float32."""
        from scipy.sparse import csr_array

        return csr_array(
            (self.weights, self.terms.astype(np.int64), self.indptr),
            shape=(len(self), self.vocab_size),
        )


def _vocab_size(size: int) -> int:
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or not 0 < size < 2**32:
        raise DataError(f"vocab_size is {size!r}; it must be an integer from 1 to 4294967295")
    return int(size)


def _int64_list(terms: list[int]) -> npt.NDArray[np.int64]:
    try:
        return np.array(terms, np.int64)
    except OverflowError as error:
        raise DataError(f"a term id does not fit 64 bits: {max(terms, key=abs)}") from error


def _integers(array: npt.ArrayLike, name: str) -> npt.NDArray[Any]:
    found = np.atleast_1d(np.asarray(array))
    if found.size == 0:
        return np.empty(0, np.int64)
    if found.dtype.kind not in "iu":
        raise DataError(f"{name} has dtype {found.dtype}; integers are expected")
    return found


def _check_indptr(indptr: Indptr, n_terms: tuple[int, ...], n_weights: tuple[int, ...]) -> None:
    if indptr.ndim != 1 or len(n_terms) != 1 or len(n_weights) != 1:
        raise DataError("indptr, terms and weights must each have one dimension")
    if n_terms != n_weights:
        raise DataError(f"there are {n_terms[0]} terms but {n_weights[0]} weights")
    if len(indptr) == 0 or indptr[0] != 0 or indptr[-1] != n_terms[0]:
        raise DataError(f"indptr must start at 0 and end at the number of terms, {n_terms[0]}")
    if (np.diff(indptr) < 0).any():
        row = int(np.argmax(np.diff(indptr) < 0))
        raise DataError(f"row {row}: indptr falls from {indptr[row]} to {indptr[row + 1]}")


def _few_are_sound(
    indptr: Indptr, terms: npt.NDArray[Any], weights: npt.NDArray[Any], vocab_size: int
) -> bool:
    """Return whether a few float32 entries pass every check; false says nothing.

    In plain Python: the two dozen calls of numpy below take 60 us for the vector of one query.
    """
    if weights.dtype is not _WEIGHT or indptr.ndim != 1 or terms.ndim != 1 or weights.ndim != 1:
        return False
    if terms.size > _FEW or len(indptr) > _FEW or not len(indptr):
        return False
    starts, numbers, values = indptr.tolist(), terms.tolist(), weights.tolist()
    if starts[0] != 0 or starts[-1] != len(numbers) or len(numbers) != len(values):
        return False
    for start, stop in pairwise(starts):
        row = numbers[start:stop]
        if stop < start or not all(map(lt, row, row[1:])):
            return False
    if not numbers:
        return True
    return (
        min(numbers) >= 0
        and max(numbers) < vocab_size
        and min(values) > 0
        and isfinite(sum(values))
    )


def _row_of(indptr: Indptr, position: int) -> int:
    return int(np.searchsorted(indptr, position, side="right")) - 1


def _check_terms(indptr: Indptr, terms: npt.NDArray[Any], vocab_size: int) -> None:
    if not terms.size:
        return
    outside = (terms < 0) | (terms >= vocab_size)
    if outside.any():
        at = int(np.argmax(outside))
        raise DataError(
            f"row {_row_of(indptr, at)}: term {terms[at]} is outside the vocabulary of {vocab_size}"
        )
    rising = terms[1:] > terms[:-1]
    starts = indptr[1:-1]
    rising[starts[(starts > 0) & (starts < terms.size)] - 1] = True
    if not rising.all():
        at = int(np.argmin(rising)) + 1
        what = "comes twice" if terms[at] == terms[at - 1] else f"comes after term {terms[at - 1]}"
        raise DataError(
            f"row {_row_of(indptr, at)}: term {terms[at]} {what}; terms must ascend strictly"
        )


def _check_weights(
    indptr: Indptr,
    terms: npt.NDArray[Any],
    values: npt.NDArray[np.float64],
    narrow: Weights,
) -> None:
    bad = ~(np.isfinite(narrow) & (narrow > 0))
    if bad.any():
        at = int(np.argmax(bad))
        raise DataError(
            f"row {_row_of(indptr, at)}, term {terms[at]}: weight {values[at]} is not a finite "
            "number above 0 in float32"
        )
