"""Examples: a query and its documents, read from a record of any of the usual shapes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lsr.added_terms import FIELD, with_added
from lsr.corpus_fields import BadRecord

#: Where the parts of an example are looked for, in this order.
QUERY_NAMES = ("query", "anchor", "question")
POSITIVE_NAMES = ("positive", "positives", "pos", "answer", "document")
NEGATIVE_NAMES = ("negative", "negatives", "negs", "neg")
LIST_NAMES = ("docs", "documents", "passages")

_SHAPES = (
    "expected `query` with `positive` (and `negatives`), or with `docs` and `scores` (or `labels`)"
)


@dataclass(frozen=True, slots=True)
class Example:
    """A query and its documents, relevant ones first; `scores` has one row for each field."""

    query: str
    documents: tuple[str, ...]
    n_positives: int = 1
    scores: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    source: str = ""
    line: int = 0


def example_from_record(
    values: Mapping[str, Any], *, score_fields: Sequence[str] = (), source: str = "", line: int = 0
) -> Example:
    """Return the record as an Example; BadRecord says what is wrong with it.

    Pairs (`query`, `positive`), triples (`query`, `positive`, `negative` or a list of
    `negatives`) and lists (`query`, `docs`) are told by their fields. Of a list the first
    document is the relevant one, or those with a label above 0. A document is a text or an object
    with `title`, `text` and `added_terms` (see `lsr.added_terms`). Each of `score_fields` must hold
    a number for each document, in the order of the record.

    >>> example_from_record({"query": "q", "positive": "a", "negatives": ["b"]}).documents
    ('a', 'b')
    """
    query = _text(_first(values, QUERY_NAMES, "query"), "query")
    listed = next((name for name in LIST_NAMES if name in values), None)
    if listed is not None:
        documents = _texts(values[listed], listed)
        relevant = _relevant(values.get("labels"), len(documents))
    else:
        positives = _texts(_first(values, POSITIVE_NAMES, "relevant document"), "positive")
        named = next((name for name in NEGATIVE_NAMES if values.get(name) is not None), None)
        negatives = [] if named is None else _texts(values[named], named, empty=True)
        documents = positives + negatives
        relevant = [True] * len(positives) + [False] * len(negatives)
    order = sorted(range(len(documents)), key=lambda at: not relevant[at])
    scores = {name: _scores(values, name, len(documents)) for name in score_fields}
    return Example(
        query,
        tuple(documents[at] for at in order),
        sum(relevant),
        {name: tuple(row[at] for at in order) for name, row in scores.items()},
        source,
        line,
    )


def pair_by_rule(
    values: Mapping[str, Any],
    query: Sequence[str],
    document: Sequence[str],
    *,
    source: str = "",
    line: int = 0,
) -> Example:
    """Return a pair whose sides are made of the named fields, joined by a blank.

    >>> pair_by_rule({"title": "tea", "text": "A drink."}, ["title"], ["text"]).documents
    ('A drink.',)
    """
    sides = []
    for names in (query, document):
        parts = [_text(values.get(name), name, empty=True) for name in names]
        joined = " ".join(part for part in parts if part)
        if not joined:
            raise BadRecord(f"there is no text in {' + '.join(map(repr, names))}")
        sides.append(joined)
    return Example(sides[0], (sides[1],), source=source, line=line)


def _first(values: Mapping[str, Any], names: Sequence[str], what: str) -> Any:
    for name in names:
        if values.get(name) is not None:
            return values[name]
    found = ", ".join(repr(name) for name in list(values)[:8]) or "nothing"
    raise BadRecord(f"there is no {what} (found {found}); {_SHAPES}")


def _texts(value: Any, name: str, *, empty: bool = False) -> list[str]:
    found = list(value) if isinstance(value, list | tuple) else [value]
    if not found and not empty:
        raise BadRecord(f"{name!r} is an empty list; at least one document is expected")
    return [_text(one, name) for one in found]


def _text(value: Any, name: str, *, empty: bool = False) -> str:
    added = None
    if isinstance(value, Mapping):
        parts = (str(value.get(part) or "") for part in ("title", "text"))
        added = value.get(FIELD)
        value = " ".join(part for part in parts if part)
    if value is None and empty:
        return ""
    if not isinstance(value, str):
        raise BadRecord(f"{name!r} holds a {type(value).__name__}; a text is expected")
    text = value.strip()
    if not text and not empty:
        raise BadRecord(f"{name!r} is empty")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadRecord(f"{name!r} holds a lone surrogate at {error.start}") from error
    return text if added is None else _with_added(text, added, name)


def _with_added(text: str, added: Any, name: str) -> str:
    terms = [added] if isinstance(added, str) else added
    if not isinstance(terms, list | tuple):
        raise BadRecord(
            f"{FIELD!r} of {name!r} is {added!r}; a text or a list of texts is expected"
        )
    return with_added(text, [_text(one, FIELD, empty=True) for one in terms])


def _relevant(labels: Any, count: int) -> list[bool]:
    if labels is None:
        return [at == 0 for at in range(count)]
    if not isinstance(labels, list | tuple) or len(labels) != count:
        raise BadRecord(f"'labels' must be a list of {count} numbers, one for each document")
    found = [_number(label, "labels") > 0 for label in labels]
    if not any(found):
        raise BadRecord("no label is above 0; an example needs a relevant document")
    return found


def _scores(values: Mapping[str, Any], name: str, count: int) -> tuple[float, ...]:
    found = values.get(name)
    if found is None:
        raise BadRecord(f"there are no {name!r}, which a teacher of this recipe stands on")
    if not isinstance(found, list | tuple) or len(found) != count:
        size = len(found) if isinstance(found, list | tuple) else 1
        raise BadRecord(f"{name!r} holds {size} numbers for {count} documents")
    return tuple(_number(one, name) for one in found)


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadRecord(f"{name!r} holds {value!r}; numbers are expected")
    if not math.isfinite(value):
        raise BadRecord(f"{name!r} holds {value!r}; finite numbers are expected")
    return float(value)
