"""Analysis: from text to the terms that BM25 counts."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from lsr.errors import ConfigError
from lsr.scripts import ASCII_WORD, INVISIBLE, patterns
from lsr.stop_words import stop_words

#: Longer words are cut: what is longer is no word but data.
LONGEST = 255

#: Words of queries that are remembered with their terms.
_MOST_WORDS = 1 << 16

#: ISO 639-1 codes of the languages that there is a stemmer for.
CODES = {
    "ar": "arabic", "ca": "catalan", "cs": "czech", "da": "danish", "de": "german", "el": "greek",
    "en": "english", "eo": "esperanto", "es": "spanish", "et": "estonian", "eu": "basque",
    "fa": "persian", "fi": "finnish", "fr": "french", "ga": "irish", "hi": "hindi",
    "hu": "hungarian", "hy": "armenian", "id": "indonesian", "it": "italian", "lt": "lithuanian",
    "ne": "nepali", "nl": "dutch", "no": "norwegian", "pl": "polish", "pt": "portuguese",
    "ro": "romanian", "ru": "russian", "sr": "serbian", "st": "sesotho", "sv": "swedish",
    "ta": "tamil", "tr": "turkish", "yi": "yiddish",
}  # fmt: skip
#: Names of the analyzer that neither stems nor stops; the languages are those it is meant for.
PLAIN = ("standard", "cjk", "zh", "ja", "ko", "th")

#: Articles and pronouns that lose their vowel before another: l'homme, dell'arte.
_ELISIONS = {
    *("l", "d", "c", "j", "m", "n", "s", "t", "qu", "jusqu", "lorsqu", "puisqu", "quoiqu"),
    *("all", "dall", "dell", "nell", "sull", "un"),
}
_WITH_ELISIONS = ("french", "italian", "catalan")


class Numbered(NamedTuple):
    """Terms of some texts by number: those of text i are `numbers[bounds[i]:bounds[i + 1]]`."""

    numbers: npt.NDArray[np.int32]
    bounds: npt.NDArray[np.int64]


class Numbering:
    """Terms, numbered as they come; also remembers what each word became."""

    def __init__(self, term_of: Callable[[str], str]) -> None:
        self.terms: dict[str, int] = {}
        self.words = _Words(self.terms, term_of)

    def number(self, term: str) -> int:
        """Return the number of a term, a new one if it is new."""
        return self.terms.setdefault(term, len(self.terms))


class _Words(dict[str, int]):
    """Word -> number of its term, -1 for a stop word; a word that is new is looked into."""

    def __init__(self, terms: dict[str, int], term_of: Callable[[str], str]) -> None:
        super().__init__()
        self._terms = terms
        self._term_of = term_of

    def __missing__(self, word: str) -> int:
        term = self._term_of(word)
        found = self[word] = self._terms.setdefault(term, len(self._terms)) if term else -1
        return found


class _Remembered(dict[str, str]):
    """Word -> what a function makes of it; forgets all when there are too many."""

    def __init__(self, made: Callable[[str], str]) -> None:
        super().__init__()
        self._made = made

    def __missing__(self, word: str) -> str:
        if len(self) >= _MOST_WORDS:
            self.clear()
        found = self[word] = self._made(word)
        return found


class Analyzer(Protocol):
    """Makes terms of text, for documents and for queries."""

    @property
    def name(self) -> str:
        """What `make_analyzer` makes it of."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Return what tells whether another analyzer makes the same terms."""
        ...

    def numbering(self) -> Numbering:
        """Return an empty numbering for `number`."""
        ...

    def number(self, texts: Sequence[str], numbering: Numbering) -> Numbered:
        """Return the terms of documents' texts, by number."""
        ...

    def document_terms(self, text: str) -> list[str]:
        """Return the terms of a document's text, each as often as it comes."""
        ...

    def query_terms(self, text: str) -> list[str]:
        """Return the terms that a query asks for, each as often as it comes."""
        ...


