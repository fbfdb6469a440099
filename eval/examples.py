"""Examples: the queries that a system wins and loses, with texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .datasets import Dataset
from .results import Shown, SystemResult
from .runs import Run

#: Wins, and losses, that are shown of each system.
_EACH = 5
_LONGEST = 200
_TIE = 1e-9


def pick_examples(
    dataset: Dataset,
    found: Sequence[SystemResult],
    runs: Mapping[str, Run],
    baseline: str,
    measure: str,
) -> dict[str, tuple[Shown, ...]]:
    """Return, for the exact systems, the queries that differ most from the baseline.

    Largest gains first, then largest losses, worst last. Reads the corpus once for the texts of
    the documents that are shown.
    """
    base = next(one for one in found if one.name == baseline)
    chosen = {
        one.name: extremes(one.per_query[measure], base.per_query[measure])
        for one in found
        if one.family != base.family and one.loss is None
    }
    firsts = {
        document
        for name, queries in chosen.items()
        for query in queries
        for document in (_first(runs[name], query), _first(runs[baseline], query))
    }
    texts = _texts(dataset, firsts)
    return {
        name: tuple(
            Shown(
                query,
                _short(dataset.queries[query]),
                next(one for one in found if one.name == name).per_query[measure][query],
                base.per_query[measure][query],
                texts.get(_first(runs[name], query), ""),
                texts.get(_first(runs[baseline], query), ""),
            )
            for query in queries
        )
        for name, queries in chosen.items()
        if queries
    }


def extremes(
    values: Mapping[str, float], base: Mapping[str, float], each: int = _EACH
) -> list[str]:
    """Return the queries with the largest gains, then those with the largest losses.

    >>> extremes({"a": 1.0, "b": 0.5, "c": 0.0}, {"a": 0.0, "b": 0.5, "c": 1.0})
    ['a', 'c']
    """
    gains = {query: values[query] - base[query] for query in base}
    ordered = sorted(gains, key=lambda query: (-gains[query], query))
    wins = [query for query in ordered if gains[query] > _TIE][:each]
    return wins + [query for query in ordered if gains[query] < -_TIE][-each:]


def _first(run: Run, query: str) -> str:
    return next(iter(run.get(query, ())), "")


def _texts(dataset: Dataset, wanted: set[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for document in dataset.documents():
        if document.id in wanted:
            found[document.id] = _short(document.title or document.text)
            if len(found) == len(wanted):
                break
    return found


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[:_LONGEST] + "…"
