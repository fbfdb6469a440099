"""The small values that every part of lsr passes around."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, overload

#: What a metadata field may hold. Numbers are kept as float64, dates as UTC datetimes.
FieldValue = str | bool | int | float | datetime | list[str]


@dataclass(frozen=True, slots=True)
class Document:
    """A text with an id, a title and typed metadata.

    >>> Document("d1", text="Cats purr.").full_text()
    'Cats purr.'
    """

    id: str
    title: str = ""
    text: str = ""
    fields: Mapping[str, FieldValue] = field(default_factory=dict)

    def full_text(self) -> str:
        """Return title and text joined by a blank, as BEIR does; what the encoder sees."""
        return f"{self.title} {self.text}".strip()


class Record(NamedTuple):
    """A document with the place it was read from: `line` counts from 1 inside `source`."""

    document: Document
    source: str
    line: int


class Span(NamedTuple):
    """A passage: characters `start` to `end` (exclusive) of the document's text."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Passage:
    """The passage of a document that scored best; `number` counts from 0."""

    number: int
    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer: a document with its rank (from 1), its score and where it matched."""

    id: str
    rank: int
    score: float
    title: str = ""
    text: str = ""
    fields: Mapping[str, FieldValue] = field(default_factory=dict)
    passage: Passage | None = None


@dataclass(frozen=True, slots=True)
class SearchResult(Sequence[Hit]):
    """The hits of one query, best first, and how they were found.

    `path` names the way through the index that ran: `accumulate` (all postings of the query's
    terms), `scan` (the few documents a filter left, one by one) or `empty` (nothing to score).

    >>> SearchResult(hits=(Hit("d1", 1, 2.0),), path="scan")[0].id
    'd1'
    """

    hits: tuple[Hit, ...]
    path: str
    took_ms: float = 0.0

    def __len__(self) -> int:
        return len(self.hits)

    @overload
    def __getitem__(self, at: int) -> Hit: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Hit]: ...
    def __getitem__(self, at: int | slice) -> Hit | Sequence[Hit]:
        return self.hits[at]

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)


@dataclass(frozen=True, slots=True)
class TermProduct:
    """One term of a score: `product` = `query_weight` x `document_weight`."""

    term: int
    token: str
    query_weight: float
    document_weight: float
    product: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a document scored what it did: the products sum to `score`, largest first."""

    id: str
    score: float
    terms: tuple[TermProduct, ...]
    passage: Passage | None = None
