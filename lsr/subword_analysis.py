"""Analysis by a tokenizer of Hugging Face's kind: its subwords are the terms."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from xxhash import xxh3_64_hexdigest

from lsr.analysis import Numbered, Numbering
from lsr.errors import ConfigError

_FILE = "tokenizer.json"


class SubwordAnalyzer:
    """The tokens of a tokenizer.json, without special ones, for documents and queries alike.

    Its normalisation is the tokenizer's own; nothing is stopped or stemmed. The token for what it
    does not know is no term, since it would make unlike texts alike.
    """

    def __init__(
        self, name: str, tokenizer: Any, fingerprint: str, unknown: str | None = None
    ) -> None:
        self.name = f"hf:{name}"
        self._tokenizer = tokenizer
        self._fingerprint = fingerprint
        self._unknown = unknown

    @classmethod
    def open(cls, name: str, fingerprint: str | None = None) -> SubwordAnalyzer:
        """Return the analyzer of a tokenizer.json, a folder that has one, or a model by name.

        With `fingerprint`, ConfigError if it is not the tokenizer of then.
        """
        from tokenizers import Tokenizer

        path = _file(name)
        # What is found from here would not be from another folder.
        name = str(Path(name).resolve()) if Path(name).exists() else name
        data = path.read_bytes()
        found = xxh3_64_hexdigest(data)
        if fingerprint not in (None, found):
            raise ConfigError(
                f"{path} is not the tokenizer that the index was made with: its checksum is "
                f"{found}, not {fingerprint}",
                hint="restore the file, or make the leg anew: lsr legs DIR --remove bm25",
            )
        tokenizer = Tokenizer.from_buffer(data)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return cls(name, tokenizer, found, _unknown(json.loads(data)["model"]))

    def to_json(self) -> dict[str, Any]:
        """Return name and checksum of the tokenizer."""
        return {"name": self.name, "fingerprint": self._fingerprint}

    def numbering(self) -> Numbering:
        """Return an empty numbering."""
        return Numbering(lambda token: "" if token == self._unknown else token)

    def number(self, texts: Sequence[str], numbering: Numbering) -> Numbered:
        """Return the tokens of texts, by number."""
        found = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        look_up = numbering.words.__getitem__
        numbers: list[int] = []
        bounds = [0]
        for one in found:
            numbers.extend(map(look_up, one.tokens))
            bounds.append(len(numbers))
        ids, ends = np.array(numbers, np.int32), np.array(bounds, np.int64)
        kept = ids >= 0
        return Numbered(ids[kept], np.concatenate([[0], np.cumsum(kept)])[ends])

    def document_terms(self, text: str) -> list[str]:
        """Return the tokens of a text."""
        tokens: list[str] = self._tokenizer.encode(text, add_special_tokens=False).tokens
        return [token for token in tokens if token != self._unknown]

    def query_terms(self, text: str) -> list[str]:
        """Return the tokens of a query."""
        return self.document_terms(text)


def _unknown(model: dict[str, Any]) -> str | None:
    """Return the token for what is not in the vocabulary of a tokenizer's model."""
    if model.get("unk_id") is not None:
        token: str = model["vocab"][model["unk_id"]][0]
        return token
    return model.get("unk_token")


def _file(name: str) -> Path:
    path = Path(name)
    if path.is_file():
        return path
    if not path.is_dir():
        from lsr.model_files import find_model

        path = find_model(name)
    if not (path / _FILE).is_file():
        raise ConfigError(f"{path} has no {_FILE}", hint="name the file itself: hf:PATH")
    return path / _FILE
