"""Expansion: the terms that an encoder gives a document beside those of its text."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from lsr.encoder import ModelEncoder


class Expander:
    """Adds to texts the heaviest terms of their vectors, as TILDE does for TILDEv2.

    Only whole words are added: no parts of words, no signs, none of `leave_out`, and none that
    the text has. (arXiv:2108.08513, 4.2)

    >>> from lsr.encoder import load_encoder
    >>> Expander(load_encoder()).added(["where cats sleep"], most=2)
    [['cat', 'sleeping']]
    """

    def __init__(self, encoder: ModelEncoder, *, leave_out: Collection[str] = ()) -> None:
        self._encoder = encoder
        self._tokenizer = encoder.document_tokenizer
        self._words = self._tokenizer.whole_words()
        left_out = set(leave_out)
        self._is_added = np.array([
            any(map(str.isalnum, word)) and word not in left_out for word in self._words
        ])  # fmt: skip

    def added(
        self, texts: Sequence[str], *, most: int, threads: int | None = None
    ) -> list[list[str]]:
        """Return at most `most` words for each text, heaviest first; ties by term."""
        vectors = self._encoder.encode_documents(texts, threads=threads)
        own = self._tokenizer.encode(texts)
        return [
            self._heaviest(*row, ids, most)
            for row, ids in zip((vectors[at] for at in range(len(texts))), own, strict=True)
        ]

    def _heaviest(
        self,
        terms: npt.NDArray[np.integer],
        weights: npt.NDArray[np.floating],
        own: npt.NDArray[np.integer],
        most: int,
    ) -> list[str]:
        keep = self._is_added[terms] & ~np.isin(terms, own)
        terms, weights = terms[keep], weights[keep]
        order = np.lexsort((terms, -weights))[:most]
        return [self._words[int(term)] for term in terms[order]]
