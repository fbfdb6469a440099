"""Metadata values: which type a first value settles, and how each type reads its values."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import date
from enum import StrEnum
from typing import Any

import numpy as np

from .dates import date_from_datetime, date_from_text, text_from_datetime

#: Integers up to this size are exact in float64, which is how numbers are kept.
MAX_INTEGER = 2**53

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


class FieldType(StrEnum):
    """What a metadata field holds, the same in every document of an index."""

    STRING = "string"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    STRINGS = "strings"


class Misfit(Exception):
    """A value is not of the type asked for; carries what would be wrong beyond the type."""


def type_of(value: object) -> FieldType | None:
    """Return the type that a first value settles, or None if no field can hold it."""
    value = _plain(value)
    if isinstance(value, bool):
        return FieldType.BOOLEAN
    if isinstance(value, int | float):
        return FieldType.NUMBER
    if isinstance(value, str):
        return FieldType.STRING if date_from_text(value) is None else FieldType.DATE
    if isinstance(value, date):
        return FieldType.DATE
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return FieldType.STRINGS
    return None


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value


def _string(value: object) -> str:
    if isinstance(value, str):
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise Misfit("it holds half a surrogate pair, which is no text") from None
        return value
    raise Misfit


def _number(value: object) -> float:
    value = _plain(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Misfit("a number is finite")
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        if not -MAX_INTEGER <= value <= MAX_INTEGER:
            raise Misfit("an integer beyond 2^53 is not exact as a number")
        return float(value)
    raise Misfit


def _boolean(value: object) -> bool:
    value = _plain(value)
    if isinstance(value, bool):
        return value
    raise Misfit


def _date(value: object) -> int:
    millis = None
    if isinstance(value, str):
        millis = date_from_text(value)
    elif isinstance(value, date):
        millis = date_from_datetime(value)
        if millis is None:
            raise Misfit("a date is in the years 1 to 9999 UTC")
    if millis is None:
        raise Misfit
    return millis


def _strings(value: object) -> list[str]:
    if isinstance(value, list | tuple):
        return [_string(item) for item in value]
    raise Misfit


def _text_of_anything(value: object) -> str:
    value = _plain(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, date):
        return text_from_datetime(value) or value.isoformat()
    return _string(value)


def _number_or_text(value: object) -> float | None:
    if not isinstance(value, str):
        return _number(value)
    text = value.strip()
    if text and _NUMBER.fullmatch(text) is None:
        raise Misfit
    if not text:
        return None
    # Longer digits are beyond 2^53 whatever they say, and Python limits how many it will read.
    return _number(int(text) if text.lstrip("+-").isdigit() and len(text) < 400 else float(text))


def _boolean_or_text(value: object) -> bool | None:
    if not isinstance(value, str):
        return _boolean(value)
    text = value.strip().lower()
    if text not in ("true", "false", ""):
        raise Misfit
    return text == "true" if text else None


def _date_or_text(value: object) -> int | None:
    if isinstance(value, str):
        value = value.strip()
        if not value:
            return None
    return _date(value)


def _strings_or_text(value: object) -> list[str]:
    return [_string(value)] if isinstance(value, str) else _strings(value)


#: How a field reads a value that is not None; raises Misfit.
STRICT: dict[FieldType, Callable[[Any], object]] = {
    FieldType.STRING: _string,
    FieldType.NUMBER: _number,
    FieldType.BOOLEAN: _boolean,
    FieldType.DATE: _date,
    FieldType.STRINGS: _strings,
}
#: The same for a declared field, where None is an absent value.
LENIENT: dict[FieldType, Callable[[Any], object]] = {
    FieldType.STRING: _text_of_anything,
    FieldType.NUMBER: _number_or_text,
    FieldType.BOOLEAN: _boolean_or_text,
    FieldType.DATE: _date_or_text,
    FieldType.STRINGS: _strings_or_text,
}


def kind_of(value: object) -> str:
    """Return a word for what a value is, in the words of FieldType where there is one."""
    value = _plain(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string" if date_from_text(value) is None else "a date"
    if isinstance(value, date):
        return "a date"
    if isinstance(value, list | tuple):
        whole = all(isinstance(item, str) for item in value)
        return "a list of strings" if whole else "a list that is not all strings"
    return "an object" if isinstance(value, Mapping) else f"a {type(value).__name__}"


def shortened(value: object) -> str:
    """Return the value as one short piece of text for a message."""
    if isinstance(value, str | list | tuple):
        value = value[:60]
    try:
        shown = repr(value)
    except ValueError:  # Python refuses to write out integers of thousands of digits
        return "an integer of thousands of digits"
    return shown if len(shown) <= 60 else f"{shown[:57]}…"
