"""Passages: long texts cut on sentence boundaries into overlapping spans."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from lsr.added_terms import FIELD, encoder_text, with_added
from lsr.errors import ConfigError
from lsr.types import Document, Span

Length = Callable[[str], int]

#: Scripts written without blanks between words: each sign counts as a word, and may be cut after.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uff60"  # Han, kana, wide signs
    "\U00020000-\U0003ffff"
)
_WORD = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")

_CLOSERS = "\"')\\]}”’»›」』】）"
#: A place where a sentence may end, and what must not be split there is told by `_is_end`.
_END = re.compile(
    rf"[。！？｡।॥۔؟።᙮។៕။։]+[{_CLOSERS}]*"  # signs that need no blank after them
    # From the first of several signs on, or a long row of dots would be read over and over.
    rf"|(?<![.!?…])[.!?…]++[{_CLOSERS}]*+(?=\s)"
    r"|\n[ \t\r\f\v]*\n"  # a blank line
    r"|\n(?=[ \t]*(?:[-*•‣]|\d{1,3}[.)])[ \t])"  # the next line is an entry of a list
)
_ABBREVIATIONS = frozenset(
    """adj adv al approx art assn ave bzw ca capt cf ch chap cit co col corp dept dr ed eds eq eqs
    esp est etc fig figs gen gov hon hr inc jr lt ltd maj max mgr min misc mme mr mrs ms mt nos nr
    obs op p par pp prof pt ref refs rep rev sen sgt sr st str syn tab tel transl univ var viz vol
    vols vs""".split()  # noqa: SIM905
)
_INITIALS = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]")


@dataclass(frozen=True, slots=True)
class PassageSettings:
    """How texts are split: passages of at most `max_tokens`, of which neighbours share `overlap`.

    Both count what the `length` given to `split` counts: tokens of an encoder, or words. Whole
    sentences are shared, as many as fit in `overlap`.

    >>> PassageSettings(max_tokens=4, overlap=0).split("Cats purr now. Dogs bark.")
    [Span(start=0, end=14), Span(start=15, end=25)]
    """

    max_tokens: int = 200
    overlap: int = 40

    def __post_init__(self) -> None:
        for name, value, least in (
            ("max_tokens", self.max_tokens, 1),
            ("overlap", self.overlap, 0),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigError(f"passages: {name} is {value!r}; it must be {least} or more")
        if self.overlap >= self.max_tokens:
            raise ConfigError(
                f"passages: overlap is {self.overlap}; it must be below max_tokens, "
                f"{self.max_tokens}"
            )

    def split(self, text: str, *, length: Length | None = None) -> list[Span]:
        """Return the passages of a text; see `split`."""
        return split(
            text, max_tokens=self.max_tokens, overlap=self.overlap, length=length or count_words
        )

    def to_json(self) -> dict[str, int]:
        """Return the settings as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> PassageSettings:
        """Return the settings that `to_json` gave; ConfigError for anything else."""
        try:
            return cls(**found)
        except TypeError as error:
            raise ConfigError(
                f"passages: the settings are {dict(found)}; max_tokens and overlap are expected"
            ) from error


class _Piece(NamedTuple):
    """A sentence, or a part of one that is too long, with its length."""

    start: int
    end: int
    length: int


def texts_to_encode(
    documents: Sequence[Document], spans: Sequence[Sequence[Span]] | None
) -> list[str]:
    """Return what an encoder sees: full texts, or the title before each passage.

    Added terms are of the whole document, and so of each passage.

    >>> texts_to_encode([Document("a", title="Cats", text="Purr. Eat.")], [[Span(0, 5)]])
    ['Cats Purr.']
    """
    if spans is None:
        return [encoder_text(document) for document in documents]
    return [
        with_added(
            f"{document.title} {document.text[span.start : span.end]}".strip(),
            document.fields.get(FIELD),
        )
        for document, parts in zip(documents, spans, strict=True)
        for span in parts
    ]


def count_words(text: str) -> int:
    """Return the number of words; in scripts without blanks every sign is one.

    >>> count_words("Cats purr."), count_words("猫が鳴く。")
    (2, 5)
    """
    return sum(1 for _ in _WORD.finditer(text))


def split(
    text: str, *, max_tokens: int = 200, overlap: int = 40, length: Length = count_words
) -> list[Span]:
    """Return the passages of a text: spans that ascend and cover everything but blanks.

    A passage is made of whole sentences that measure at most `max_tokens` together, the first of
    them repeated from the passage before as far as `overlap` allows. A sentence that is longer is
    cut between words, a word that is longer between characters. The measure of sentences is the
    sum of their `length`s. A blank text has no passages; a single character may measure more
    than `max_tokens`.

    >>> text = "One two three. Four five. Six seven eight."
    >>> [text[span.start : span.end] for span in split(text, max_tokens=5, overlap=2)]
    ['One two three. Four five.', 'Four five. Six seven eight.']
    """
    pieces: list[_Piece] = []
    for sentence in sentences(text):
        measure = length(text[sentence.start : sentence.end])
        if measure <= max_tokens:
            pieces.append(_Piece(sentence.start, sentence.end, measure))
        else:
            # Pieces well below the limit, so that neighbours can share one.
            size = max(1, min(max_tokens, overlap or max_tokens))
            pieces.extend(_cut(text, sentence, size, length))
    return _packed(pieces, max_tokens, overlap)


