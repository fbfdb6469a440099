"""Vocabularies from files: which term each token of somebody else's vectors stands for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lsr.errors import ConfigError, DataError

_KINDS = "a token on each line, an object of token to term id, or a tokenizer.json"


def read_vocabulary(path: str | Path) -> dict[str, int]:
    """Return token to term id, from a list of tokens or from a tokenizer's JSON.

    A text file has a token on each line, the first of them term 0, as BERT's vocab.txt; a .json
    file holds an object of token to id, or is a tokenizer.json. Raises DataError for a file of
    another shape, and for a token or an id that comes twice.

    >>> _ = Path("vocab.txt").write_text("[PAD]\\ncat\\n##s\\n")
    >>> read_vocabulary("vocab.txt")
    {'[PAD]': 0, 'cat': 1, '##s': 2}
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: byte {error.start} is not UTF-8; {_KINDS} is expected") from error
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    if file.suffix == ".json":
        return _from_json(file, text)
    # str.splitlines would also break at characters that some vocabularies hold as tokens.
    tokens = [line.removesuffix("\r") for line in text.split("\n")]
    if tokens[-1] == "":
        tokens.pop()
    found: dict[str, int] = {}
    for number, token in enumerate(tokens):
        if token in found:
            first = found[token] + 1
            raise DataError(f"{file}:{number + 1}: token {token!a} is on line {first} already")
        found[token] = number
    if not found:
        raise DataError(f"{file}: the file is empty; {_KINDS} is expected")
    return found


def _from_json(file: Path, text: str) -> dict[str, int]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: not JSON ({error}); {_KINDS} is expected") from error
    found = _entries(content)
    if not found:
        raise DataError(f"{file}: there is no vocabulary in it; {_KINDS} is expected")
    tokens: dict[int, str] = {}
    for token, term in found.items():
        if isinstance(term, bool) or not isinstance(term, int) or not 0 <= term < 2**32 - 1:
            raise DataError(f"{file}: the id of token {token!a} is {term!r}, not a term id")
        if term in tokens:
            raise DataError(f"{file}: tokens {tokens[term]!a} and {token!a} both have id {term}")
        tokens[term] = token
    return dict(found)


def _entries(content: Any) -> Mapping[str, Any]:
    """Return the entries of a JSON vocabulary; empty when it is of no known shape."""
    if not isinstance(content, dict):
        return {}
    model = content.get("model")
    if not isinstance(model, dict):
        return content
    entries = model.get("vocab")
    if isinstance(entries, list):  # unigram models: [token, score] in order of id
        entries = {entry[0]: at for at, entry in enumerate(entries) if isinstance(entry, list)}
    if not isinstance(entries, dict):
        return {}
    added = content.get("added_tokens")
    for one in added if isinstance(added, list) else ():
        if isinstance(one, dict) and "content" in one and "id" in one:
            entries[one["content"]] = one["id"]
    return entries
