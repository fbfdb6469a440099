"""Filter: the tree of a filter, with its canonical text and its JSON structure."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from lsr.errors import FilterError

from .dates import DATE_PATTERN

#: A value in a filter. A date is its ISO 8601 text; the type of the field decides.
Value = str | bool | int | float
Operator = Literal["=", "!=", "<", "<=", ">", ">="]

OPERATORS: tuple[str, ...] = get_args(Operator)
KEYWORDS = frozenset({"and", "or", "not", "in", "exists", "true", "false"})
#: A field name that needs no backticks, unless it is a keyword.
NAME_PATTERN = r"[^\W\d][\w.-]*"

MAX_DEPTH = 64
MAX_VALUES = 100_000
MAX_COMPARISONS = 1_000
MAX_INTEGER = 2**53

_NAME = re.compile(NAME_PATTERN)
_DATE = re.compile(DATE_PATTERN)


@dataclass(frozen=True, slots=True)
class Filter(ABC):
    """A condition on the metadata of a document: immutable, hashable and not tied to an index.

    `str` gives the canonical text, which `parse_filter` reads back to an equal tree; `to_json`
    gives the structure, likewise. Trees are at most 64 deep and make at most 1,000 comparisons.

    >>> str(And((Comparison("year", ">=", 2020), Not(Exists("url")))))
    'year >= 2020 and not exists url'
    """

    #: Levels of the tree, 1 for a leaf, and the comparisons in it.
    depth: int = field(init=False, repr=False, compare=False, default=1)
    size: int = field(init=False, repr=False, compare=False, default=1)

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Return the structure of this filter as JSON objects, lists, strings and numbers."""

    def _measure(self, parts: Sequence[Filter]) -> None:
        depth = 1 + max(part.depth for part in parts)
        size = sum(part.size for part in parts)
        if depth > MAX_DEPTH:
            raise FilterError(f"the filter is more than {MAX_DEPTH} levels deep")
        if size > MAX_COMPARISONS:
            raise FilterError(
                f"the filter makes more than {MAX_COMPARISONS} comparisons",
                hint='compare with many values at once: field in ["a", "b", …]',
            )
        object.__setattr__(self, "depth", depth)
        object.__setattr__(self, "size", size)


@dataclass(frozen=True, slots=True, eq=False)
class Comparison(Filter):
    """The documents whose field compares so with one value."""

    field: str
    op: Operator
    value: Value

    def __post_init__(self) -> None:
        check_name(self.field)
        if self.op not in OPERATORS:
            raise FilterError(f"{self.op!r} is not an operator; known: {' '.join(OPERATORS)}")
        object.__setattr__(self, "value", plain_value(self.value))

    def to_json(self) -> dict[str, Any]:
        """Return `{"field": …, "op": …, "value": …}`."""
        return {"field": self.field, "op": self.op, "value": self.value}

    # Text tells true from 1, which Python's == does not.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Comparison) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __str__(self) -> str:
        return f"{_name_text(self.field)} {self.op} {_value_text(self.value)}"


@dataclass(frozen=True, slots=True, eq=False)
class In(Filter):
    """The documents whose field equals one of the values; at most 100,000 of them."""

    field: str
    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        check_name(self.field)
        if len(self.values) > MAX_VALUES:
            raise FilterError(
                f"the list for {self.field!r} has {len(self.values)} values; "
                f"at most {MAX_VALUES} are read",
                hint="split the list over several searches",
            )
        object.__setattr__(self, "values", tuple(map(plain_value, self.values)))

    def to_json(self) -> dict[str, Any]:
        """Return `{"field": …, "op": "in", "value": [...]}`."""
        return {"field": self.field, "op": "in", "value": list(self.values)}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, In) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __str__(self) -> str:
        return f"{_name_text(self.field)} in [{', '.join(map(_value_text, self.values))}]"


@dataclass(frozen=True, slots=True)
class Exists(Filter):
    """The documents that have a value in the field; an empty list is a value."""

    field: str

    def __post_init__(self) -> None:
        check_name(self.field)

    def to_json(self) -> dict[str, Any]:
        """Return `{"field": …, "op": "exists"}`."""
        return {"field": self.field, "op": "exists"}

    def __str__(self) -> str:
        return f"exists {_name_text(self.field)}"


@dataclass(frozen=True, slots=True)
class Not(Filter):
    """The documents that the part leaves out, those without the field among them."""

    part: Filter

    def __post_init__(self) -> None:
        self._measure((self.part,))

    def to_json(self) -> dict[str, Any]:
        """Return `{"not": …}`."""
        return {"not": self.part.to_json()}

    def __str__(self) -> str:
        return f"not {_inside(self.part, And, Or)}"


@dataclass(frozen=True, slots=True)
class And(Filter):
    """The documents that match every part; there are at least two."""

    parts: tuple[Filter, ...]

    def __post_init__(self) -> None:
        _check_parts(self.parts, "and")
        self._measure(self.parts)

    def to_json(self) -> dict[str, Any]:
        """Return `{"and": [...]}`."""
        return {"and": [part.to_json() for part in self.parts]}

    def __str__(self) -> str:
        return " and ".join(_inside(part, And, Or) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Or(Filter):
    """The documents that match at least one part; there are at least two."""

    parts: tuple[Filter, ...]

    def __post_init__(self) -> None:
        _check_parts(self.parts, "or")
        self._measure(self.parts)

    def to_json(self) -> dict[str, Any]:
        """Return `{"or": [...]}`."""
        return {"or": [part.to_json() for part in self.parts]}

    def __str__(self) -> str:
        return " or ".join(_inside(part, Or) for part in self.parts)


def check_name(name: object) -> None:
    """Raise FilterError if a field can never have this name."""
    if not isinstance(name, str) or not name or len(name) > 10_000:
        raise FilterError(f"a field is named by a string, not by {short(name)}")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        raise FilterError(f"the field name {short(name)} has control characters")


def plain_value(value: object) -> Value:
    """Return the value as a filter keeps it: finite, integral numbers as int, text as text."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise FilterError("an integer beyond 2^53 is not exact as a number; quote it as text")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise FilterError(f"{value} is not a finite number")
        whole = value.is_integer() and abs(value) <= MAX_INTEGER
        return int(value) if whole else value
    if isinstance(value, str):
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise FilterError(f"{short(value)} holds half a surrogate pair") from None
        return value
    raise FilterError(
        f"{short(value)} is not a value of a filter; one is a string, a number, true, false or a "
        "date",
        hint='ask for an absent value with {"not": {"field": …, "op": "exists"}}'
        if value is None
        else None,
    )


def short(value: object) -> str:
    """Return the value as one short piece of text for a message."""
    try:
        shown = repr(value[:60] if isinstance(value, str | list | tuple) else value)
    except (ValueError, RecursionError):  # an integer of thousands of digits; a hostile nest
        return f"a {type(value).__name__} too large to show"
    return shown if len(shown) <= 60 else f"{shown[:57]}…"


def _check_parts(parts: tuple[Filter, ...], word: str) -> None:
    if len(parts) < 2:
        raise FilterError(f"'{word}' joins at least two conditions; {len(parts)} given")


def _inside(part: Filter, *loose: type[Filter]) -> str:
    return f"({part})" if isinstance(part, loose) else str(part)


def _name_text(name: str) -> str:
    if _NAME.fullmatch(name) and name.lower() not in KEYWORDS:
        return name
    return "`" + name.replace("`", "``") + "`"


def _value_text(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # A date needs no quotes: bare or quoted, it is read as the same text.
        return value if _DATE.fullmatch(value) else json.dumps(value, ensure_ascii=False)
    return repr(value)
