"""Texts to term ids, with the tokenizer that a model folder carries."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.errors import DataError, ModelError

#: The term ids of one text.
Ids = npt.NDArray[np.int32]

#: A model without a limit of its own says "very large"; more than this is never tokenized.
NO_LIMIT = 1 << 20

#: Ends a text to which terms were added (`lsr.added_terms`); a code point that is no character and
#: stands in no text (Unicode 23.7, for internal use).
ADDED_MARK = "\ufdd0"

#: Of a long text, this many characters for each token that fits are looked at first.
_CHARACTERS = 6

#: Where `tokenizers` looks whether it may start threads.
_PARALLEL = "TOKENIZERS_PARALLELISM"


class TextTokenizer:
    """A `tokenizers` pipeline that truncates as the model wants and never pads.

    `special` says whether [CLS] and [SEP] (or what the model uses) are added. `length` is the
    longest output in tokens, special ones included.
    """

    def __init__(
        self, folder: Path, *, length: int, special: bool = True, lower_case: bool = False
    ) -> None:
        self.length = length
        self.special = special
        self._tokenizer = _load(folder)
        if lower_case:
            _lower_case(self._tokenizer)
        self._tokenizer.no_padding()
        side = read_json(folder / "tokenizer_config.json", missing={}).get("truncation_side")
        self._right = side != "left"
        self._tokenizer.enable_truncation(
            length, strategy="longest_first", direction="right" if self._right else "left"
        )
        self._counter: Any = None
        self._cuts_at_blanks = self._right and _is_word_local(self._tokenizer)

    @property
    def size(self) -> int:
        """One more than the largest id the tokenizer can produce."""
        ids = self._tokenizer.get_vocab(with_added_tokens=True).values()
        return 1 + max(ids, default=-1)

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """The ids of special tokens ([CLS], [PAD], [UNK] and the like), which are no terms."""
        added = self._tokenizer.get_added_tokens_decoder()
        return frozenset(term for term, token in added.items() if token.special)

    @cached_property
    def vocabulary(self) -> Mapping[str, int]:
        """Every token and its id."""
        vocabulary: dict[str, int] = self._tokenizer.get_vocab(with_added_tokens=True)
        return vocabulary

    @cached_property
    def _tokens(self) -> list[str]:
        tokens = [""] * self.size
        for token, term in self.vocabulary.items():
            tokens[term] = token
        return tokens

    def token(self, term: int) -> str:
        """Return the token of an id, `#id` where the tokenizer has none."""
        known = 0 <= term < len(self._tokens) and self._tokens[term]
        return known or f"#{term}"

    def whole_words(self) -> list[str]:
        """Return the word of each id, empty for parts of words, special tokens and gaps.

        A token is a word when its text alone is tokenized to just that token.
        """
        texts = [
            self._tokenizer.decode([term]).strip() if token else ""
            for term, token in enumerate(self._tokens)
        ]
        found = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        special = self.special_ids
        return [
            text if one.ids == [term] and term not in special else ""
            for term, (text, one) in enumerate(zip(texts, found, strict=True))
        ]

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        """Return the ids of each text (int32), truncated; the interpreter lock is free meanwhile.

        Of a long text only a prefix is read, when that cannot change the outcome. What stands
        behind `ADDED_MARK` is not read.
        """
        texts = [text.partition(ADDED_MARK)[0] for text in texts]
        cuts = [self._prefix(text, _CHARACTERS * self.length) for text in texts]
        rows = self._batch([text[:cut] for text, cut in zip(texts, cuts, strict=True)])
        for at, text in enumerate(texts):
            while cuts[at] < len(text) and len(rows[at]) < self.length:
                cuts[at] = self._prefix(text, 4 * cuts[at])
                rows[at] = self._batch([text[: cuts[at]]])[0]
        return rows

    def _batch(self, texts: list[str]) -> list[Ids]:
        batch = self._tokenizer.encode_batch_fast(texts, add_special_tokens=self.special)
        return [np.array(encoding.ids, np.int32) for encoding in batch]

    def _prefix(self, text: str, characters: int) -> int:
        # A pipeline that splits at blanks before it looks for tokens gives a prefix that ends at
        # a blank the tokens with which the whole text begins. A prefix that fills the length is
        # therefore as good as the whole; `encode` lengthens those that do not.
        if not self._cuts_at_blanks or len(text) <= 2 * characters:
            return len(text)
        end = text.find(" ", characters)
        return end if end >= 0 else len(text)

    def ends_with_special(self, ids: Ids) -> bool:
        """Return whether the last id is that of a special token, such as [SEP]."""
        special = self._tokenizer.get_added_tokens_decoder()
        return len(ids) > 0 and int(ids[-1]) in special and bool(special[int(ids[-1])].special)

    def count(self, text: str) -> int:
        """Return how many tokens a text has, without special tokens and without truncation."""
        return len(self.encode_whole(text))

    def encode_whole(self, text: str) -> Ids:
        """Return the ids of a text (int32), without special tokens and without truncation."""
        if self._counter is None:
            from tokenizers import Tokenizer

            self._counter = Tokenizer.from_str(self._tokenizer.to_str())
            self._counter.no_truncation()
        return np.array(self._counter.encode(text, add_special_tokens=False).ids, np.int32)


def check_texts(texts: Sequence[str]) -> list[str]:
    """Return the texts as a list; DataError names the first that is not text UTF-8 can hold.

    >>> check_texts(("a", "b"))
    ['a', 'b']
    """
    if isinstance(texts, str):
        raise DataError("one string was given where a list of texts is expected")
    checked = list(texts)
    for number, text in enumerate(checked):
        if not isinstance(text, str):
            raise DataError(f"text {number} is {type(text).__name__}; a string is expected")
        if not text.isascii():
            try:
                text.encode("utf-8")
            except UnicodeEncodeError as error:
                raise DataError(
                    f"text {number} holds a lone surrogate at character {error.start}; "
                    "it is not valid Unicode"
                ) from error
    return checked


class _SerialTokenizers:
    """Counts who is inside, so that threads that overlap leave the environment as it was."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before: str | None = None

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._before = os.environ.get(_PARALLEL)
                if self._before != "false":  # setting it anew takes a tenth of encoding a query
                    os.environ[_PARALLEL] = "false"
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._before != "false":
                if self._before is None:
                    os.environ.pop(_PARALLEL, None)
                else:
                    os.environ[_PARALLEL] = self._before


