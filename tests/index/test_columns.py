from __future__ import annotations

import io
import math
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsr.errors import DataError, IndexFormatError
from lsr.index.columns import MAX_FIELDS, Fields, FieldType
from lsr.index.dates import (
    date_from_datetime,
    date_from_text,
    datetime_from_millis,
    text_from_datetime,
)
from lsr.types import Document


def document(identifier: str = "d1", /, **fields: Any) -> Document:
    return Document(identifier, fields=fields)


def learnt(*documents: Document) -> Fields:
    fields = Fields()
    for each in documents:
        fields = fields.learn(each)
    return fields


def table_of(fields: Fields, documents: list[Document]) -> pa.Table:
    return pa.table(fields.arrays(documents), schema=pa.schema(fields.arrow_fields()))


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("en", "string"),
        ("", "string"),
        ("2020", "string"),
        ("20200131", "string"),
        ("2020-02-30", "string"),
        ("2020-1-31", "string"),
        ("2020-01-31 ", "string"),
        ("2020-01-31T25:00:00Z", "string"),
        ("2020-01-31T24:00:00Z", "string"),
        ("2020-W05-5", "string"),
        ("0000-01-01", "string"),
        ("٢٠٢٠-٠١-٣١", "string"),
        ("9999-12-31T23:59:59-01:00", "string"),
        ("2020-01-31", "date"),
        ("2020-01-31T10:00Z", "date"),
        ("2020-01-31T10:00:00.123456+0530", "date"),
        ("2020-01-31T10:00:00", "date"),
        (datetime(2020, 1, 31), "date"),
        (date(2020, 1, 31), "date"),
        (True, "boolean"),
        (np.bool_(False), "boolean"),
        (1, "number"),
        (1.5, "number"),
        (np.int32(7), "number"),
        (2**53, "number"),
        (["a"], "strings"),
        ([], "strings"),
        (("a", "b"), "strings"),
    ],
)
def test_the_first_value_settles_the_type(value: Any, kind: str) -> None:
    assert learnt(document(x=value))["x"] == kind


def test_learning_nothing_new_returns_the_same_fields_and_leaves_them_as_they_were() -> None:
    first = learnt(document(year=2020))
    assert first.learn(document(year=2021)) is first
    assert first.learn(document()) is first
    assert first.learn(document(url=None)) is first
    grown = first.learn(document(lang="en"))
    assert list(first) == ["year"]
    assert list(grown) == ["year", "lang"]
    assert grown != first


@pytest.mark.parametrize(
    ("known", "value", "found"),
    [
        ("number", "n/a", "'n/a', a string; the first one seen was number"),
        ("number", True, "True, a boolean; the first one seen was number"),
        ("boolean", 1, "1, a number; the first one seen was boolean"),
        ("string", 5, "5, a number; the first one seen was string"),
        ("string", ["a"], "a list of strings; the first one seen was string"),
        ("string", datetime(2020, 1, 1), "a date; the first one seen was string"),
        ("date", "circa 1900", "'circa 1900', a string; the first one seen was date"),
        ("date", 2020, "2020, a number; the first one seen was date"),
        ("strings", "a", "'a', a string; the first one seen was strings"),
        ("strings", ["a", 1], "a list that is not all strings; the first one seen was strings"),
        ("strings", ["a", None], "a list that is not all strings"),
        ("number", {"a": 1}, "an object; the first one seen was number"),
        ("number", [], "a list of strings; the first one seen was number"),
    ],
)
def test_a_value_of_another_type_is_refused_by_name(known: str, value: Any, found: str) -> None:
    fields = Fields({"x": known})
    with pytest.raises(DataError) as caught:
        fields.learn(document("doc-7", x=value))
    assert caught.value.message.startswith("document 'doc-7': field 'x' is ")
    assert found in caught.value.message
    assert "--field x:string" in (caught.value.hint or "")
    with pytest.raises(DataError, match="doc-7"):
        fields.arrays([document("fine"), document("doc-7", x=value)])


@pytest.mark.parametrize("value", [{"a": 1}, [1, 2], ["a", ["b"]], [None], b"bytes", object()])
def test_a_first_value_that_no_field_can_hold_is_refused(value: Any) -> None:
    with pytest.raises(DataError, match=r"field 'x' is .* a field holds a string, a number"):
        learnt(document(x=value))


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (2**53 + 1, "2\\^53"),
        (-(2**53) - 1, "2\\^53"),
        pytest.param(10**5000, "thousands of digits; an integer", id="huge"),
        (math.nan, "finite"),
        (-math.inf, "finite"),
        ("\ud800", "surrogate"),
        (["\udfff"], "surrogate"),
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))), "years 1 to 9999"),
    ],
)
def test_values_that_cannot_be_kept_exactly_are_refused_at_once(value: Any, why: str) -> None:
    with pytest.raises(DataError, match=why):
        learnt(document(x=value))


