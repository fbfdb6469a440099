"""Snippets: the part of a text that shows best why it matched."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import NamedTuple

#: Only this much of a text is looked at; a snippet from further on helps nobody who waits.
_MOST_CHARACTERS = 200_000
_LEAST_STEM = 4
# Letters with the signs that hang on them, which \w leaves out: accents, points, Indic vowels.
_WORD = re.compile(
    "[\\w\u0300-\u036f\u0483-\u0489\u0591-\u05c7\u064b-\u065f\u0670\u06d6-\u06ed\u0900-\u0963"
    "\u0966-\u0dff\u0e00-\u0e4e\u0e80-\u0ece\u0f00-\u109f\u1780-\u17d3\u200c\u200d]+"
)
#: What tokenizers put before a token to say that it starts, or goes on inside, a word.
_MARKERS = ("##", "\u2581", "\u0120")
# Han, kana, Thai, Lao, Tibetan, Burmese, Khmer: scripts that put no blank between words.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf"
    "\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)


class Mark(NamedTuple):
    """Characters `start` to `end` (exclusive) of a snippet matched."""

    start: int
    end: int


class Snippet(NamedTuple):
    """A part of a text, on one line, and which characters of it matched, in order."""

    text: str
    marks: tuple[Mark, ...]


class _Match(NamedTuple):
    start: int
    end: int
    token: str
    weight: float


def make_snippet(text: str, tokens: Mapping[str, float], *, width: int = 200) -> Snippet:
    """Return about `width` characters of `text` around the tokens that weigh most.

    `tokens` maps a matched token, with or without its tokenizer's markers, to its share of the
    score. Words match without regard to case and accents; a token of four letters or more also
    matches a word that starts with it. Without a match the snippet is the head of the text.

    >>> make_snippet("The cat sat on the mat.", {"cat": 1.0})
    Snippet(text='The cat sat on the mat.', marks=(Mark(start=4, end=7),))
    """
    text = text[:_MOST_CHARACTERS]
    matches = _matches(text, tokens)
    start, end = _window(text, matches, width)
    inside = [match for match in matches if start <= match.start and match.end <= end]
    before, after = "\u2026" if start else "", "\u2026" if end < len(text) else ""
    shift = len(before) - start
    marks = tuple(Mark(match.start + shift, match.end + shift) for match in inside)
    # One blank for one character, so that the marks stay where they are.
    line = re.sub(r"\s", " ", text[start:end])
    return _tidy(Snippet(before + line + after, marks))


def render(snippet: Snippet, before: str, after: str) -> str:
    """Return the snippet's text with `before` and `after` around each mark.

    >>> render(make_snippet("a cat", {"cat": 1.0}), "<b>", "</b>")
    'a <b>cat</b>'
    """
    parts, at = [], 0
    for mark in snippet.marks:
        parts += [snippet.text[at : mark.start], before, snippet.text[mark.start : mark.end], after]
        at = mark.end
    return "".join([*parts, snippet.text[at:]])


def _matches(text: str, tokens: Mapping[str, float]) -> list[_Match]:
    wanted: dict[str, float] = {}
    for token, weight in tokens.items():
        bare = _fold(_bare(token))
        # A piece from inside a word ("##s") points at no word of its own.
        if bare and not token.startswith("##"):
            wanted[bare] = max(weight, wanted.get(bare, 0.0))
    pieces = {_fold(_bare(token)) for token in tokens if token.startswith("##")} - {""}
    found = []
    unspaced = [token for token in wanted if _UNSPACED.search(token)]
    for word in _WORD.finditer(text):
        folded = _fold(word[0])
        whole = _token_of(folded, wanted) or _first_piece(folded, wanted, pieces)
        if whole is not None:
            found.append(_Match(word.start(), word.end(), whole, wanted[whole]))
        elif unspaced and _UNSPACED.search(word[0]):
            found += _parts(word[0], word.start(), unspaced, wanted)
    return found


def _token_of(word: str, wanted: Mapping[str, float]) -> str | None:
    """Return the token that `word` is, or the longest of four letters that it starts with."""
    if word in wanted:
        return word
    for length in range(len(word) - 1, _LEAST_STEM - 1, -1):
        if word[:length] in wanted:
            return word[:length]
    return None


def _first_piece(word: str, wanted: Mapping[str, float], pieces: set[str]) -> str | None:
    """Return the token that starts a word of which all other pieces matched, too."""
    for length in range(len(word) - 1, 0, -1) if pieces else ():
        if word[:length] in wanted and _is_made_of(word[length:], pieces):
            return word[:length]
    return None


def _is_made_of(rest: str, pieces: set[str]) -> bool:
    """Return whether `rest` is pieces end to end."""
    reached = {0}
    for at in range(len(rest)):
        if at in reached:
            reached |= {at + len(piece) for piece in pieces if rest.startswith(piece, at)}
    return len(rest) in reached


def _parts(
    word: str, offset: int, tokens: Sequence[str], wanted: Mapping[str, float]
) -> list[_Match]:
    """Return where the tokens stand in a run of a script that puts no blanks between words."""
    found: list[_Match] = []
    at = 0
    longest_first = sorted(tokens, key=len, reverse=True)
    while at < len(word):
        token = next((one for one in longest_first if word.startswith(one, at)), None)
        if token is None:
            at += 1
            continue
        found.append(_Match(offset + at, offset + at + len(token), token, wanted[token]))
        at += len(token)
    return found


def _window(text: str, matches: Sequence[_Match], width: int) -> tuple[int, int]:
    """Return the bounds of the `width` characters whose distinct tokens weigh most together."""
    if len(text) <= width:
        return 0, len(text)
    best, bounds = -1.0, (0, 0)
    counts: dict[str, int] = {}
    total, first = 0.0, 0
    for last, match in enumerate(matches):
        total += match.weight if not counts.get(match.token) else 0.0
        counts[match.token] = counts.get(match.token, 0) + 1
        while first < last and match.end - matches[first].start > width:
            counts[matches[first].token] -= 1
            total -= matches[first].weight if not counts[matches[first].token] else 0.0
            first += 1
        if total > best + 1e-9:
            best, bounds = total, (matches[first].start, match.end)
    middle = sum(bounds) // 2
    start = max(0, min(middle - width // 2, len(text) - width, bounds[0]))
    return _whole_words(text, start, start + width, bounds)


def _whole_words(text: str, start: int, end: int, keep: tuple[int, int]) -> tuple[int, int]:
    """Move the bounds inwards, not past `keep`, so that no word or character is cut in two."""
    slack = (end - start) // 5
    if start > 0:
        blank = re.compile(r"\s").search(text, start - 1, min(keep[0], start + slack))
        start = blank.end() if blank else start
        while start > 0 and _joins(text[start]):
            start -= 1
    if end < len(text):
        cut = end
        while cut > max(keep[1], end - slack) and not text[cut].isspace():
            cut -= 1
        end = cut if text[cut].isspace() else end
        while end < len(text) and _joins(text[end]):
            end += 1
    return start, end


def _joins(character: str) -> bool:
    """Return whether a character belongs to the one before it: an accent, a joiner, a variant."""
    return bool(unicodedata.combining(character)) or character in "\u200d\ufe0e\ufe0f"


def _tidy(snippet: Snippet) -> Snippet:
    """Drop runs of blanks, and move the marks along."""
    kept: list[str] = []
    moved = [0] * (len(snippet.text) + 1)
    for at, character in enumerate(snippet.text):
        moved[at] = len(kept)
        if character != " " or (kept and kept[-1] not in " \u2026"):
            kept.append(character)
    moved[len(snippet.text)] = len(kept)
    marks = tuple(Mark(moved[mark.start], moved[mark.end]) for mark in snippet.marks)
    return Snippet("".join(kept).rstrip(), marks)


def _bare(token: str) -> str:
    for marker in _MARKERS:
        token = token.removeprefix(marker)
    return token.strip()


def _fold(text: str) -> str:
    """Return `text` without case and accents, as uncased tokenizers see it."""
    if text.isascii():
        return text.lower()
    split = unicodedata.normalize("NFD", text.casefold())
    return "".join(character for character in split if not unicodedata.combining(character))
