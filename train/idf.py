"""Inverse document frequencies of a corpus, counted in one pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lsr.errors import DataError
from lsr.tokens import TextTokenizer

#: Texts that are tokenized at a time.
_BATCH = 1024


class Frequencies(NamedTuple):
    """`df` int64 (vocabulary,): documents with the term; `n_documents`: those with any term."""

    df: npt.NDArray[np.int64]
    n_documents: int

    def idf(self) -> npt.NDArray[np.float32]:
        """Return ln(1 + (N - df + 0.5) / (df + 0.5)) of every term, as BM25 has it in Lucene.

        Always above zero; of a term in no document it is the largest. (arXiv:2411.04403, 1.2 of
        the trainer that belongs to it.)

        >>> Frequencies(np.array([1, 0]), 1).idf().astype(float).round(4).tolist()
        [0.2877, 1.3863]
        """
        return np.log1p((self.n_documents - self.df + 0.5) / (self.df + 0.5)).astype(np.float32)


def count_frequencies(
    texts: Iterable[str], tokenizer: TextTokenizer, n_vocabulary: int
) -> Frequencies:
    """Return in how many texts each term stands; texts are read once and none is kept.

    `tokenizer` cuts texts where the model will; special tokens are no terms. Raises DataError
    when no text has a term, since then there is nothing to count.
    """
    df = np.zeros(n_vocabulary, np.int64)
    special = np.array(sorted(tokenizer.special_ids), np.int64)
    n_documents = 0
    for batch in _batches(texts):
        for ids in tokenizer.encode(batch):
            terms = np.setdiff1d(ids, special)
            df[terms] += 1
            n_documents += bool(len(terms))
    if n_documents == 0:
        raise DataError("no document has a term, so there are no document frequencies")
    return Frequencies(df, n_documents)


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(texts)
    while batch := list(islice(rest, _BATCH)):
        yield batch