def test_a_long_value_is_shortened_in_the_message() -> None:
    with pytest.raises(DataError) as caught:
        Fields({"x": "number"}).learn(document(x="y" * 10**6))
    assert len(caught.value.message) < 200


@pytest.mark.parametrize("name", ["_id", "_", "", "a\nb", "a\x7f", "\ud800"])
def test_reserved_and_unprintable_names_are_refused(name: str) -> None:
    with pytest.raises(DataError, match="a metadata field is named"):
        Fields().learn(Document("d1", fields={name: 1}))
    with pytest.raises(DataError, match="a metadata field is named"):
        Fields().declare({name: "string"})


def test_names_may_be_anything_else() -> None:
    names = ["my field", "`", "données", "字段", "and", "a.b-c", "1st", "🐈"]
    fields = Fields().learn(Document("d1", fields=dict.fromkeys(names, 1)))
    assert list(fields) == names
    assert Fields.from_json(fields.to_json()) == fields


def test_a_corpus_with_data_in_its_keys_is_stopped() -> None:
    many = {f"key{i}": 1 for i in range(MAX_FIELDS)}
    fields = Fields().learn(Document("d1", fields=many))
    assert len(fields) == MAX_FIELDS
    with pytest.raises(DataError, match=r"more than 1000 different metadata fields.*'last'"):
        fields.learn(document(last=1))


def test_a_date_like_string_stays_a_string_once_the_field_is_string() -> None:
    documents = [document(x="soon"), document(x="2020-01-31")]
    table = table_of(learnt(*documents), documents)
    assert table.column("x").to_pylist() == ["soon", "2020-01-31"]


def test_declared_types_hold_before_the_first_value_and_read_text() -> None:
    declared = {
        "zip": FieldType.STRING,
        "year": FieldType.NUMBER,
        "open": FieldType.BOOLEAN,
        "when": FieldType.DATE,
        "tags": FieldType.STRINGS,
    }
    documents = [
        document(zip=2139, year=" 2020 ", open="TRUE", when=" 2020-01-31", tags="a"),
        document(zip=True, year="", open="", when="", tags=""),
        document(zip=datetime(2020, 1, 31), year=1.5, open=False, when="2020-02-01", tags=["a"]),
        document(zip=10**20, year="-1e3", open="false", when=date(2020, 1, 1), tags=[]),
    ]
    fields = Fields()
    for each in documents:
        fields = fields.learn(each, declared=declared)
    assert dict(fields) == declared
    assert fields == Fields().declare(declared)
    table = table_of(fields, documents)
    assert [fields.row_fields(table, row) for row in range(4)] == [
        {"zip": "2139", "year": 2020, "open": True, "when": utc(2020, 1, 31), "tags": ["a"]},
        {"zip": "true", "tags": [""]},
        {
            "zip": "2020-01-31",
            "year": 1.5,
            "open": False,
            "when": utc(2020, 2, 1),
            "tags": ["a"],
        },
        {
            "zip": "100000000000000000000",
            "year": -1000,
            "open": False,
            "when": utc(2020, 1, 1),
            "tags": [],
        },
    ]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("number", "n/a"),
        ("number", "nan"),
        ("number", "1_000"),
        ("number", "1e999"),
        ("number", "9" * 5000),
        ("number", "9007199254740993"),
        ("number", True),
        ("boolean", "yes"),
        ("boolean", 1),
        ("date", "soon"),
        ("string", ["a"]),
        ("strings", 1),
    ],
)
def test_a_declared_field_still_refuses_what_it_cannot_read(kind: str, value: Any) -> None:
    fields = Fields().declare({"x": kind})
    with pytest.raises(DataError, match="field 'x'"):
        fields.learn(document(x=value))


def test_declaring_checks_types_and_what_is_known() -> None:
    fields = learnt(document(year=2020))
    with pytest.raises(DataError, match="declared as 'int'; a type is one of string, number"):
        fields.declare({"x": "int"})
    with pytest.raises(DataError, match="declared as string; the index has it as number"):
        fields.declare({"year": "string"})
    assert fields.declare({}) is fields
    again = fields.declare({"year": "number"})
    assert again.to_json() == {"year": {"type": "number", "declared": True}}
    assert again.declare({"year": "number"}) is again


