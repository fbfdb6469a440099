"""From the text of a filter to its tree."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple, NoReturn, cast

from lsr.errors import FilterError

from .dates import DATE_PATTERN
from .filter_tree import (
    KEYWORDS,
    MAX_COMPARISONS,
    MAX_DEPTH,
    MAX_VALUES,
    NAME_PATTERN,
    OPERATORS,
    And,
    Comparison,
    Exists,
    Filter,
    In,
    Not,
    Operator,
    Or,
    Value,
    plain_value,
    short,
)

#: Longer texts are refused unread; a list of 100,000 values of 100 characters fits.
MAX_TEXT = 16_000_000

_END = r"(?![\w.:+-])"
_TOKEN = re.compile(
    rf"(?P<blank>\s+)|(?P<date>{DATE_PATTERN}{_END})"
    rf"|(?P<number>[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?{_END})"
    r"""|(?P<string>"[^"\\]*(?:\\.[^"\\]*)*"|'[^'\\]*(?:\\.[^'\\]*)*')"""
    rf"|(?P<word>{NAME_PATTERN})|(?P<name>`[^`]*(?:``[^`]*)*`)"
    r"|(?P<wrong>==|<>|&&?|\|\|?|!(?!=))|(?P<op>!=|<=|>=|=|<|>)|(?P<mark>[()\[\],])"
    r"|(?P<unfinished>[\"'`])|(?P<digits>[0-9.+-][\w.:+-]*)|(?P<other>.)",
    re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_ESCAPES = {
    "n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "/": "/", "\\": "\\", '"': '"', "'": "'",
}  # fmt: skip
_INSTEAD = {
    "==": "'='", "<>": "'!='", "&": "'and'", "&&": "'and'", "|": "'or'", "||": "'or'", "!": "'not'",
}  # fmt: skip
_CONTEXT = 60


def parse_text(text: str) -> Filter:
    """Return the tree of a filter's text; FilterError points at the place that is wrong.

    >>> parse_text("not (kind = 'a' OR year < 2020)")
    Not(part=Or(parts=(Comparison(field='kind', op='=', value='a'), Comparison(field='year', \
op='<', value=2020))))
    """
    if len(text) > MAX_TEXT:
        raise FilterError(f"the filter has {len(text)} characters; at most {MAX_TEXT} are read")
    return _Parser(text).filter()


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


class _Parser:
    """A recursive descent over the tokens; every level of it counts against MAX_DEPTH."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = self._scan()
        self._token = next(self._tokens)
        self._level = 0
        self._comparisons = 0

    def filter(self) -> Filter:
        found = self._or()
        if self._token.kind != "end":
            self._fail("'and', 'or' or the end")
        return found

    def _scan(self) -> Iterator[_Token]:
        for match in _TOKEN.finditer(self._text):
            kind = match.lastgroup or ""
            if kind == "blank":
                continue
            token = _Token(kind, match[0], match.start())
            if kind == "word" and token.text.lower() in KEYWORDS:
                token = _Token("keyword", token.text.lower(), token.at)
            yield token
        yield _Token("end", "", len(self._text))

    def _next(self) -> _Token:
        token = self._token
        self._token = next(self._tokens)
        return token

    def _take(self, kind: str, text: str) -> bool:
        if self._token.kind == kind and self._token.text == text:
            self._next()
            return True
        return False

    def _or(self) -> Filter:
        parts = [self._and()]
        while self._take("keyword", "or"):
            parts.append(self._and())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _and(self) -> Filter:
        parts = [self._not()]
        while self._take("keyword", "and"):
            parts.append(self._not())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _not(self) -> Filter:
        token = self._token
        if self._take("keyword", "not"):
            self._descend(token)
            found: Filter = Not(self._not())
        elif self._take("mark", "("):
            self._descend(token)
            found = self._or()
            if not self._take("mark", ")"):
                self._fail("')', 'and' or 'or'")
        else:
            return self._condition()
        self._level -= 1
        return found

    def _descend(self, token: _Token) -> None:
        self._level += 1
        if self._level >= MAX_DEPTH:
            self._complain(token, f"more than {MAX_DEPTH} levels of parentheses and 'not'")

    def _condition(self) -> Filter:
        self._comparisons += 1
        if self._comparisons > MAX_COMPARISONS:
            self._complain(
                self._token,
                f"more than {MAX_COMPARISONS} comparisons",
                hint='compare with many values at once: field in ["a", "b", …]',
            )
        if self._take("keyword", "exists"):
            return Exists(self._name())
        name = self._name()
        token = self._token
        if self._take("keyword", "in"):
            return In(name, self._list())
        if token.kind == "keyword" and token.text == "not":
            self._complain(token, "'not' stands before the whole comparison: not (… in […])")
        if token.kind != "op":
            self._fail(f"{', '.join(OPERATORS)} or 'in' after the field {short(name)}")
        return Comparison(name, cast(Operator, self._next().text), self._value())

    def _name(self) -> str:
        token = self._token
        if token.kind == "word":
            return self._next().text
        if token.kind == "name" and len(token.text) > 2:
            return self._next().text[1:-1].replace("``", "`")
        hint = None
        if token.kind in ("string", "keyword"):
            hint = "a field name that is a keyword or has blanks stands in backticks: `my field`"
        self._fail("a field name", hint=hint)

    def _list(self) -> tuple[Value, ...]:
        if not self._take("mark", "["):
            self._fail("'[' and a list of values after 'in'")
        values: list[Value] = []
        while not self._take("mark", "]"):
            if values and not self._take("mark", ","):
                self._fail("',' or ']'")
            if len(values) == MAX_VALUES:
                self._complain(
                    self._token,
                    f"a list of more than {MAX_VALUES} values",
                    hint="split the list over several searches",
                )
            values.append(self._value())
        return tuple(values)

    def _value(self) -> Value:
        token = self._token
        value: Value | None = None
        if token.kind == "string":
            value = self._unescaped(token)
        elif token.kind == "date":
            value = token.text
        elif token.kind == "number":
            value = self._number(token)
        elif token.kind == "keyword" and token.text in ("true", "false"):
            value = token.text == "true"
        if value is None:
            hint = None
            if token.text.lower() in ("null", "none"):
                hint = "ask for an absent value with: not exists field"
            elif token.kind == "word":
                hint = f'text stands in quotes: "{token.text}"'
            self._fail("a value: a string, a number, true, false or a date", hint=hint)
        self._next()
        return value

    def _number(self, token: _Token) -> Value:
        digits = token.text.lstrip("+-").isdigit()
        if digits and len(token.text) > 400:  # Python limits the digits it reads as an integer
            self._complain(token, "a number of more than 400 digits; quote it as text")
        try:
            return plain_value(int(token.text) if digits else float(token.text))
        except FilterError as error:
            self._complain(token, error.message)

    def _unescaped(self, token: _Token) -> str:
        inside = token.text[1:-1]
        if "\\" in inside:
            inside = _ESCAPE.sub(lambda match: self._character(token, match), inside)
        if inside.isascii():
            return inside
        try:  # pairs of \u escapes beyond U+FFFF become one character
            return inside.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self._complain(token, "a string with half a surrogate pair")

    def _character(self, token: _Token, match: re.Match[str]) -> str:
        if match[1]:
            return chr(int(match[1], 16))
        known = _ESCAPES.get(match[2])
        if known is None:
            at = _Token("escape", match[0], token.at + 1 + match.start())
            self._complain(
                at, f"the unknown escape {match[0]!r}", hint=r"write a backslash itself as \\"
            )
        return known

    def _fail(self, expected: str, *, hint: str | None = None) -> NoReturn:
        token = self._token
        found = short(token.text)
        if token.kind == "end":
            found = "the end" if self._text.strip() else "an empty filter"
        elif token.kind == "unfinished":
            found = f"a {token.text} without its closing {token.text}"
        elif token.kind == "digits":
            found += ", neither a number nor a date"
        elif token.kind == "wrong":
            hint = f"write {_INSTEAD[token.text]} instead of '{token.text}'"
        self._complain(token, f"{found} where {expected} is expected", hint=hint)

    def _complain(self, token: _Token, what: str, *, hint: str | None = None) -> NoReturn:
        raise FilterError(
            f"the filter has {what}, at character {token.at + 1}:\n{self._pointer(token.at)}",
            hint=hint,
        )

    def _pointer(self, at: int) -> str:
        start, stop = max(0, at - _CONTEXT), at + _CONTEXT
        before, after = self._text[start:at], self._text[at:stop]
        lead = "…" if start else ""
        shown = lead + before + after + ("…" if stop < len(self._text) else "")
        clean = "".join(c if c.isprintable() else " " for c in shown)
        return f"  {clean}\n  {' ' * (len(lead) + len(before))}^"
