"""An index beside the rows it should hold, and the answers that brute force gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lsr import Document, Index, SparseVectors
from lsr.types import SearchResult

VOCAB = 6000
Row = dict[int, float]


@dataclass(frozen=True)
class Way:
    """A way of searching: options of Index.search, and whether it promises what brute force finds.

    One that does not still promises true scores, in order, of documents that are allowed.
    `create` are the options of Index.create that it needs.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    exact: bool = True
    create: Mapping[str, Any] = field(default_factory=dict)


def product(query: Row, row: Row) -> float:
    """Return the inner product as all of lsr defines it: in float32, terms ascending."""
    total = np.float32(0)
    with np.errstate(over="ignore", under="ignore"):
        for term in sorted(query.keys() & row.keys()):
            total += np.float32(query[term]) * np.float32(row[term])
    return float(total)


def best(rows: Mapping[str, Row], query: Row, k: int) -> list[tuple[str, float]]:
    """Return the hits of brute force, best first, equal scores by id."""
    scored = ((id, product(query, row)) for id, row in rows.items())
    found = sorted(
        (hit for hit in scored if hit[1] > 0), key=lambda hit: (-hit[1], hit[0].encode())
    )
    return found[:k]


def listed(result: SearchResult) -> list[tuple[str, float]]:
    assert [hit.rank for hit in result] == list(range(1, len(result) + 1))
    return [(hit.id, hit.score) for hit in result]


class Shelf:
    """An index, and beside it the rows that live in it."""

    def __init__(self, path: Path, way: Way, vocab_size: int = VOCAB) -> None:
        self.index = Index.create(path, encoder=None, vocab_size=vocab_size, **way.create)
        self.rows: dict[str, Row] = {}

    def put(self, rows: Mapping[str, Row]) -> Shelf:
        """Commit these rows, in place of those that have their ids."""
        vectors = SparseVectors.from_dicts(rows.values(), vocab_size=self.index.settings.vocab_size)
        documents = [Document(id, fields={"odd": len(id) % 2 == 1}) for id in rows]
        self.index.upsert(documents, vectors=vectors)
        self.index.commit()
        self.rows |= rows
        return self

    def drop(self, ids: Iterable[str]) -> Shelf:
        gone = list(ids)
        assert self.index.delete(gone) == len(gone)
        self.index.commit()
        self.rows = {id: row for id, row in self.rows.items() if id not in set(gone)}
        return self

    def check(self, way: Way, query: Row, k: int = 10, *, odd: bool = False) -> SearchResult:
        """Search one way, alone and in a batch, and hold the answer to brute force."""
        rows = {id: row for id, row in self.rows.items() if not odd or len(id) % 2 == 1}
        options: dict[str, Any] = {"k": k, "filter": "odd = true" if odd else None, **way.options}
        result = self.index.search(query, **options)
        check_answer(way, listed(result), rows, query, k)
        [other] = self.index.search_batch([query], **options)
        assert listed(other) == listed(result)
        return result


def check_answer(
    way: Way, found: list[tuple[str, float]], rows: Mapping[str, Row], query: Row, k: int
) -> None:
    if way.exact:
        assert found == best(rows, query, k)
        return
    assert len(found) <= k and len({id for id, _ in found}) == len(found)
    assert all(score == product(query, rows[id]) > 0 for id, score in found)
    assert found == sorted(found, key=lambda hit: (-hit[1], hit[0].encode()))
