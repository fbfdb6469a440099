"""Scripts: how words are found in text of any script."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from itertools import chain

#: Scripts written without blanks between words, and Hangul, whose words carry endings: Thai, Lao,
#: Myanmar, Khmer, Hangul, kana, bopomofo, Han.
_UNSPACED = (
    "\u0e01-\u0e4e\u0e81-\u0edf\u1000-\u103f\u1050-\u109f\u1780-\u17d3\u1100-\u11ff\u3131-\u318e"
    "\uac00-\ud7a3\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\u3105-\u312f\u2e80-\u2fdf"
    "\u3005\u3007\u3021-\u3029\u3038-\u303b\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U000323af"
)
#: What joins or is nothing inside a word: soft hyphen, zero width joiner and non-joiner.
INVISIBLE = "\u00ad\u200c\u200d"


class Patterns:
    """The expressions that find words; made once, since the classes take some milliseconds."""

    def __init__(self) -> None:
        marks, symbols = _ranges("M"), _ranges("So")
        self.unspaced = re.compile(f"([{_UNSPACED}][{_UNSPACED}{marks}{INVISIBLE}]*)")
        self.unit = re.compile(f"[{_UNSPACED}][{marks}{INVISIBLE}]*")
        self.word = re.compile(f"[{symbols}]|(?:[^\\W_]|[{marks}{INVISIBLE}'’])+")
        self.marks = re.compile(f"[{marks}]+")


#: Words of text that is ASCII and lower case.
ASCII_WORD = re.compile("[a-z0-9']+")


@lru_cache(maxsize=1)
def patterns() -> Patterns:
    """Return the expressions for text beyond ASCII.

    >>> patterns().word.findall("naïve हिन्दी 🦊")
    ['naïve', 'हिन्दी', '🦊']
    """
    return Patterns()


def _ranges(category: str) -> str:
    """Return the characters of a category, or of those that begin like it, as a class's inside."""
    return "".join(
        re.escape(chr(first)) + (f"-{re.escape(chr(last))}" if last > first else "")
        for first, last in _runs(category)
    )


def _runs(category: str) -> Iterator[tuple[int, int]]:
    """Yield first and last of each run of characters whose category begins like that."""
    first = before = -2
    # Letters and unassigned characters fill the planes between, but for the selectors in E01.
    for code in chain(range(0x80, 0x20000), range(0xE0100, 0xE01F0)):
        if not unicodedata.category(chr(code)).startswith(category):
            continue
        if code != before + 1:
            if first >= 0:
                yield first, before
            first = code
        before = code
    if first >= 0:
        yield first, before