def test_json_keeps_order_types_and_declarations() -> None:
    fields = learnt(document(b=1, a="x")).declare({"c": "date"})
    assert list(fields.to_json()) == ["b", "a", "c"]
    assert Fields.from_json(fields.to_json()) == fields
    assert hash(Fields.from_json(fields.to_json())) == hash(fields)
    assert Fields.from_json({}) == Fields()


@pytest.mark.parametrize(
    "found", [{"x": "number"}, {"x": {}}, {"x": {"type": "int"}}, {"x": None}, ["x"], None]
)
def test_json_of_another_shape_is_an_unreadable_index(found: Any) -> None:
    with pytest.raises(IndexFormatError, match="metadata fields of the index cannot be read"):
        Fields.from_json(found)


def test_a_field_that_was_not_learnt_is_refused_and_not_dropped() -> None:
    with pytest.raises(DataError, match=r"document 'd1' has the field 'new'.*it knows 'year'"):
        Fields({"year": "number"}).arrays([document(new=1)])
    (years,) = Fields({"year": "number"}).arrays([document(new=None)])
    assert years.to_pylist() == [None]


def test_no_documents_and_no_fields_make_empty_columns() -> None:
    assert Fields().arrays([document()]) == []
    assert [len(array) for array in Fields({"x": "strings"}).arrays([])] == [0]


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]


# A few characters of each kind: hypothesis takes seconds to list all of Unicode on a fresh machine.
TEXT = st.text("a2-\"'`\\\0\n \x7fé字🐈\u2028\uffff", max_size=8)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "string": TEXT,
    "number": st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False),
    "boolean": st.booleans(),
    "date": st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1)).map(
        lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000, tzinfo=UTC)
    ),
    "strings": st.lists(TEXT, max_size=3),
}


@settings(deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries({}, optional={kind: VALUES[kind] for kind in VALUES}), max_size=6
    ),
    st.integers(1, 3),
)
def test_values_come_back_from_an_arrow_file_as_they_went_in(
    rows: list[dict[str, Any]], chunk: int
) -> None:
    documents = [Document(str(at), fields=row) for at, row in enumerate(rows)]
    fields = Fields({kind: kind for kind in VALUES})
    for each in documents:
        assert fields.learn(each) is fields
    sink = io.BytesIO()
    schema = pa.schema(fields.arrow_fields())
    with pa.ipc.new_file(sink, schema) as writer:
        for start in range(0, len(documents), chunk):
            arrays = fields.arrays(documents[start : start + chunk])
            writer.write_batch(pa.record_batch(arrays, schema=schema))
    table = pa.ipc.open_file(sink.getvalue()).read_all()
    assert [fields.row_fields(table, row) for row in range(len(rows))] == rows
    for row in range(len(rows)):
        for name, value in fields.row_fields(table, row).items():
            assert type(value) is not bool or name == "boolean"


def test_row_fields_leaves_out_columns_that_the_segment_does_not_have() -> None:
    old = learnt(document(year=2020))
    new = old.learn(document(lang="en"))
    table = table_of(old, [document(year=2019)])
    assert new.row_fields(table, 0) == {"year": 2019}
    assert new.row_fields(table.to_batches()[0], 0) == {"year": 2019}


def test_dates_are_instants_in_utc() -> None:
    same = ["2020-01-31T10:00:00Z", "2020-01-31T11:00:00+01:00", "2020-01-31T10:00"]
    assert {date_from_text(text) for text in same} == {1580464800000}
    assert date_from_text("2020-01-31T10:00:00.0019999Z") == 1580464800001
    assert date_from_text("1969-12-31T23:59:59.9999Z") == -1
    assert date_from_text("2020-01-31") == date_from_text("2020-01-31T00:00:00Z")
    assert date_from_text("0001-01-01T00:00:00+14:00") is None


@settings(deadline=None)
@given(st.datetimes(timezones=st.none() | st.just(UTC)))
def test_the_text_of_a_datetime_reads_back_to_the_same_instant(moment: datetime) -> None:
    millis = date_from_datetime(moment)
    text = text_from_datetime(moment)
    assert millis is not None
    assert text is not None
    assert date_from_text(text) == millis
    assert date_from_datetime(datetime_from_millis(millis)) == millis
