"""From the structure of a filter, as JSON gives it, to its tree."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import cast

from lsr.errors import FilterError

from .dates import text_from_datetime
from .filter_tree import (
    MAX_COMPARISONS,
    MAX_DEPTH,
    MAX_VALUES,
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

_CONNECTIVES = {"and", "or", "not"}
_SHAPES = (
    '{"and": […]}, {"or": […]}, {"not": {…}}, {"field": name, "op": ">=", "value": 1}, '
    '{"field": name, "op": "exists"} or {name: value, …}'
)


def parse_structure(structure: Mapping[str, object]) -> Filter:
    """Return the tree of a filter's structure; FilterError says what is wrong in which part.

    >>> str(parse_structure({"year": 2020, "lang": ["en", "de"]}))
    'year = 2020 and lang in ["en", "de"]'
    """
    return _filter(structure, 1)


def _filter(found: object, level: int) -> Filter:
    if level > MAX_DEPTH:
        raise FilterError(f"the filter is more than {MAX_DEPTH} levels deep")
    if isinstance(found, Filter):
        return found
    if not isinstance(found, Mapping):
        raise FilterError(f"the filter has {short(found)} where one of {_SHAPES} is expected")
    if not found:
        raise FilterError(f"the filter has an empty object where one of {_SHAPES} is expected")
    keys = set(found)
    if not all(isinstance(key, str) for key in keys):
        raise FilterError("the filter has a key that is not a string")
    if keys & _CONNECTIVES:
        return _connective(found, level)
    if keys & {"field", "op"}:
        return _condition(found)
    return _short_form(found)


def _connective(found: Mapping[str, object], level: int) -> Filter:
    if len(found) > 1:
        raise FilterError(
            f"the filter has {', '.join(map(short, found))} in one object; 'and', 'or' and 'not' "
            "stand alone in theirs",
            hint='a field of that name: {"field": "and", "op": "=", "value": …}',
        )
    word, inside = next(iter(found.items()))
    if word == "not":
        return Not(_filter(inside, level + 1))
    if not isinstance(inside, list | tuple) or not inside:
        raise FilterError(f"'{word}' takes a list of conditions; it has {short(inside)}")
    if len(inside) > MAX_COMPARISONS:
        raise FilterError(f"the filter makes more than {MAX_COMPARISONS} comparisons")
    parts = tuple(_filter(part, level + 1) for part in inside)
    if len(parts) == 1:
        return parts[0]
    return And(parts) if word == "and" else Or(parts)


def _condition(found: Mapping[str, object]) -> Filter:
    op = found.get("op")
    op = op.lower() if isinstance(op, str) else op
    if op not in (*OPERATORS, "in", "exists"):
        raise FilterError(
            f"a condition of the filter has the 'op' {short(found.get('op'))}; known: "
            f"{', '.join(OPERATORS)}, in, exists"
        )
    expected = {"field", "op"} if op == "exists" else {"field", "op", "value"}
    if set(found) != expected:
        raise FilterError(
            f"a condition with '{op}' has the keys {', '.join(map(short, found))}; "
            f"expected {', '.join(sorted(expected))}"
        )
    name = cast(str, found["field"])  # the nodes check the name
    if op == "exists":
        return Exists(name)
    value = found["value"]
    if op == "in":
        if not isinstance(value, list | tuple | set | frozenset):
            raise FilterError(f"'in' takes a list of values; {short(name)} has {short(value)}")
        return In(name, _values(value, name))
    return Comparison(name, cast(Operator, op), _value(value, name))


def _short_form(found: Mapping[str, object]) -> Filter:
    parts: list[Filter] = []
    for name, value in found.items():
        if isinstance(value, list | tuple | set | frozenset):
            parts.append(In(name, _values(value, name)))
        elif isinstance(value, Mapping):
            raise FilterError(
                f"the filter has an object for the field {short(name)}; a value or a list is "
                "expected",
                hint=f'{{"field": {short(name)}, "op": ">=", "value": …}}',
            )
        else:
            parts.append(Comparison(name, "=", _value(value, name)))
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def _values(
    found: list[object] | tuple[object, ...] | set[object] | frozenset[object], name: str
) -> tuple[Value, ...]:
    if len(found) > MAX_VALUES:
        raise FilterError(
            f"the list for {short(name)} has {len(found)} values; at most {MAX_VALUES} are read",
            hint="split the list over several searches",
        )
    values = tuple(_value(value, name) for value in found)
    if isinstance(found, set | frozenset):  # sets have no order of their own; the text needs one
        return tuple(sorted(values, key=lambda value: (type(value).__name__, str(value))))
    return values


def _value(found: object, name: str) -> Value:
    if isinstance(found, date):
        text = text_from_datetime(found)
        if text is None:
            raise FilterError(f"field {short(name)}: {found} is outside the years 1 to 9999 UTC")
        return text
    try:
        return plain_value(found)
    except FilterError as error:
        raise FilterError(f"field {short(name)}: {error.message}", hint=error.hint) from None
