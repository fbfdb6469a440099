"""Added terms: what an expansion (docT5query, TILDE) says of a document beside its text.

A record has them in its field `added_terms`. An encoder gets one string, with a mark between the
text and them; those that weigh them (expMLP: DeepImpact, TILDEv2) read on behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lsr.tokens import ADDED_MARK, Ids, TextTokenizer
from lsr.types import Document

#: The field of a record that holds them: a text, or a list of texts.
FIELD = "added_terms"


def with_added(text: str, added: Any) -> str:
    """Return a text with its added terms behind the mark; the text where there are none.

    >>> split_added(with_added("a cat", ["purr", "pet"]))
    ('a cat', 'purr pet')
    """
    terms = added if isinstance(added, str) else " ".join(added if _is_texts(added) else ())
    return f"{text}{ADDED_MARK}{terms.strip()}" if terms.strip() else text


def encoder_text(document: Document) -> str:
    """Return what encoders are given: title, text, and the terms that were added.

    >>> encoder_text(Document("1", text="a cat", fields={"added_terms": "pet"})) == "a cat"
    False
    """
    return with_added(document.full_text(), document.fields.get(FIELD))


def split_added(text: str) -> tuple[str, str]:
    """Return a text and its added terms."""
    plain, _, added = text.partition(ADDED_MARK)
    return plain, added


class AddedTermsTokenizer(TextTokenizer):
    """Puts a text's added terms behind its own tokens: each once, and none that it has already.

    They take what the text leaves of `length`, and at least half of it when they are many; the
    text is cut to the rest, its last token kept where that is a special one.
    """

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        """Return the ids of each text (int32), its added terms behind it."""
        rows = super().encode(texts)
        for at, text in enumerate(texts):
            if added := split_added(text)[1]:
                rows[at] = self._joined(rows[at], self._terms(added))
        return rows

    def _joined(self, own: Ids, terms: Ids) -> Ids:
        terms = terms[~np.isin(terms, own)]
        terms = terms[: max(self.length // 2, self.length - len(own))]
        keep = min(len(own), self.length - len(terms))
        if keep < len(own) and self.ends_with_special(own):
            own = np.append(own[: keep - 1], own[-1:])
        return np.concatenate([own[:keep], terms]).astype(np.int32)

    def _terms(self, added: str) -> Ids:
        """Return the terms of a text in the order they are first met, special ones left out."""
        found = self.encode_whole(added)
        found = found[~np.isin(found, list(self.special_ids))]
        return found[np.sort(np.unique(found, return_index=True)[1])]


def document_tokenizer(
    kind: str, folder: Path, *, length: int, special: bool = True
) -> TextTokenizer:
    """Return the tokenizer of a side: of an expMLP side the one that reads added terms."""
    make = AddedTermsTokenizer if kind == "expmlp" else TextTokenizer
    return make(folder, length=length, special=special)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)