def sentences(text: str) -> Iterator[Span]:
    """Yield the sentences of a text in any language, without the blanks around them.

    A sentence ends at . ! ? … before a blank, at the full stops of scripts that set no blank, at
    a blank line and before an entry of a list; not after initials, "e.g.", "Dr." and the like,
    and not before a small letter (in a text that has capitals).

    >>> text = "Dr. No paid 3.50 dollars. Why? He e.g. likes tea."
    >>> [text[span.start : span.end] for span in sentences(text)]
    ['Dr. No paid 3.50 dollars.', 'Why?', 'He e.g. likes tea.']
    """
    has_capitals = text != text.lower()
    start = 0
    for end in _END.finditer(text):
        if _is_end(text, end, has_capitals):
            yield from _trimmed(text, start, end.end())
            start = end.end()
    yield from _trimmed(text, start, len(text))


def _is_end(text: str, end: re.Match[str], has_capitals: bool) -> bool:
    if end.group()[0] not in ".…":
        return True
    before = text[max(0, end.start() - 20) : end.start()]
    if not before or before[-1].isspace():
        return True
    after = text[end.end() : end.end() + 8].lstrip()
    if has_capitals and after[:1].islower():
        return False
    word = re.split(r"[\s(\[\"'“‘«]", before)[-1]
    return not (_INITIALS.fullmatch(word) or word.lower() in _ABBREVIATIONS)


def _trimmed(text: str, start: int, end: int) -> Iterator[Span]:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    if start < end:
        yield Span(start, end)


def _cut(text: str, sentence: Span, size: int, length: Length) -> Iterator[_Piece]:
    """Yield parts of a sentence that measure at most `size`, cut between words if possible."""
    known: dict[str, int] = {}
    part: _Piece | None = None
    for start, end in _words(text, sentence):
        word = text[start:end]
        if word not in known:
            known[word] = length(word)
        measure = known[word]
        if part is not None and part.length + measure <= size:
            part = _Piece(part.start, end, part.length + measure)
            continue
        if part is not None:
            yield part
        part = None
        if measure <= size:
            part = _Piece(start, end, measure)
        else:
            yield from _cut_word(text, start, end, size, length)
    if part is not None:
        yield part


def _words(text: str, sentence: Span) -> Iterator[tuple[int, int]]:
    """Yield where words begin and end; a sign of an unspaced script keeps its marks."""
    begun: tuple[int, int] | None = None
    for match in _WORD.finditer(text, sentence.start, sentence.end):
        start, end = match.span()
        if begun is not None and begun[1] == start and unicodedata.category(text[start])[0] == "M":
            begun = begun[0], end
            continue
        if begun is not None:
            yield begun
        begun = start, end
    if begun is not None:
        yield begun


def _cut_word(text: str, start: int, end: int, size: int, length: Length) -> Iterator[_Piece]:
    while start < end:
        step = size
        while start + step < end and length(text[start : start + step]) <= size:
            step *= 2
        low, high = start + 1, min(end, start + step)
        while low < high:  # the longest part that fits; at least one character
            middle = (low + high + 1) // 2
            if length(text[start:middle]) <= size:
                low = middle
            else:
                high = middle - 1
        stop = low
        while stop > start + 1 and stop < end and unicodedata.category(text[stop])[0] == "M":
            stop -= 1
        yield _Piece(start, stop, length(text[start:stop]))
        start = stop


def _packed(pieces: list[_Piece], max_tokens: int, overlap: int) -> list[Span]:
    spans: list[Span] = []
    first = 0
    while first < len(pieces):
        last, measure = first, pieces[first].length
        while last + 1 < len(pieces) and measure + pieces[last + 1].length <= max_tokens:
            last += 1
            measure += pieces[last].length
        spans.append(Span(pieces[first].start, pieces[last].end))
        if last + 1 == len(pieces):
            break
        first = _next_first(pieces, first, last, max_tokens, overlap)
    return spans


def _next_first(pieces: list[_Piece], first: int, last: int, max_tokens: int, overlap: int) -> int:
    """Return the piece that the next passage begins with: one that lets it reach past `last`."""
    room = min(overlap, max_tokens - pieces[last + 1].length)
    begin = last + 1
    while begin - 1 > first and pieces[begin - 1].length <= room:
        begin -= 1
        room -= pieces[begin].length
    return begin
