from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lsr.errors import DataError
from lsr.tokens import TextTokenizer
from lsr.train.idf import count_frequencies


def test_idf_is_counted_in_one_pass_over_a_stream(masked: Path) -> None:
    tokenizer = TextTokenizer(masked, length=16)
    texts = ["cats purr", "cats cats sleep", "", "dogs bark", "[CLS] [SEP]"]
    read: list[str] = []

    def stream() -> Iterator[str]:
        for text in texts:
            read.append(text)
            yield text

    found = count_frequencies(stream(), tokenizer, tokenizer.size + 2)
    assert read == texts
    assert found.n_documents == 3  # those with a term
    idf = found.idf()
    cats, dogs = (tokenizer.vocabulary[word] for word in ("cats", "dogs"))
    assert idf[cats] == pytest.approx(math.log(1 + (3 - 2 + 0.5) / 2.5))
    assert idf[dogs] == pytest.approx(math.log(1 + (3 - 1 + 0.5) / 1.5))
    assert idf.shape == (tokenizer.size + 2,) and bool(np.isfinite(idf).all()) and idf.min() > 0
    assert int(found.df[sorted(tokenizer.special_ids)].sum()) == 0


def test_a_corpus_without_terms_is_told(masked: Path) -> None:
    tokenizer = TextTokenizer(masked, length=16)
    with pytest.raises(DataError, match="no document has a term"):
        count_frequencies(["", " "], tokenizer, tokenizer.size)
