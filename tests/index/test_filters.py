from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from filter_cases import FIELDS, table_of

from lsr.errors import ConfigError, FilterError, IndexFormatError
from lsr.index.columns import Fields
from lsr.index.filters import And, Comparison, Exists, Filter, In, Not, Or, bind, parse_filter

ROWS: list[dict[str, Any]] = [
    {"lang": "en", "year": 2019, "open": True, "published": "2020-01-31", "tags": ["a", "b"]},
    {"lang": "de", "year": 2020, "open": False, "published": "2020-01-31T10:00:00Z", "tags": []},
    {"lang": "é", "year": 2020.5, "tags": ["b", "c"], "my field": "x y"},
    {"lang": "", "published": "2021-01-01"},
    {},
]


def matches(source: str | Mapping[str, Any], table: pa.Table | None = None) -> list[int]:
    table = table_of(ROWS) if table is None else table
    found = bind(parse_filter(source), FIELDS).mask(table)
    assert found.dtype == np.bool_
    assert found.shape == (table.num_rows,)
    return np.flatnonzero(found).tolist()


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ('lang = "en"', [0]),
        ('lang != "en"', [1, 2, 3]),
        ('not (lang = "en")', [1, 2, 3, 4]),
        ('not lang = "en"', [1, 2, 3, 4]),
        ('lang > "en"', [2]),
        ('lang < "en"', [1, 3]),
        ("lang in [\"en\", 'é']", [0, 2]),
        (r'lang = "\u00e9"', [2]),
        ('lang in [""]', [3]),
        ("lang in []", []),
        ("not lang in []", [0, 1, 2, 3, 4]),
        ("year = 2020", [1]),
        ("year >= 2020", [1, 2]),
        ("year > 2.02e3", [2]),
        ("year < 2020", [0]),
        ("year <= +2020.", [0, 1]),
        ("year in [2019, 2020.5]", [0, 2]),
        ("open = true", [0]),
        ("open != TRUE", [1]),
        ("published = 2020-01-31", [0]),
        ('published = "2020-01-31"', [0]),
        ("published >= 2020-01-31 and published < 2020-02-01", [0, 1]),
        ("published = 2020-01-31T11:00:00+01:00", [1]),
        ("published in [2020-01-31, 2021-01-01]", [0, 3]),
        ('tags = "b"', [0, 2]),
        ('tags != "b"', [1]),
        ('not tags = "b"', [1, 3, 4]),
        ('tags in ["a", "c"]', [0, 2]),
        ("exists tags", [0, 1, 2]),
        ("exists url", None),
        ("exists `my field`", [2]),
        ('`my field` = "x y"', [2]),
        ('_id = "d1"', [1]),
        ('_id in ["d4", "d0", "nobody"]', [0, 4]),
        ('lang = "en" or lang = "de" and open = true', [0]),
        ('(lang = "en" or lang = "de") and open = true', [0]),
        ('lang = "de" or lang = "en" and open = false', [1]),
        ("NOT Exists year AnD not\n\texists tags", [3, 4]),
        ("not not exists year", [0, 1, 2]),
    ],
)
def test_a_text_finds_what_it_says(text: str, rows: list[int] | None) -> None:
    if rows is None:
        with pytest.raises(FilterError, match="'url'"):
            matches(text)
    else:
        assert matches(text) == rows


