from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from lsr.corpus_fields import BadRecord, FieldMap
from lsr.errors import ConfigError
from lsr.types import Document


def reason(values: dict[str, Any], mapping: FieldMap | None = None) -> str:
    with pytest.raises(BadRecord) as caught:
        (mapping or FieldMap()).document({"_id": "d", "text": "t"} | values)
    return str(caught.value)


def fields(values: dict[str, Any], mapping: FieldMap | None = None) -> dict[str, Any]:
    return dict((mapping or FieldMap()).document({"_id": "d", "text": "t"} | values).fields)


@pytest.mark.parametrize("name", ["_id", "id", "doc_id", "docno"])
def test_the_id_is_found_under_its_usual_names(name: str) -> None:
    assert FieldMap().document({name: "d1", "text": "t"}) == Document("d1", text="t")


def test_the_id_that_was_not_used_stays_a_field() -> None:
    assert fields({"id": 5}) == {"id": 5}


def test_an_integer_id_becomes_a_string() -> None:
    assert FieldMap().document({"_id": 12, "text": "t"}).id == "12"


@pytest.mark.parametrize("name", ["text", "contents", "default_text"])
def test_the_text_is_found_under_its_usual_names(name: str) -> None:
    assert FieldMap().document({"_id": "d", name: "t"}).text == "t"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"_id": None}, "the id, field '_id', is null; a string is expected"),
        ({"_id": ""}, "the id, field '_id', is empty"),
        ({"_id": " "}, "the id, field '_id', is empty"),
        ({"_id": 1.5}, "the id, field '_id', is a number; a string is expected"),
        ({"_id": True}, "the id, field '_id', is a boolean; a string is expected"),
        ({"_id": ["a"]}, "the id, field '_id', is a list; a string is expected"),
        ({"_id": "a\tb"}, r"the id 'a\tb' holds a control character"),
        ({"_id": "a\x85b"}, r"the id 'a\x85b' holds a control character"),
        ({"_id": "a\ud800"}, r"the id 'a\ud800' holds half of a surrogate pair"),
        ({"text": 5}, "field 'text' is an integer; a string is expected there"),
        ({"title": ["x"]}, "field 'title' is a list; a string is expected there"),
        ({"text": "\udfff"}, r"field 'text' holds half of a surrogate pair (\ud800 to \udfff)"),
        ({"text": ""}, "empty text: 'title' and 'text' hold nothing"),
        ({"text": " \n", "title": None}, "empty text: 'title' and 'text' hold nothing"),
        ({"x": float("inf")}, "field 'x' is inf; a finite number is expected"),
        (
            {"x": ["a", 1]},
            "field 'x' is a list that holds an integer; a list may hold strings only",
        ),
        ({"x": ["a", None]}, "field 'x' is a list that holds a null; a list may hold strings only"),
        ({"x": ["\ud800"]}, r"field 'x' holds half of a surrogate pair (\ud800 to \udfff)"),
        ({"_title": "x"}, "field '_title' has a name that the index keeps for itself; rename it"),
        ({"a": 1, "metadata": {"a": 2}}, "field 'a' comes twice"),
        ({"a\ud800": 1}, r"the name of field 'a\ud800' holds half of a surrogate pair"),
    ],
)
def test_a_bad_value_is_named(values: dict[str, Any], expected: str) -> None:
    assert reason(values) == expected


def test_an_id_of_more_than_512_bytes_is_refused() -> None:
    assert FieldMap().document({"_id": "é" * 256, "text": "t"}).id == "é" * 256
    assert "is longer than 512 bytes" in reason({"_id": "é" * 257})


def test_a_missing_id_names_the_fields_there_are() -> None:
    with pytest.raises(BadRecord, match=r"no field '_id' \(the fields are: key, text\)"):
        FieldMap().document({"key": "a", "text": "t"})


def test_a_missing_text_names_the_fields_there_are() -> None:
    with pytest.raises(
        BadRecord, match=r"no field 'title' or 'text' \(the fields are: _id, body\)"
    ):
        FieldMap().document({"_id": "a", "body": "t"})


def test_a_title_alone_is_enough() -> None:
    assert FieldMap().document({"_id": "a", "title": "T"}) == Document("a", "T")


def test_vectors_need_no_text() -> None:
    assert FieldMap().document({"_id": "a"}, need_text=False) == Document("a")


