from __future__ import annotations

import json
import operator
from collections.abc import Mapping
from typing import Any

from filter_cases import FIELDS, table_of
from hypothesis import given, settings
from hypothesis import strategies as st

from lsr.errors import FilterError
from lsr.index.dates import date_from_text, datetime_from_millis
from lsr.index.filters import And, Comparison, Exists, Filter, In, Not, Or, bind, parse_filter
from lsr.types import FieldValue

TEXT = st.text("aZ2-`\"'\\ \n\x01é字🐈", max_size=4) | st.sampled_from(["2020-01-31", "and", "en"])
DAYS = st.sampled_from(
    ["2020-01-31", "2020-01-31T10:00:00Z", "2020-01-31T11:00:00+01:00", "2020-02-01", "1969-12-31"]
)
NUMBERS = st.integers(-2, 2) | st.sampled_from([0.5, 1e300, 2**53, -1.25e-7])
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "lang": TEXT,
    "year": NUMBERS,
    "open": st.booleans(),
    "published": DAYS,
    "tags": TEXT,
    "my field": TEXT,
}
DOCUMENTS = st.lists(
    st.fixed_dictionaries(
        {}, optional={**VALUES, "tags": st.lists(TEXT, max_size=3)}
    ),
    max_size=7,
)  # fmt: skip


def comparisons(name: str) -> st.SearchStrategy[Filter]:
    value, kind = VALUES[name], FIELDS[name]
    ops = ["=", "!="] if kind in ("boolean", "strings") else ["=", "!=", "<", "<=", ">", ">="]
    found: st.SearchStrategy[Filter] = st.builds(
        Comparison, st.just(name), st.sampled_from(ops), value
    ) | st.just(Exists(name))
    if kind != "boolean":
        found |= st.builds(In, st.just(name), st.lists(value, max_size=3).map(tuple))
    return found


def grown(parts: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
    several = st.lists(parts, min_size=2, max_size=3).map(tuple)
    return st.builds(Not, parts) | st.builds(And, several) | st.builds(Or, several)


FILTERS = st.recursive(st.sampled_from(list(VALUES)).flatmap(comparisons), grown, max_leaves=6)
ANY_VALUE = TEXT | NUMBERS | st.booleans()
ANY_NAME = st.text("aZ_2-.` é字\"'\\", min_size=1, max_size=4) | st.sampled_from(["and", "In"])
ANY_FILTERS = st.recursive(
    st.builds(Comparison, ANY_NAME, st.sampled_from(["=", "<="]), ANY_VALUE)
    | st.builds(Exists, ANY_NAME)
    | st.builds(In, ANY_NAME, st.lists(ANY_VALUE, max_size=3).map(tuple)),
    grown,
    max_leaves=6,
)
COMPARE = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def plain(name: str, value: Any) -> Any:
    """Return a value as plain Python compares it."""
    if FIELDS[name] == "date":
        millis = date_from_text(value)
        assert millis is not None
        return datetime_from_millis(millis)
    return value.encode() if isinstance(value, str) else value


def holds(filter: Filter, row: Mapping[str, FieldValue]) -> bool:
    """Evaluate a filter on one document in plain Python: the oracle."""
    if isinstance(filter, And):
        return all(holds(part, row) for part in filter.parts)
    if isinstance(filter, Or):
        return any(holds(part, row) for part in filter.parts)
    if isinstance(filter, Not):
        return not holds(filter.part, row)
    assert isinstance(filter, Comparison | In | Exists)
    stored: Any = row.get(filter.field)
    if stored is None or isinstance(filter, Exists):
        return stored is not None
    if isinstance(filter, In):
        wanted = [plain(filter.field, value) for value in filter.values]
        if isinstance(stored, list):
            return any(item.encode() in wanted for item in stored)
        return plain(filter.field, stored) in wanted
    if isinstance(stored, list):
        return (filter.value in stored) == (filter.op == "=")
    value = plain(filter.field, filter.value)
    return bool(COMPARE[filter.op](plain(filter.field, stored), value))


@settings(deadline=None)
@given(FILTERS, DOCUMENTS, st.integers(1, 3))
def test_every_mask_equals_plain_python(
    filter: Filter, rows: list[dict[str, Any]], chunk: int
) -> None:
    found = bind(filter, FIELDS).mask(table_of(rows, chunk=chunk))
    assert found.tolist() == [holds(filter, row) for row in rows]


@settings(deadline=None)
@given(ANY_FILTERS)
def test_text_and_json_read_back_to_an_equal_filter(filter: Filter) -> None:
    again = parse_filter(str(filter))
    assert again == filter
    assert hash(again) == hash(filter)
    assert repr(again) == repr(filter)
    assert parse_filter(json.loads(json.dumps(filter.to_json()))) == filter


@settings(deadline=None)
@given(st.text("ab=<>!()[],'\"`\\ 12.-:TZ\n&|é\x00\ud800", max_size=30))
def test_no_text_does_anything_but_parse_or_explain(text: str) -> None:
    try:
        found = parse_filter(text)
    except FilterError as error:
        assert error.message
    else:
        assert parse_filter(str(found)) == found