@pytest.mark.parametrize(
    ("structure", "text"),
    [
        ({"field": "year", "op": ">=", "value": 2020}, "year >= 2020"),
        ({"field": "lang", "op": "in", "value": ["en", "de"]}, 'lang in ["en", "de"]'),
        ({"field": "lang", "op": "IN", "value": {"b", "a"}}, 'lang in ["a", "b"]'),
        ({"field": "url", "op": "exists"}, "exists url"),
        ({"year": 2020, "lang": ["en", "de"]}, 'year = 2020 and lang in ["en", "de"]'),
        ({"open": True}, "open = true"),
        ({"and": [{"a": 1}, {"or": [{"b": 2}, {"c": 3}]}]}, "a = 1 and (b = 2 or c = 3)"),
        ({"or": [{"a": 1}, {"and": [{"b": 2}, {"c": 3}]}]}, "a = 1 or b = 2 and c = 3"),
        ({"not": {"a": 1, "b": 2}}, "not (a = 1 and b = 2)"),
        ({"and": [{"a": 1}]}, "a = 1"),
        ({"and": ({"a": 1}, Exists("b"))}, "a = 1 and exists b"),
        ({"field": "and", "op": "=", "value": 1}, "`and` = 1"),
        ({"my`field": "2020-01-31"}, "`my``field` = 2020-01-31"),
        ({"when": datetime(2020, 1, 31, 10, tzinfo=UTC)}, "when = 2020-01-31T10:00:00Z"),
        ({"when": date(2020, 1, 31)}, "when = 2020-01-31"),
        ({"x": -0.0}, "x = 0"),
        ({"x": 2.0}, "x = 2"),
        ({"x": 1e300}, "x = 1e+300"),
        ({"x": 'a"\\\n\u2028🐈'}, 'x = "a\\"\\\\\\n\u2028🐈"'),
    ],
)
def test_a_structure_is_the_same_filter_as_its_text(
    structure: Mapping[str, Any], text: str
) -> None:
    found = parse_filter(structure)
    assert str(found) == text
    assert parse_filter(text) == found
    assert parse_filter(json.loads(json.dumps(found.to_json()))) == found


