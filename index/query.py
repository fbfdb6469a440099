"""Queries: text, tokens, term ids or vectors, all as one sparse vector."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from operator import lt

import numpy as np

from lsr.encoder import Encoder
from lsr.errors import ConfigError, DataError
from lsr.sparse import SparseVector, SparseVectors

from .search import loaded_kernels

#: A query: text, `{token or term id: weight}`, or a vector made elsewhere.
Query = str | Mapping[str, float] | Mapping[int, float] | SparseVector

_TERM, _WEIGHT = np.dtype(np.uint32), np.dtype(np.float32)

#: Terms of a query may lie outside an index's vocabulary; search leaves them out.
_ANY_VOCABULARY = 2**32 - 1


def to_vectors(
    queries: Sequence[Query], encoder: Callable[[], Encoder], *, threads: int | None = None
) -> list[SparseVector]:
    """Return the sparse vector of each query, in order; texts are encoded together.

    A blank text has no terms, whatever an encoder makes of its special tokens. `encoder` is
    called only when a text or a token has to be read. Raises DataError for a token
    outside the vocabulary and for weights that are not finite and above 0.
    """
    texts = [query for query in queries if isinstance(query, str) and query.strip()]
    encoded = iter(encoder().encode_queries(texts, threads=threads) if texts else ())

    def one(query: Query) -> SparseVector:
        if not isinstance(query, str):
            return _to_vector(query, encoder)
        return next(encoded) if query.strip() else _to_vector({}, encoder)

    return [one(query) for query in queries]


def _to_vector(
    query: Mapping[str, float] | Mapping[int, float] | SparseVector, encoder: Callable[[], Encoder]
) -> SparseVector:
    if isinstance(query, SparseVector):
        if is_sound(query):
            return query
        return SparseVectors.from_arrays(
            [0, len(query.terms)], query.terms, query.weights, vocab_size=_ANY_VOCABULARY
        )[0]
    if not isinstance(query, Mapping):
        raise ConfigError(
            f"a query is a text, a mapping or a SparseVector, not {type(query).__name__}"
        )
    row: dict[int, float] = {}
    for key, weight in query.items():
        row[_term(key, encoder) if isinstance(key, str) else key] = weight
    return SparseVectors.from_dicts([row], vocab_size=_ANY_VOCABULARY)[0]


def is_sound(query: SparseVector) -> bool:
    """Return whether a vector needs no further look."""
    terms, weights = query
    if type(terms) is not np.ndarray or type(weights) is not np.ndarray:
        return False
    # numpy keeps one object for each of its types: the same one is there nearly always.
    if terms.dtype is not _TERM or weights.dtype is not _WEIGHT or terms.ndim != 1:
        return False
    if terms.shape != weights.shape or not terms.size:
        return False
    kernels = loaded_kernels()
    if kernels is not None and terms.flags.c_contiguous and weights.flags.c_contiguous:
        return bool(kernels.is_sound(terms, weights))
    # Plain Python is quicker here than numpy.
    numbers, values = terms.tolist(), weights.tolist()
    ascending = all(map(lt, numbers, numbers[1:]))
    return ascending and min(values) > 0 and isfinite(sum(values))


def _term(token: str, encoder: Callable[[], Encoder]) -> int:
    term = encoder().vocabulary.get(token)
    if term is None:
        raise DataError(f"the query's token {token!r} is not in the vocabulary")
    return term
