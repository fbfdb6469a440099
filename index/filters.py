r"""Filters: which documents may be found, by their metadata.

A filter is a text or a structure (`parse_filter`); `bind` checks it against the fields of an
index, and the bound filter gives one mask for each segment.

    filter     = conjunct { "or" conjunct }
    conjunct   = condition { "and" condition }
    condition  = "not" condition | "(" filter ")" | "exists" name | name "in" "[" values "]"
               | name ( "=" | "!=" | "<" | "<=" | ">" | ">=" ) value
    name       = letter or _, then letters, digits, "_", "-", "." | "`" any characters "`"
    value      = "text" | 'text' | number | true | false | 2020-01-31 | 2020-01-31T10:00:00Z

Keywords are in any case; a backtick inside backticks is doubled; text knows the escapes of JSON
and \'. The structure is `{"and": […]}`, `{"or": […]}`, `{"not": {…}}`, `{"field": name, "op": …,
"value": …}`, `{"field": name, "op": "exists"}` or, short, `{name: value or list, …}`: all of them
equal, or in.

What a condition means:
- Absent values match no comparison, `!=` included: `lang != "en"` finds documents that have another
  language. `not (lang = "en")` is everything else, those without a language too.
- Text compares by its UTF-8 bytes, case and all. Numbers compare as float64.
- A date is an instant: a day alone is its midnight UTC, so `published = 2020-01-31` misses 10:00 of
  that day. Ask for a day as `published >= 2020-01-31 and published < 2020-02-01`.
- For a list of strings `=` is "contains", `in` "contains any of", `!=` "has a list without"; an
  empty list exists. Lists do not compare with `<`, booleans only with `=` and `!=`.
- `_id` takes `=` and `in`.
"""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lsr.errors import FilterError, IndexFormatError

from .columns import ARROW_TYPES, Fields, FieldType
from .dates import date_from_text
from .filter_structure import parse_structure
from .filter_text import parse_text
from .filter_tree import And, Comparison, Exists, Filter, In, Not, Or, Value, short

__all__ = [
    "And", "BoundFilter", "Comparison", "Exists", "Filter", "In", "Not", "Or", "bind",
    "parse_filter",
]  # fmt: skip

Mask = npt.NDArray[np.bool_]