@pytest.mark.parametrize(
    ("text", "at", "what"),
    [
        ("", 1, "an empty filter where a field name is expected"),
        ("  \n", 4, "an empty filter"),
        ("year >=", 8, "the end where a value"),
        ("year >= and lang", 9, "'and' where a value"),
        ("year", 5, "the end where =, !=, <, <=, >, >= or 'in' after the field 'year'"),
        ("year 2020", 6, "'2020' where =, !="),
        ("year = 2020 lang = 1", 13, "'lang' where 'and', 'or' or the end"),
        ("(year = 2020", 13, "the end where ')', 'and' or 'or'"),
        ("year = 2020)", 12, "')' where 'and', 'or' or the end"),
        ("year in 2020", 9, "'2020' where '[' and a list"),
        ("year in [2020 2021]", 15, "'2021' where ',' or ']'"),
        ("year in [2020,]", 15, "']' where a value"),
        ("year in [", 10, "the end where a value"),
        ("year = en", 8, "'en' where a value"),
        ("year = NULL", 8, "'NULL' where a value"),
        ("year == 2020", 6, "'==' where"),
        ("year <> 2020", 6, "'<>' where"),
        ("a = 1 && b = 2", 7, "'&&' where"),
        ("!a = 1", 1, "'!' where"),
        ("a = 2020-1", 5, "neither a number nor a date"),
        ("a = 1e999", 5, "inf is not a finite number"),
        ("a = 9007199254740993", 5, "beyond 2^53"),
        (f"a = {'9' * 5000}", 5, "more than 400 digits"),
        ("a = 1_000", 5, "'1_000', neither a number nor a date"),
        ('a = "b', 5, 'a " without its closing "'),
        ("a = 'b", 5, "a ' without its closing '"),
        ("`a = 1", 1, "a ` without its closing `"),
        ("`` = 1", 1, "'``' where a field name"),
        (r'a = "\q"', 6, r"the unknown escape '\\q'"),
        (r'a = "xy\u12"', 8, r"the unknown escape '\\u'"),
        (r'a = "\ud800"', 5, "half a surrogate pair"),
        ('"a" = 1', 1, "where a field name"),
        ("not = 1", 5, "'=' where a field name"),
        ("and", 1, "'and' where a field name"),
        ("exists", 7, "the end where a field name"),
        ("a not in [1]", 3, "'not' stands before the whole comparison"),
        ("a = 1; drop", 6, "';' where"),
        ("a = 1 or", 9, "the end where a field name"),
        ("()", 2, "')' where a field name"),
        ("a = \x1b[2J", 5, "'\\x1b' where a value"),
    ],
)
def test_a_syntax_error_points_at_its_place(text: str, at: int, what: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse_filter(text)
    sentence, shown, pointer = caught.value.message.split("\n")
    assert what in sentence
    assert f"at character {at}:" in sentence
    assert pointer == " " * (at + 1) + "^"
    assert shown.isprintable()


def test_the_pointer_shows_the_neighbourhood_in_a_long_text() -> None:
    text = " or ".join(f"year = {year}" for year in range(500)) + " or"
    with pytest.raises(FilterError) as caught:
        parse_filter(text)
    _, shown, pointer = caught.value.message.split("\n")
    assert len(shown) < 150
    assert shown.endswith("year = 499 or")
    assert pointer.index("^") == len(shown)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("year = en", 'text stands in quotes: "en"'),
        ("year = null", "not exists"),
        ("year == 1", "write '=' instead of '=='"),
        ("a = 1 || b = 1", "write 'or' instead of '||'"),
        ('"my field" = 1', "backticks"),
        ("a in [1] and not", None),
    ],
)
def test_common_mistakes_come_with_what_mends_them(text: str, hint: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_filter(text)
    assert (hint is None) == (caught.value.hint is None)
    assert (hint or "") in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("structure", "what"),
    [
        ({}, "an empty object"),
        ({"and": []}, "'and' takes a list of conditions; it has \\[\\]"),
        ({"or": {"a": 1}}, "'or' takes a list"),
        ({"and": [{"a": 1}], "b": 2}, "'and', 'b' in one object"),
        ({"and": [{"a": 1}], "or": [{"a": 1}]}, "stand alone"),
        ({"not": [{"a": 1}]}, "the filter has \\[\\{'a': 1\\}\\] where one of"),
        ({"and": ["a = 1"]}, "the filter has 'a = 1' where one of"),
        ({"field": "a", "op": "="}, "has the keys 'field', 'op'; expected field, op, value"),
        ({"field": "a", "op": "=", "value": 1, "boost": 2}, "'boost'; expected field, op, value"),
        ({"field": "a", "op": "exists", "value": 1}, "expected field, op"),
        ({"field": "a", "op": "==", "value": 1}, "has the 'op' '=='; known: =, !=, <"),
        ({"field": "a", "op": ["="], "value": 1}, "has the 'op' \\['='\\]"),
        ({"field": "a"}, "has the 'op' None"),
        ({"op": "=", "value": 1}, "expected field, op, value"),
        ({"field": 1, "op": "=", "value": 1}, "a field is named by a string, not by 1"),
        ({"field": ["a"], "op": "exists"}, "a field is named by a string"),
        ({"field": "a", "op": "in", "value": "b"}, "'in' takes a list of values; 'a' has 'b'"),
        ({"field": "a", "op": "=", "value": [1]}, "field 'a': \\[1\\] is not a value"),
        ({"a": {"gte": 1}}, "an object for the field 'a'"),
        ({"a": None}, "field 'a': None is not a value"),
        ({"a": [[1]]}, "field 'a': \\[1\\] is not a value"),
        ({"a": float("nan")}, "not a finite number"),
        ({"a": 2**53 + 1}, "beyond 2\\^53"),
        ({"a": "\ud800"}, "surrogate"),
        ({"a": datetime.max.replace(tzinfo=UTC).astimezone(UTC).replace(fold=0)}, None),
        ({"": 1}, "a field is named by a string, not by ''"),
        ({"a\n": 1}, "control characters"),
        ({"a\ud800": 1}, "control characters"),
        ({1: 2}, "a key that is not a string"),
    ],
)
def test_a_structure_of_another_shape_is_refused(
    structure: Mapping[Any, Any], what: str | None
) -> None:
    if what is None:
        assert str(parse_filter(structure)) == "a = 9999-12-31T23:59:59.999Z"
        return
    with pytest.raises(FilterError, match=what):
        parse_filter(structure)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("yaer = 2020", "the filter names the field 'yaer'; did you mean 'year'? the index has"),
        ("LANG = 'en'", "did you mean 'lang'"),
        ("zzz = 1", "names the field 'zzz'; the index has 'lang', 'year', 'open'"),
        ("exists _title", "names the field '_title'"),
        ("zzz in [1]", "names the field 'zzz'"),
        ('year = "abc"', "is of type number; the filter compares it with 'abc', and a number"),
        ("year = true", "type number.*True"),
        ("lang = 5", "type string; .* with 5, and text in quotes"),
        ("tags = 5", "type strings; .* with 5, and text in quotes"),
        ("open = 1", "type boolean; .* with 1, and true or false"),
        ("open < true", "type boolean, which has no order; it takes '=', '!=', not '<'"),
        ("open in [true]", "is a boolean; it takes '=' and '!='"),
        ("tags >= 'a'", "type strings, which has no order; it takes '=', '!=' and 'in', not '>='"),
        ("published = 'soon'", "type date; .* and a date such as"),
        ("published = 2020-02-30", "type date; .* and a date such as"),
        ("published > 2020", "type date; .* with 2020, and a date such as"),
        ("year in [1, 'b']", "type number; .* with 'b'"),
        ("_id != 'a'", "_id takes '=' and 'in', not '!='"),
        ("_id < 'a'", "_id takes '=' and 'in'"),
        ("_id = 1", "text in quotes"),
        ("exists _id", "every document has an _id"),
    ],
)
def test_names_and_types_are_checked_before_anything_runs(text: str, what: str) -> None:
    with pytest.raises(FilterError, match=what.replace("?", "\\?")):
        bind(parse_filter(text), FIELDS)