class WordAnalyzer:
    """Words in lower case, without stop words, stemmed; a `language` of None has only the words.

    Text is normalised (NFKC). Words are letters, digits, marks and apostrophes; other symbols such
    as emoji are words of their own. In scripts without blanks (Han, kana, Hangul, Thai, Lao, Khmer,
    Myanmar) the terms of a document are characters and pairs of neighbours, those of a query the
    pairs. A text of nothing but stop words keeps them. Text of any script has terms.

    >>> WordAnalyzer("english").query_terms("The dogs' houses, naïve 黑猫警")
    ['dog', 'hous', 'naïv', '黑猫', '猫警']
    """

    def __init__(self, language: str | None = "english") -> None:
        self.language = language
        self._stem = None if language is None else _stemmer(language).stemWord
        self._stops = stop_words(language or "")
        # The words of queries come again and again; those of documents a numbering remembers.
        self._term_of = _Remembered(self._term).__getitem__

    @property
    def name(self) -> str:
        """The language, or `standard`."""
        return self.language or PLAIN[0]

    @property
    def lacks_stop_words(self) -> bool:
        """Whether there is a stemmer for the language and no list of stop words."""
        return self.language is not None and not self._stops

    def to_json(self) -> dict[str, Any]:
        """Return the settings."""
        return {"name": self.name}

    def numbering(self) -> Numbering:
        """Return an empty numbering."""
        return Numbering(self._term)

    def number(self, texts: Sequence[str], numbering: Numbering) -> Numbered:
        """Return the terms of texts, by number."""
        numbers: list[int] = []
        bounds = [0]
        look_up = numbering.words.__getitem__
        for text in texts:
            # The common case first: nothing here is done for each word but one look into a dict.
            lowered = text.lower()
            if lowered.isascii():
                numbers.extend(map(look_up, ASCII_WORD.findall(lowered)))
            else:
                words, others = _split(lowered)
                numbers.extend(map(look_up, words))
                numbers.extend(map(numbering.number, _units_and_pairs(others)))
            bounds.append(len(numbers))
        found, ends = np.array(numbers, np.int32), np.array(bounds, np.int64)
        kept = found >= 0
        counts = np.concatenate([[0], np.cumsum(kept)])[ends]
        for at in np.flatnonzero((np.diff(counts) == 0) & (np.diff(ends) > 0)).tolist():
            terms = self.document_terms(texts[at])
            if terms:
                return self._with_stop_words(texts, numbering, found, ends)
        return Numbered(found[kept], counts)

    def document_terms(self, text: str) -> list[str]:
        """Return the terms of a document's text."""
        words, others = _split(text.lower())
        return self._terms(words, list(_units_and_pairs(others)))

    def query_terms(self, text: str) -> list[str]:
        """Return the terms of a query."""
        words, others = _split(text.lower())
        return self._terms(words, [term for units in others for term in _pairs(units) or units])

    def _terms(self, words: list[str], others: list[str]) -> list[str]:
        terms = list(filter(None, map(self._term_of, words)))
        if not terms and not others:
            terms = [term for term in map(_plain, words) if term]
        return terms + others

    def _term(self, word: str) -> str:
        """Return the term of a word, empty for a stop word."""
        plain = _plain(word)
        if not plain or plain in self._stops:
            return ""
        if "'" in plain:
            plain = self._without_elision(plain)
        return plain if self._stem is None else self._stem(plain) or plain

    def _without_elision(self, word: str) -> str:
        if self.language in ("english", "porter"):
            return word.removesuffix("'s")
        first, _, rest = word.partition("'")
        return rest if self.language in _WITH_ELISIONS and first in _ELISIONS and rest else word

    def _with_stop_words(
        self,
        texts: Sequence[str],
        numbering: Numbering,
        found: npt.NDArray[np.int32],
        ends: npt.NDArray[np.int64],
    ) -> Numbered:
        """Return the terms where some texts have nothing but stop words, which those keep."""
        parts, counts = [], []
        for at, (start, stop) in enumerate(pairwise(ends.tolist())):
            mine = found[start:stop]
            kept = mine[mine >= 0]
            if not len(kept) and len(mine):
                terms = self.document_terms(texts[at])
                kept = np.array([numbering.number(term) for term in terms], np.int32)
            parts.append(kept)
            counts.append(len(kept))
        return Numbered(
            np.concatenate([np.zeros(0, np.int32), *parts]),
            np.cumsum([0, *counts]).astype(np.int64),
        )


def make_analyzer(found: str | Mapping[str, Any]) -> Analyzer:
    """Return the analyzer of that name: a language or its code, `standard`, or `hf:TOKENIZER`.

    `hf:` is followed by a tokenizer.json, a folder that has one, `bundled`, or a model of the hub.
    Raises ConfigError for a name that is none of these.

    >>> make_analyzer("de").name, make_analyzer("zh").name
    ('german', 'standard')
    """
    given = {"name": found} if isinstance(found, str) else dict(found)
    name = str(given.get("name", "english"))
    if name.startswith("hf:"):
        from lsr.subword_analysis import SubwordAnalyzer

        return SubwordAnalyzer.open(name.removeprefix("hf:"), given.get("fingerprint"))
    lowered = name.lower()
    if lowered in PLAIN:
        return WordAnalyzer(None)
    return WordAnalyzer(CODES.get(lowered, lowered))


def _stemmer(language: str) -> Any:
    import Stemmer

    if language not in Stemmer.algorithms():
        known = ", ".join(sorted(Stemmer.algorithms()))
        raise ConfigError(
            f"there is no analyzer {language!r}",
            hint=f"take standard, hf:TOKENIZER, or a language: {known}",
        )
    return Stemmer.Stemmer(language)


def _plain(word: str) -> str:
    """Return a word without what is not of it: quotes around it, invisible characters."""
    if not word.isascii():
        for sign in INVISIBLE:
            word = word.replace(sign, "")
        word = word.replace("’", "'")
    return word.strip("'")[:LONGEST]


def _split(lowered: str) -> tuple[list[str], list[list[str]]]:
    """Return the words of a text, and the characters of each run of a script without blanks."""
    if lowered.isascii():
        return ASCII_WORD.findall(lowered), []
    found = patterns()
    lowered = unicodedata.normalize("NFKC", lowered).lower()
    pieces = found.unspaced.split(lowered)
    words = [word for piece in pieces[::2] for word in found.word.findall(piece)]
    return words, [found.unit.findall(run) for run in pieces[1::2]]


def _pairs(units: list[str]) -> list[str]:
    return [first + second for first, second in pairwise(units)]


def _units_and_pairs(runs: list[list[str]]) -> list[str]:
    return [term for units in runs for term in units + _pairs(units)]
