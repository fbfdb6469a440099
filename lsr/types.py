"""The small values that every part of lsr passes around."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, Protocol, overload

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
    """The passage of a document that scored best; `number` counts from 0.

    Of a search over several legs it is that of the leg that adds most to the score.
    """

    number: int
    start: int
    end: int
    text: str


class LegScore(NamedTuple):
    """What one leg made of a document: its score, and its rank among that leg's hits, from 1.

    The rank is None where the leg did not find the document among the best, but scored it.
    """

    score: float
    rank: int | None


class AddedTerm(NamedTuple):
    """A term that feedback gave to a query: its weight there, and what it had as it was asked."""

    token: str
    weight: float
    before: float


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer: a document with its rank (from 1), its score and where it matched.

    `legs` has the score and the rank that each leg of the search gave it, by the leg's name.
    """

    id: str
    rank: int
    score: float
    title: str = ""
    text: str = ""
    fields: Mapping[str, FieldValue] = field(default_factory=dict)
    passage: Passage | None = None
    legs: Mapping[str, LegScore] = field(default_factory=dict)


class SearchStats(NamedTuple):
    """What a search did: postings added up, rows scored in full, microseconds, blocks opened."""

    postings: int = 0
    scored: int = 0
    micros: float = 0.0
    blocks: int = 0


class Found(Protocol):
    """What a search found, from which a result reads only what is asked for."""

    def ids(self) -> list[str]: ...  # noqa: D102
    def scores(self) -> list[float]: ...  # noqa: D102
    def hits(self, start: int = 0, stop: int | None = None) -> tuple[Hit, ...]: ...  # noqa: D102
    def why(self, at: int) -> tuple[TermProduct, ...]: ...  # noqa: D102


class SearchResult(Sequence[Hit]):
    """The hits of one query, best first, and how they were found.

    `ids` and `scores` cost little; `hits`, and the result as a sequence, read the documents when
    first touched. `path` names the way through the index that ran: `exact` (rank-safe),
    `accumulate` and `blocks` (approximate), `scan` (the few documents a filter left, one by one)
    or `empty` (nothing to score); `flat` and `lists` are the dense leg's. A search over several
    legs has its mode for a path. `took_ms` is the time it took, `stats` what was done, `timings`
    the milliseconds of each step and `feedback` the terms it added, for each leg, where known.

    >>> SearchResult((Hit("d1", 1, 2.0),), "scan")[0].id
    'd1'
    """

    __slots__ = ("_found", "_hits", "feedback", "path", "stats", "timings", "took_ms")

    def __init__(
        self,
        found: Found | tuple[Hit, ...],
        path: str,
        took_ms: float = 0.0,
        stats: SearchStats | None = None,
        *,
        timings: Mapping[str, float] | None = None,
        feedback: Mapping[str, tuple[AddedTerm, ...]] | None = None,
    ) -> None:
        self._found = None if isinstance(found, tuple) else found
        self._hits = found if isinstance(found, tuple) else None
        self.path = path
        self.took_ms = took_ms
        self.stats = stats or SearchStats()
        self.timings = timings or {}
        self.feedback = feedback or {}

    @property
    def hits(self) -> tuple[Hit, ...]:
        """The hits with their documents, read now if they were not."""
        if self._hits is None:
            self._hits = () if self._found is None else self._found.hits()
        return self._hits

    @property
    def ids(self) -> list[str]:
        """The ids of the documents, best first."""
        if self._hits is None and self._found is not None:
            return self._found.ids()
        return [hit.id for hit in self.hits]

    @property
    def scores(self) -> list[float]:
        """The scores, best first."""
        if self._hits is None and self._found is not None:
            return self._found.scores()
        return [hit.score for hit in self.hits]

    def page(self, start: int, stop: int) -> tuple[Hit, ...]:
        """Return the hits from `start` to `stop` (exclusive); only their documents are read."""
        if self._hits is None and self._found is not None:
            return self._found.hits(start, stop)
        return self.hits[start:stop]

    def why(self, at: int) -> tuple[TermProduct, ...]:
        """Return the terms that the query shares with the hit at that place, largest first.

        As the search saw the document, whatever was committed since; empty when the result did
        not come from an index.
        """
        return () if self._found is None else self._found.why(at)

    def __len__(self) -> int:
        return len(self.scores)

    @overload
    def __getitem__(self, at: int) -> Hit: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Hit]: ...
    def __getitem__(self, at: int | slice) -> Hit | Sequence[Hit]:
        return self.hits[at]

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SearchResult) and self.hits == other.hits

    def __hash__(self) -> int:
        return hash(tuple(self.ids))

    def __repr__(self) -> str:
        return f"SearchResult({list(self.hits)!r}, path={self.path!r}, took_ms={self.took_ms:.3f})"


@dataclass(frozen=True, slots=True)
class TermProduct:
    """One term of a score: `product` = `query_weight` x `document_weight`."""

    term: int
    token: str
    query_weight: float
    document_weight: float
    product: float


@dataclass(frozen=True, slots=True)
class LegExplanation:
    """What one leg of a search made of a document.

    `score` and `rank` are None where the leg did not score or find it; `share` is what the leg
    adds to the fused score, None where a function fuses. `added` are the terms of feedback.
    """

    score: float | None
    rank: int | None
    share: float | None
    terms: tuple[TermProduct, ...]
    added: tuple[AddedTerm, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a document scored what it did: the products sum to `score`, largest first.

    Of a search over several legs, `terms` is empty and `legs` has what each made of it: their
    shares sum to `score`.
    """

    id: str
    score: float
    terms: tuple[TermProduct, ...]
    passage: Passage | None = None
    legs: Mapping[str, LegExplanation] = field(default_factory=dict)
