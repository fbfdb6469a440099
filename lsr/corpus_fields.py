"""FieldMap: which field of a record becomes the id, the title, the text and the metadata."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Literal

from lsr.errors import ConfigError
from lsr.types import Document, FieldValue

FieldKind = Literal["string", "number", "boolean", "date", "strings"]
KINDS: tuple[FieldKind, ...] = ("string", "number", "boolean", "date", "strings")

#: Where the id is looked for, in this order, when the record has no `_id`.
ID_FALLBACKS = ("id", "doc_id", "docno")
#: Where the text is looked for, in this order, when the record has no `text`.
TEXT_FALLBACKS = ("contents", "default_text")
#: Names that the index keeps for itself.
RESERVED = frozenset({"_id", "_title", "_text", "_spans"})
#: The longest id, in bytes of UTF-8.
ID_BYTES = 512

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_EXACT = 2**53


class BadRecord(Exception):
    """A record cannot become a document; the message is the reason a user reads."""


@dataclass(frozen=True, slots=True)
class FieldMap:
    """Which field becomes what; the defaults read BEIR, Anserini and lsr-benchmark files.

    `id`: with the default, a record without `_id` is asked for `id`, `doc_id`, `docno`. `text`:
    one name or several, joined by a blank; with the default, a record without `text` is asked for
    `contents`, `default_text`. `keep`: the other fields to keep as metadata, "all" or their
    names. `rename`: new names of metadata fields. `types`: fields to convert, by the name they
    have in the file, to string, number, boolean, date (ISO 8601; UTC when it names no zone) or
    strings; a value that does not convert makes the record bad.

    >>> FieldMap(id="sku", text=("name", "notes")).document(
    ...     {"sku": 7, "name": "Lamp", "notes": "Brass.", "price": 9.5})
    Document(id='7', title='', text='Lamp Brass.', fields={'price': 9.5})
    """

    id: str = "_id"
    title: str = "title"
    text: str | tuple[str, ...] = "text"
    keep: Literal["all"] | tuple[str, ...] = "all"
    rename: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, FieldKind] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, kind in self.types.items():
            if kind not in KINDS:
                raise ConfigError(
                    f"field {name!r}: type {kind!r} is not known; the types are {', '.join(KINDS)}"
                )
        for name in self.rename.values():
            if name in RESERVED or not name:
                raise ConfigError(f"a field cannot be renamed to {name!r}: the name is taken")

    def wanted(self) -> frozenset[str] | None:
        """Return the names of the fields that are read, None for all of them."""
        if self.keep == "all":
            return None
        names = {self.id, self.title, *self._texts(), *self.keep, "metadata"}
        if self.id == "_id":
            names.update(ID_FALLBACKS)
        if self.text == "text":
            names.update(TEXT_FALLBACKS)
        return frozenset(names)

    def document(self, values: Mapping[str, Any], *, need_text: bool = True) -> Document:
        """Return the record as a Document, every value checked.

        Raises BadRecord with the reason. With `need_text` false a record without any text is
        good too (precomputed vectors need none).
        """
        id_name = self._id_name(values)
        identity = _identity(values.get(id_name), id_name, values)
        title = _text(values.get(self.title), self.title)
        text_names = self._text_names(values)
        if len(text_names) == 1:
            text = _text(values.get(text_names[0]), text_names[0])
        else:
            parts = [_text(values.get(name), name) for name in text_names]
            text = " ".join(part for part in parts if part)
        if need_text and not (text and not text.isspace()) and not title.strip():
            raise BadRecord(_no_text(values, (self.title, *text_names)))
        used = (id_name, self.title, *text_names)
        return Document(identity, title, text, self._fields(values, used))

    def _texts(self) -> tuple[str, ...]:
        return (self.text,) if isinstance(self.text, str) else tuple(self.text)

    def _id_name(self, values: Mapping[str, Any]) -> str:
        if self.id == "_id" and "_id" not in values:
            for name in ID_FALLBACKS:
                if name in values:
                    return name
        return self.id

    def _text_names(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        if self.text == "text" and "text" not in values:
            for name in TEXT_FALLBACKS:
                if name in values:
                    return (name,)
        return self._texts()

    def _fields(self, values: Mapping[str, Any], used: tuple[str, ...]) -> dict[str, FieldValue]:
        fields: dict[str, FieldValue] = {}
        for name, value in values.items():
            if name in used or value is None:
                continue
            if name == "metadata" and isinstance(value, Mapping):
                for inner, nested in value.items():
                    self._keep(fields, inner, nested)
            else:
                self._keep(fields, name, value)
        return fields

    def _keep(self, fields: dict[str, FieldValue], name: str, value: Any) -> None:
        if value is None or (self.keep != "all" and name not in self.keep):
            return
        checked = _value(name, value, self.types.get(name))
        if checked is None:
            return
        new = self.rename.get(name, name)
        if new in RESERVED or not new:
            raise BadRecord(f"field {new!r} has a name that the index keeps for itself; rename it")
        if not storable(new):
            raise BadRecord(f"the name of field {_quoted(new)} holds half of a surrogate pair")
        if new in fields:
            raise BadRecord(f"field {new!r} comes twice")
        fields[new] = checked


def storable(text: str) -> bool:
    """Return whether the text can be written as UTF-8 (no half of a surrogate pair)."""
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def type_name(value: Any) -> str:
    """Return what a JSON user calls the type of a value."""
    if value is None:
        return "null"
    names = {bool: "boolean", int: "integer", float: "number", str: "string", dict: "object"}
    return names.get(type(value), type(value).__name__)


def _quoted(value: Any) -> str:
    shown = ascii(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."


def _identity(value: Any, name: str, values: Mapping[str, Any]) -> str:
    if value is None:
        if name in values:
            raise BadRecord(f"the id, field {name!r}, is null; a string is expected")
        shown = ", ".join(list(values)[:10]) or "none"
        raise BadRecord(f"no id: there is no field {name!r} (the fields are: {shown})")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise BadRecord(
            f"the id, field {name!r}, is {_article(type_name(value))}; a string is expected"
        )
    if not value.strip():
        raise BadRecord(f"the id, field {name!r}, is empty")
    if not value.isprintable() and _CONTROL.search(value):
        raise BadRecord(f"the id {_quoted(value)} holds a control character")
    if not storable(value):
        raise BadRecord(f"the id {_quoted(value)} holds half of a surrogate pair")
    if len(value) > ID_BYTES // 4 and len(value.encode("utf-8")) > ID_BYTES:
        raise BadRecord(f"the id {_quoted(value)} is longer than {ID_BYTES} bytes")
    return value


def _text(value: Any, name: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadRecord(
            f"field {name!r} is {_article(type_name(value))}; a string is expected there"
        )
    if not storable(value):
        raise BadRecord(f"field {name!r} holds half of a surrogate pair (\\ud800 to \\udfff)")
    return value


def _no_text(values: Mapping[str, Any], names: tuple[str, ...]) -> str:
    if any(name in values for name in names):
        return "empty text: " + " and ".join(repr(name) for name in names) + " hold nothing"
    shown = ", ".join(list(values)[:10])
    return f"no text: there is no field {' or '.join(map(repr, names))} (the fields are: {shown})"


def _article(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeio" else f"a {noun}"


def _value(name: str, value: Any, kind: FieldKind | None) -> FieldValue | None:
    if kind is not None:
        return _convert(name, value, kind)
    if isinstance(value, str):
        return _text(value, name)
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float | Decimal):
        return _number(name, value)
    if isinstance(value, list):
        for item in value:
            if not isinstance(item, str):
                raise BadRecord(
                    f"field {name!r} is a list that holds {_article(type_name(item))}; "
                    "a list may hold strings only"
                )
            _text(item, name)
        return value
    if isinstance(value, date):
        return _utc(value)
    raise BadRecord(
        f"field {name!r} is {_article(type_name(value))}; a string, a number, a boolean or a list "
        "of strings is expected; choose the fields to keep, to leave it out"
    )


def _number(name: str, value: float | Decimal) -> int | float:
    if isinstance(value, int):
        if abs(value) > _EXACT and (value.bit_length() > 1023 or int(float(value)) != value):
            raise BadRecord(
                f"field {name!r}: {_quoted(value)} is too long for a number, which keeps 15 "
                "digits; read the field as a string"
            )
        return value
    number = float(value)
    if not math.isfinite(number):
        raise BadRecord(f"field {name!r} is {number}; a finite number is expected")
    return number


def _utc(value: date) -> datetime:
    if not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _convert(name: str, value: Any, kind: FieldKind) -> FieldValue | None:
    if isinstance(value, str) and kind != "string" and not value.strip():
        return None
    try:
        return _converted(name, value, kind)
    except (ValueError, OverflowError) as error:
        raise BadRecord(
            f"field {name!r}: {_quoted(value)} cannot be read as {_article(kind)}"
        ) from error


_BOOLEANS = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}


def _converted(name: str, value: Any, kind: FieldKind) -> FieldValue:
    if kind == "string" and isinstance(value, str | bool | int | float):
        if isinstance(value, bool):
            return "true" if value else "false"
        return _text(str(value), name)
    if kind == "number" and type(value) in (str, int, float, Decimal):
        if isinstance(value, str):
            value = int(value) if re.fullmatch(r"\s*[+-]?\d+\s*", value, re.A) else float(value)
        return _number(name, value)
    if kind == "boolean":
        if isinstance(value, bool):
            return value
        if isinstance(value, str | int) and str(value).strip().lower() in _BOOLEANS:
            return _BOOLEANS[str(value).strip().lower()]
    if kind == "date":
        if isinstance(value, date):
            return _utc(value)
        if isinstance(value, str):
            return _utc(datetime.fromisoformat(value.strip()))
    if kind == "strings":
        if isinstance(value, str):
            return [_text(value, name)]
        if isinstance(value, list):
            checked = _value(name, value, None)
            return checked if checked is not None else []
    raise ValueError(kind)