_COMPARE = {
    "=": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
_LISTED = 20


def parse_filter(source: str | Mapping[str, Any]) -> Filter:
    """Return the tree of a filter from its text or its structure.

    FilterError says what is wrong where; for text it points at the character.

    >>> parse_filter('year >= 2020 and lang = "en"') == parse_filter(
    ...     {"and": [{"field": "year", "op": ">=", "value": 2020}, {"lang": "en"}]})
    True
    """
    if isinstance(source, str):
        return parse_text(source)
    return parse_structure(source)


class BoundFilter:
    """A filter whose names and types were checked against the fields of an index.

    >>> table = pa.table({"year": [2019.0, 2021.0, None]})
    >>> bind(parse_filter("year >= 2020"), Fields({"year": "number"})).mask(table).tolist()
    [False, True, False]
    """

    __slots__ = ("_root", "filter")

    def __init__(self, filter: Filter, root: _Node) -> None:
        self.filter = filter
        self._root = root

    def mask(self, table: pa.Table) -> Mask:
        """Return which rows match, bool of shape (n_rows,).

        A column that the table lacks counts as absent in every row. Columns are read once for
        each condition on them, no row is touched from Python.
        """
        return self._root.mask(table)

    def __repr__(self) -> str:
        return f"BoundFilter({self.filter})"


def bind(filter: Filter, fields: Fields) -> BoundFilter:
    """Return the filter ready to run; FilterError names unknown fields and wrong types.

    >>> bind(parse_filter("year >= 2020"), Fields({"year": "number"}))
    BoundFilter(year >= 2020)
    """
    return BoundFilter(filter, _bound(filter, fields))


class _Node(ABC):
    """A part of a bound filter."""

    @abstractmethod
    def mask(self, table: pa.Table) -> Mask:
        """Return which rows of the table pass."""


class _Every(_Node):
    def __init__(self, parts: list[_Node]) -> None:
        self._parts = parts

    def mask(self, table: pa.Table) -> Mask:
        found = self._parts[0].mask(table)
        for part in self._parts[1:]:
            if not found.any():
                break
            found &= part.mask(table)
        return found


class _Any(_Node):
    def __init__(self, parts: list[_Node]) -> None:
        self._parts = parts

    def mask(self, table: pa.Table) -> Mask:
        found = self._parts[0].mask(table)
        for part in self._parts[1:]:
            if found.all():
                break
            found |= part.mask(table)
        return found


class _Complement(_Node):
    def __init__(self, part: _Node) -> None:
        self._part = part

    def mask(self, table: pa.Table) -> Mask:
        return ~self._part.mask(table)


class _Condition(_Node):
    """A condition on one column; False where the value, or the whole column, is absent."""

    def __init__(self, name: str, kind: FieldType) -> None:
        self._name, self._type = name, ARROW_TYPES[kind]

    def mask(self, table: pa.Table) -> Mask:
        found = np.zeros(table.num_rows, np.bool_)
        at = table.schema.get_field_index(self._name)
        if at < 0:
            return found
        column = table.column(at)
        if column.type != self._type:
            raise IndexFormatError(
                f"the column {self._name!r} holds {column.type}; {self._type} is expected",
                hint="lsr check the index",
            )
        start = 0
        for chunk in column.chunks:
            self._fill(chunk, found[start : start + len(chunk)])
            start += len(chunk)
        return found

    @abstractmethod
    def _fill(self, chunk: pa.Array[Any], found: Mask) -> None:
        """Set in `found` which values of the chunk pass."""


class _Exists(_Condition):
    def _fill(self, chunk: pa.Array[Any], found: Mask) -> None:
        found[:] = _booleans(chunk.is_valid())


class _Compare(_Condition):
    def __init__(self, name: str, kind: FieldType, op: str, value: pa.Scalar[Any]) -> None:
        super().__init__(name, kind)
        self._compare: Any = _COMPARE[op]
        self._value = value

    def _fill(self, chunk: pa.Array[Any], found: Mask) -> None:
        found[:] = _booleans(self._compare(chunk, self._value))


class _OneOf(_Condition):
    def __init__(self, name: str, kind: FieldType, values: pa.Array[Any]) -> None:
        super().__init__(name, kind)
        self._values = values

    def _fill(self, chunk: pa.Array[Any], found: Mask) -> None:
        found[:] = _booleans(pc.is_in(chunk, value_set=self._values))


class _Contains(_Condition):
    """At least one string of the list is among `values`; or, `without`, a list has none of them."""

    def __init__(self, name: str, values: pa.Array[Any], *, without: bool = False) -> None:
        super().__init__(name, FieldType.STRINGS)
        self._values, self._without = values, without

    def _fill(self, chunk: pa.Array[Any], found: Mask) -> None:
        strings = chunk.flatten()  # type: ignore[attr-defined]
        hits = _booleans(pc.is_in(strings, value_set=self._values))
        found[pc.list_parent_indices(chunk).to_numpy()[hits]] = True
        if self._without:
            found[:] = _booleans(chunk.is_valid()) & ~found


def _booleans(array: Any) -> Mask:
    found: Mask = array.fill_null(False).to_numpy(zero_copy_only=False)
    return found


def _bound(filter: Filter, fields: Fields) -> _Node:
    match filter:
        case And(parts):
            return _Every([_bound(part, fields) for part in parts])
        case Or(parts):
            return _Any([_bound(part, fields) for part in parts])
        case Not(part):
            return _Complement(_bound(part, fields))
        case Exists(name):
            if name == "_id":
                raise FilterError("every document has an _id; it takes '=' and 'in'")
            return _Exists(name, _known(name, fields))
        case In(name, values):
            return _bound_in(name, values, fields)
        case Comparison(name, op, value):
            return _bound_comparison(name, op, value, fields)
    raise FilterError(f"{short(filter)} is not a filter; make one with parse_filter")


def _bound_in(name: str, values: tuple[Value, ...], fields: Fields) -> _Node:
    kind = _known(name, fields)
    if kind is FieldType.BOOLEAN:
        raise FilterError(f"the field {short(name)} is a boolean; it takes '=' and '!='")
    stored = [_stored(name, kind, value) for value in values]
    if kind is FieldType.STRINGS:
        return _Contains(name, pa.array(stored, ARROW_TYPES[FieldType.STRING]))
    return _OneOf(name, kind, pa.array(stored, ARROW_TYPES[kind]))


def _bound_comparison(name: str, op: str, value: Value, fields: Fields) -> _Node:
    kind = _known(name, fields)
    if name == "_id" and op != "=":
        raise FilterError(f"_id takes '=' and 'in', not '{op}'")
    if op not in ("=", "!=") and kind in (FieldType.BOOLEAN, FieldType.STRINGS):
        also = "" if kind is FieldType.BOOLEAN else " and 'in'"
        raise FilterError(
            f"the field {short(name)} is of type {kind}, which has no order; it takes '=', '!='"
            f"{also}, not '{op}'"
        )
    stored = _stored(name, kind, value)
    if kind is FieldType.STRINGS:
        strings = pa.array([stored], ARROW_TYPES[FieldType.STRING])
        return _Contains(name, strings, without=op == "!=")
    return _Compare(name, kind, op, pa.scalar(stored, ARROW_TYPES[kind]))


def _known(name: str, fields: Fields) -> FieldType:
    if name == "_id":
        return FieldType.STRING
    kind = fields.get(name)
    if kind is None:
        raise FilterError(f"the filter names the field {short(name)}; {_listing(name, fields)}")
    return kind


def _listing(name: str, fields: Fields) -> str:
    """Name the known fields, those most like `name` first."""
    if not fields:
        return "the index has no metadata fields"
    by_lower = {known.lower(): known for known in fields}
    close = [by_lower[key] for key in difflib.get_close_matches(name.lower()[:100], by_lower, n=3)]
    names = [*close, *(known for known in fields if known not in close)]
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    meant = f"did you mean {short(close[0])}? " if close else ""
    return f"{meant}the index has {', '.join(map(short, names[:_LISTED]))}{more}"


def _stored(name: str, kind: FieldType, value: Value) -> str | bool | int | float:
    """Return a value as the column keeps it, or raise FilterError that says what fits."""
    text = isinstance(value, str)
    if kind in (FieldType.STRING, FieldType.STRINGS) and text:
        return value
    if kind is FieldType.BOOLEAN and isinstance(value, bool):
        return value
    if kind is FieldType.NUMBER and not text and not isinstance(value, bool):
        return float(value)
    if kind is FieldType.DATE and isinstance(value, str):
        millis = date_from_text(value)
        if millis is not None:
            return millis
    form = {
        FieldType.STRING: 'text in quotes, as in "2020"',
        FieldType.STRINGS: 'text in quotes, as in "2020"',
        FieldType.NUMBER: "a number without quotes",
        FieldType.BOOLEAN: "true or false",
        FieldType.DATE: "a date such as 2020-01-31 or 2020-01-31T10:00:00Z",
    }[kind]
    raise FilterError(
        f"the field {short(name)} is of type {kind}; the filter compares it with {short(value)}, "
        f"and {form} is expected"
    )