def test_an_index_without_fields_says_so_and_many_fields_are_cut_short() -> None:
    with pytest.raises(FilterError, match="the index has no metadata fields"):
        bind(parse_filter("a = 1"), Fields())
    many = Fields({f"field{at}": "number" for at in range(100)})
    with pytest.raises(FilterError, match="and 80 more"):
        bind(parse_filter("a = 1"), many)


def test_not_equal_needs_a_value_and_not_is_the_plain_complement() -> None:
    table = table_of([{"lang": "en"}, {"lang": "de"}, {}])
    assert matches('lang != "en"', table) == [1]
    assert matches('not (lang = "en")', table) == [1, 2]


def test_true_is_not_one() -> None:
    assert parse_filter("x = true") != parse_filter("x = 1")
    assert parse_filter("x in [true]") != parse_filter("x in [1]")
    assert len({parse_filter("x = true"), parse_filter("x = 1"), parse_filter("x = 1.0")}) == 2


def test_text_compares_by_its_bytes() -> None:
    words = ["", "A", "a", "z", "é", "字", "\uffff", "🐈"]
    table = table_of([{"lang": word} for word in words])
    assert sorted(words, key=str.encode) == words
    for at, word in enumerate(words):
        assert matches({"field": "lang", "op": "<", "value": word}, table) == list(range(at))


def test_a_column_that_the_segment_does_not_have_is_absent_in_every_row() -> None:
    table = pa.table({"_id": ["a", "b"]})
    assert matches("exists year", table) == []
    assert matches("year != 1", table) == []
    assert matches("not year = 1", table) == [0, 1]
    assert matches('tags != "a"', table) == []


def test_an_empty_table_gives_an_empty_mask() -> None:
    table = table_of([])
    for text in ("year = 1", 'tags != "a"', "not exists year", 'lang in ["a"] or open = true'):
        assert matches(text, table) == []


def test_a_column_of_another_arrow_type_is_an_unreadable_index() -> None:
    with pytest.raises(IndexFormatError, match="'year' holds int64; double is expected"):
        matches("year = 1", pa.table({"year": [1, 2]}))