def test_metadata_keeps_its_types_and_null_is_absent() -> None:
    given = {"s": "x", "b": True, "i": 3, "f": 0.5, "l": ["a", "b"], "e": [], "day": "2024-05-01"}
    assert fields(given | {"gone": None}) == given


def test_the_nested_metadata_of_beir_is_flattened() -> None:
    assert fields({"metadata": {"year": 2020, "gone": None}, "lang": "en"}) == {
        "year": 2020,
        "lang": "en",
    }


def test_a_nested_object_is_refused_unless_it_is_left_out() -> None:
    assert reason({"author": {"name": "A"}}).startswith("field 'author' is an object; a string,")
    assert fields({"author": {"name": "A"}, "year": 1}, FieldMap(keep=("year",))) == {"year": 1}
    assert fields({"author": {"name": "A"}}, FieldMap(keep=())) == {}


def test_an_integer_that_a_number_cannot_hold_exactly_is_refused() -> None:
    assert fields({"x": 2**60}) == {"x": 2**60}
    assert "read the field as a string" in reason({"x": 2**60 + 1})
    assert "read the field as a string" in reason({"x": 10**400})
    assert fields({"x": 2**60 + 1}, FieldMap(types={"x": "string"})) == {"x": str(2**60 + 1)}


def test_fields_are_mapped_joined_and_renamed() -> None:
    mapping = FieldMap(
        id="sku", title="name", text=("short", "long"), rename={"price_eur": "price"}
    )
    values = {"sku": "s1", "name": "Lamp", "short": "A", "long": "B", "price_eur": 5, "_id": "x"}
    with pytest.raises(BadRecord, match="keeps for itself"):
        mapping.document(values)
    del values["_id"]
    assert mapping.document(values) == Document("s1", "Lamp", "A B", {"price": 5})
    values["short"] = None
    assert mapping.document(values).text == "B"


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("number", "12", 12),
        ("number", " 1.5 ", 1.5),
        ("number", Decimal("2.5"), 2.5),
        ("boolean", "Yes", True),
        ("boolean", 0, False),
        ("boolean", False, False),
        ("string", 5, "5"),
        ("string", True, "true"),
        ("strings", "one", ["one"]),
        ("strings", ["a"], ["a"]),
        ("date", "2024-05-01", dt.datetime(2024, 5, 1, tzinfo=dt.UTC)),
        ("date", "2024-05-01T12:00:00+02:00", dt.datetime(2024, 5, 1, 10, tzinfo=dt.UTC)),
        ("date", "2024-05-01T12:00:00Z", dt.datetime(2024, 5, 1, 12, tzinfo=dt.UTC)),
        ("date", dt.date(2024, 5, 1), dt.datetime(2024, 5, 1, tzinfo=dt.UTC)),
    ],
)
def test_a_declared_type_converts(kind: Any, value: Any, expected: Any) -> None:
    assert fields({"x": value}, FieldMap(types={"x": kind})) == {"x": expected}


def test_an_empty_cell_of_a_declared_type_is_absent() -> None:
    assert fields({"x": ""}, FieldMap(types={"x": "number"})) == {}


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("number", "twelve"),
        ("number", True),
        ("boolean", "maybe"),
        ("date", "last week"),
        ("date", 5),
        ("strings", 5),
        ("string", ["a"]),
    ],
)
def test_a_value_that_does_not_convert_is_refused(kind: Any, value: Any) -> None:
    found = reason({"x": value}, FieldMap(types={"x": kind}))
    assert found == f"field 'x': {value!r} cannot be read as a {kind}"


def test_not_a_number_is_refused_although_it_converts() -> None:
    assert reason({"x": "nan"}, FieldMap(types={"x": "number"})).startswith("field 'x' is nan")


def test_dates_of_a_table_become_utc() -> None:
    assert fields({"x": dt.date(2024, 5, 1)}) == {"x": dt.datetime(2024, 5, 1, tzinfo=dt.UTC)}


def test_unknown_types_and_taken_names_are_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="the types are string, number, boolean, date, strings"):
        FieldMap(types={"x": "float"})  # type: ignore[dict-item]
    with pytest.raises(ConfigError, match="cannot be renamed to '_text'"):
        FieldMap(rename={"x": "_text"})
