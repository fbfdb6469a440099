"""Typed metadata: what each field of the documents may hold, and its Arrow column."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from lsr.errors import DataError, IndexFormatError
from lsr.types import Document, FieldValue

from .dates import datetime_from_millis
from .field_values import (
    LENIENT,
    MAX_INTEGER,
    STRICT,
    FieldType,
    Misfit,
    kind_of,
    shortened,
    type_of,
)

__all__ = ["ARROW_TYPES", "MAX_FIELDS", "FieldType", "Fields"]

#: More different names than this is a corpus that keeps data in its keys.
MAX_FIELDS = 1000

#: How a field of each type is kept; every column may be null.
ARROW_TYPES: dict[FieldType, pa.DataType] = {
    FieldType.STRING: pa.string(),
    FieldType.NUMBER: pa.float64(),
    FieldType.BOOLEAN: pa.bool_(),
    FieldType.DATE: pa.timestamp("ms", tz="UTC"),
    FieldType.STRINGS: pa.list_(pa.string()),
}


class Fields(Mapping[str, FieldType]):
    """The metadata fields of an index, in the order they were first seen, each with its type.

    Immutable; `learn` and `declare` return a grown copy. The first value seen of a field settles
    its type: true and false are boolean, integers and floats number, text that is a full ISO 8601
    date or datetime date, other text string, lists of strings strings. None is an absent value.

    A *declared* field also reads values that spell its type in another way: a string field any
    number, boolean or date as text; number, boolean and date fields their text (as CSV gives it;
    empty text is an absent value), strings fields a single string.

    >>> fields = Fields().learn(Document("d1", fields={"year": 2020, "tags": ["a"]}))
    >>> fields.to_json()
    {'year': {'type': 'number'}, 'tags': {'type': 'strings'}}
    """

    __slots__ = ("_columns",)

    _columns: Mapping[str, _Column]

    def __init__(self, types: Mapping[str, FieldType | str] | None = None) -> None:
        self._columns = {name: _Column(_type(name, kind)) for name, kind in (types or {}).items()}
        _check_names(self._columns)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Fields:
        """Return the fields that `to_json` wrote; IndexFormatError if it is not that shape."""
        try:
            columns = {
                name: _Column(FieldType(entry["type"]), bool(entry.get("declared", False)))
                for name, entry in found.items()
            }
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise IndexFormatError(
                f"the metadata fields of the index cannot be read: {error!r}; each is expected as "
                '{"type": one of ' + ", ".join(FieldType) + "}"
            ) from error
        return cls._of(columns)

    def to_json(self) -> dict[str, dict[str, Any]]:
        """Return a JSON object of field name to `{"type": …}`, with `"declared"` where true."""
        return {
            name: {"type": str(column.type)} | ({"declared": True} if column.declared else {})
            for name, column in self._columns.items()
        }

    def declare(self, types: Mapping[str, FieldType | str]) -> Fields:
        """Return these fields and the declared ones; DataError where a type is already another.

        >>> Fields().declare({"zip": "string"})["zip"].value
        'string'
        """
        added: dict[str, _Column] = {}
        for name, kind in types.items():
            wanted, known = _type(name, kind), self._columns.get(name)
            if known is not None and known.type is not wanted:
                raise DataError(
                    f"field {name!r} is declared as {wanted}; the index has it as {known.type}",
                    hint="make a new index to change the type of a field",
                )
            if known is None or not known.declared:
                added[name] = _Column(wanted, declared=True)
        return self._of({**self._columns, **added}) if added else self

    def learn(
        self, document: Document, *, declared: Mapping[str, FieldType] | None = None
    ) -> Fields:
        """Return self if the document's fields are all known and fit, else a grown copy.

        `declared` gives the types of fields not seen yet. Raises DataError that names the field,
        the value and both types if a value does not fit.

        >>> Fields().learn(Document("d1", fields={"seen": "2020-01-31"}))
        Fields(seen: date)
        """
        columns = self._columns
        new: dict[str, _Column] = {}
        given: Mapping[str, object] = document.fields
        for name, value in given.items():
            if value is None:
                continue
            column = columns.get(name)
            if column is None:
                if declared is not None and name in declared:
                    column = _Column(_type(name, declared[name]), declared=True)
                else:
                    column = _Column(_first_type(document.id, name, value))
                new[name] = column
            _read(column, document.id, name, value)
        return self._of({**columns, **new}) if new else self

    def arrow_fields(self) -> list[pa.Field[Any]]:
        """Return the Arrow field of each column, in order; all may be null."""
        return [pa.field(name, ARROW_TYPES[column.type]) for name, column in self._columns.items()]

    def arrays(self, documents: Sequence[Document]) -> list[pa.Array[Any]]:
        """Return one Arrow column for each field, with null where a document has no value.

        Raises DataError if a document has a field that is not known here, or a value that does
        not fit; after `learn` of the same documents it never does.

        >>> Fields({"year": "number"}).arrays([Document("d1")])[0].to_pylist()
        [None]
        """
        known = self._columns.keys()
        rows = [document.fields for document in documents]
        for document in documents:
            if not document.fields.keys() <= known:
                self._refuse_unknown(document)
        return [
            self._array(name, column, [row.get(name) for row in rows], documents)
            for name, column in self._columns.items()
        ]

    def value(self, name: str, scalar: pa.Scalar[Any]) -> FieldValue | None:
        """Return one cell as Python: integral numbers as int, dates in UTC; None if absent."""
        if not scalar.is_valid:
            return None
        match self._columns[name].type:
            case FieldType.NUMBER:
                number = float(scalar.as_py())
                whole = number.is_integer() and abs(number) <= MAX_INTEGER
                return int(number) if whole else number
            case FieldType.DATE:
                # `as_py` would ask for a time zone database, which not every system has.
                return datetime_from_millis(int(scalar.value))  # type: ignore[attr-defined]
            case _:
                found: str | bool | list[str] = scalar.as_py()
                return found

    def row_fields(self, table: pa.Table | pa.RecordBatch, row: int) -> dict[str, FieldValue]:
        """Return the values of one row by name; absent values and absent columns are left out."""
        values: dict[str, FieldValue] = {}
        for name in self._columns:
            at = table.schema.get_field_index(name)
            found = None if at < 0 else self.value(name, table.column(at)[row])
            if found is not None:
                values[name] = found
        return values

    def __getitem__(self, name: str) -> FieldType:
        return self._columns[name].type

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Fields):
            return NotImplemented
        return list(self._columns.items()) == list(other._columns.items())

    def __hash__(self) -> int:
        return hash(tuple(self._columns.items()))

    def __repr__(self) -> str:
        return f"Fields({', '.join(f'{name}: {kind}' for name, kind in self.items())})"

    @classmethod
    def _of(cls, columns: Mapping[str, _Column]) -> Fields:
        _check_names(columns)
        fields = cls()
        fields._columns = columns
        return fields

    def _array(
        self, name: str, column: _Column, values: list[Any], documents: Sequence[Document]
    ) -> pa.Array[Any]:
        read = _reader(column)
        try:
            cells = [None if value is None else read(value) for value in values]
        except Misfit:
            for document, value in zip(documents, values, strict=True):
                if value is not None:
                    _read(column, document.id, name, value)
            raise  # pragma: no cover - the loop finds the same value again and explains it
        return pa.array(cells, type=ARROW_TYPES[column.type])

    def _refuse_unknown(self, document: Document) -> None:
        for name, value in document.fields.items():
            if name not in self._columns and value is not None:
                raise DataError(
                    f"document {document.id!r} has the field {name!r}, which the index does not "
                    f"know; it knows {', '.join(map(repr, self)) or 'none'}"
                )


class _Column(NamedTuple):
    type: FieldType
    declared: bool = False


def _check_names(names: Mapping[str, object]) -> None:
    for name in names:
        fault = _name_fault(name)
        if fault:
            raise DataError(f"a metadata field is named {shortened(name)}; {fault}")
    if len(names) > MAX_FIELDS:
        raise DataError(
            f"there are more than {MAX_FIELDS} different metadata fields, the last of them "
            f"{shortened([*names][-1])}; an index has a column for each",
            hint="put the keys that differ from document to document into a list of strings",
        )


def _name_fault(name: object) -> str | None:
    if not isinstance(name, str) or not name:
        return "a name is a string of at least one character"
    if name.startswith("_"):
        return "names that begin with _ are kept for lsr"
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        return "a name has no control characters"
    return None


def _type(name: str, kind: FieldType | str) -> FieldType:
    try:
        return FieldType(kind)
    except ValueError as error:
        raise DataError(
            f"field {name!r} is declared as {kind!r}; a type is one of {', '.join(FieldType)}"
        ) from error


def _first_type(document: str, name: str, value: object) -> FieldType:
    found = type_of(value)
    if found is None:
        raise DataError(
            f"document {document!r}: field {name!r} is {shortened(value)}, {kind_of(value)}; a "
            "field holds a string, a number, a boolean, a date or a list of strings",
            hint="leave the field out, or flatten it before indexing",
        )
    return found


def _read(column: _Column, document: str, name: str, value: object) -> None:
    """Raise DataError that explains it if the value does not fit the column."""
    try:
        _reader(column)(value)
    except Misfit as misfit:
        found = f"document {document!r}: field {name!r} is {shortened(value)}"
        hint = f"declare the type when the index is made: --field {name}:"
        if misfit.args:
            raise DataError(
                f"{found}; {misfit}", hint=f"give it as a string, or {hint}string"
            ) from None
        known = "it is declared as" if column.declared else "the first one seen was"
        listed = FieldType.STRINGS in (column.type, type_of(value))
        raise DataError(
            f"{found}, {kind_of(value)}; {known} {column.type}",
            hint=hint + (FieldType.STRINGS if listed else FieldType.STRING),
        ) from None


def _reader(column: _Column) -> Callable[[Any], object]:
    return (LENIENT if column.declared else STRICT)[column.type]