#: Keeps `tokenizers` from starting threads of its own meanwhile; ours already fill the cores.
serial_tokenizers = _SerialTokenizers()


def read_json(path: Path, *, missing: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the JSON object in a file, `missing` when there is no file; ModelError if broken."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        if missing is not None:
            return missing
        raise ModelError(f"{path} is missing", hint="fetch the whole model again") from error
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path} cannot be read as JSON ({error})", hint="fetch the model again"
        ) from error
    if not isinstance(found, dict):
        raise ModelError(f"{path} holds a {type(found).__name__}; a JSON object is expected")
    return found


def _load(folder: Path) -> Any:
    from tokenizers import Tokenizer

    file = folder / "tokenizer.json"
    if file.is_file():
        try:
            return Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises bare Exception
            raise ModelError(
                f"{file} is not a tokenizer that this version reads ({error})",
                hint="fetch the model again, or update: pip install -U tokenizers",
            ) from error
    others = [name for kind in ("vocab.txt", "vocab.json", "*.model") for name in folder.glob(kind)]
    if not others:
        raise ModelError(f"{folder} has no tokenizer.json", hint="fetch the whole model again")
    return _convert(folder)


def _convert(folder: Path) -> Any:
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    try:
        slow = AutoTokenizer.from_pretrained(folder, local_files_only=True, use_fast=True)
        return Tokenizer.from_str(slow.backend_tokenizer.to_str())
    except (OSError, ValueError, AttributeError, ImportError) as error:
        raise ModelError(
            f"the tokenizer in {folder} cannot be loaded ({error})",
            hint="write tokenizer.json once with transformers: tokenizer.save_pretrained(folder)",
        ) from error


def _lower_case(tokenizer: Any) -> None:
    from tokenizers.normalizers import Lowercase, Sequence

    before = tokenizer.normalizer
    tokenizer.normalizer = Lowercase() if before is None else Sequence([Lowercase(), before])


def _is_word_local(tokenizer: Any) -> bool:
    settings = json.loads(tokenizer.to_str())
    kinds = [(settings.get(part) or {}).get("type") for part in ("normalizer", "pre_tokenizer")]
    blanks = any(
        any(character.isspace() for character in token["content"])
        or token.get("lstrip")
        or token.get("rstrip")
        for token in settings.get("added_tokens", [])
    )
    return kinds == ["BertNormalizer", "BertPreTokenizer"] and not blanks
