"""The frequency residual: terms of a document are lifted by how often they stand in it."""

from __future__ import annotations

from typing import Any

import numpy as np

from lsr.head import Array, Row
from lsr.tokens import Ids

#: BM25's saturation and its share of length normalisation, for a document of `_USUAL` tokens.
_K1 = 0.9
_B = 0.75
_USUAL = 100.0


def saturation(counts: Any, length: Any) -> Any:
    """Return tf / (tf + k1 (1 - b + b length / 100)): BM25's, beside a usual length that is fixed.

    `counts` are how often terms stand in a text, `length` its number of tokens, special ones left
    out; numpy's arrays or torch's tensors that broadcast. With the usual length of the collection
    itself a document's vector would depend on the others.

    >>> saturation(np.array([0.0, 1.0, 10.0]), np.array(100.0)).round(2).tolist()
    [0.0, 0.53, 0.92]
    """
    return counts / (counts + _K1 * (1 - _B + _B / _USUAL * length))


def add_frequency(row: Row, ids: Ids, lift: Array, special: Ids) -> Row:
    """Return the row with `lift` (vocabulary,) times the saturation of each term of the text.

    Terms without a lift are not added; `ids` may have tokens of `special`, which have no weight.

    >>> row = Row(np.array([1, 3]), np.array([0.5, 1.0], np.float32))
    >>> lift = np.ones(5, np.float32)
    >>> found = add_frequency(row, np.array([0, 2, 3], np.int32), lift, np.array([0], np.int32))
    >>> found.terms.tolist(), found.weights.astype(float).round(2).tolist()
    ([1, 2, 3], [0.5, 0.81, 1.81])
    """
    own = ids[~np.isin(ids, special)]
    terms, counts = np.unique(own, return_counts=True)
    added: Array = lift[terms] * saturation(counts.astype(np.float32), np.float32(len(own)))
    terms, added = terms[added > 0].astype(np.int64), added[added > 0]
    union = np.union1d(row.terms, terms)
    weights = np.zeros(len(union), np.float32)
    weights[np.searchsorted(union, row.terms)] = row.weights
    weights[np.searchsorted(union, terms)] += added
    return Row(union, weights)