def test_masks_work_on_a_memory_mapped_file_of_several_batches(tmp_path: Path) -> None:
    table = table_of(ROWS * 50, chunk=7)
    path = tmp_path / "documents.arrow"
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)
    with pa.memory_map(str(path)) as source:
        mapped = pa.ipc.open_file(source).read_all()
        assert mapped.column("tags").num_chunks > 10
        for text in ('tags in ["c"]', 'tags != "b"', "year > 2019", "published < 2020-06-01"):
            once = matches(text)
            expected = [part * len(ROWS) + row for part in range(50) for row in once]
            assert matches(text, mapped) == expected
            assert matches(text, mapped.slice(5, 100)) == expected[: 20 * len(once)]


@pytest.mark.parametrize("depth", [65, 100_000])
def test_hostile_depth_is_refused(depth: int) -> None:
    structure: dict[str, Any] = {"a": 1}
    chain: dict[str, Any] = {"a": 1}
    for _ in range(depth):
        structure = {"not": structure}
        chain = {"or": [chain, {"b": 1}]}
    for source in (
        "(" * depth + "a = 1" + ")" * depth,
        "not " * depth + "a = 1",
        "not (" * depth + "a = 1" + ")" * depth,
        "(" * depth,
        structure,
        chain,
    ):
        with pytest.raises(FilterError, match="more than 64 levels"):
            parse_filter(source)
    with pytest.raises(FilterError, match="more than 64 levels"):
        nested: Filter = Exists("a")
        for _ in range(depth):
            nested = Not(nested)


@pytest.mark.parametrize("word", ["not", "and", "or", "mixed"])
def test_the_deepest_tree_that_is_allowed_runs_and_reads_back(word: str) -> None:
    tree: Filter = Exists("year")
    for at in range(63):
        turn = at % 2 if word == "mixed" else {"and": 0, "or": 1, "not": 2}[word]
        leaf = Exists("lang")
        tree = Not(tree) if turn == 2 else And((leaf, tree)) if turn == 0 else Or((tree, leaf))
    assert tree.depth == 64
    assert parse_filter(str(tree)) == tree
    assert parse_filter(tree.to_json()) == tree
    assert bind(tree, FIELDS).mask(table_of(ROWS)).shape == (5,)


def test_a_filter_makes_a_thousand_comparisons_and_no_more() -> None:
    text = " or ".join(["year = 1"] * 1000)
    tree = parse_filter(text)
    assert tree.size == 1000
    for source in (text + " or year = 1", {"or": [{"a": 1}] * 1001}, {"or": [tree, tree]}):
        with pytest.raises(FilterError, match="more than 1000 comparisons") as caught:
            parse_filter(source)
        assert caught.value.hint is None or "in [" in caught.value.hint


def test_lists_and_texts_beyond_the_limit_are_refused() -> None:
    long = list(range(100_001))
    for source in (
        {"year": long},
        {"field": "year", "op": "in", "value": long},
        f"year in {long}",
    ):
        with pytest.raises(FilterError, match=r"100000 (values|are read)"):
            parse_filter(source)
    with pytest.raises(FilterError, match="100000 are read"):
        In("year", tuple(long))
    with pytest.raises(FilterError, match="at most 16000000 are read"):
        parse_filter(" " * 16_000_001)


def test_a_list_of_100000_values_is_read_and_run_within_seconds() -> None:
    values = [f"doc-{at}" for at in range(100_000)]
    started = time.perf_counter()
    from_structure = parse_filter({"_id": values})
    from_text = parse_filter(str(from_structure))
    table = pa.table({"_id": [f"doc-{at}" for at in range(0, 200_000, 2)]})
    found = bind(from_text, Fields()).mask(table)
    assert found.sum() == 50_000
    assert from_text == from_structure
    assert time.perf_counter() - started < 5


def test_trees_made_by_hand_are_checked_too() -> None:
    with pytest.raises(FilterError, match="joins at least two conditions; 1 given"):
        And((Exists("a"),))
    with pytest.raises(FilterError, match="'~' is not an operator"):
        Comparison("a", "~", 1)  # type: ignore[arg-type]
    with pytest.raises(FilterError, match="not a value of a filter"):
        Comparison("a", "=", None)  # type: ignore[arg-type]
    with pytest.raises(FilterError, match="is not a filter"):
        bind("a = 1", FIELDS)  # type: ignore[arg-type]
