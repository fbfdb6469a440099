"""Legs: what an index can rank documents by, beside the learned sparse vectors.

The leg `sparse` lives in the segments themselves. Every other leg keeps, for each segment, a
*part*: an immutable folder of its own, named with its checksum in the segment's entry of the
manifest. Documents, their order in a segment, tombstones and filters are shared by all legs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from lsr.errors import ConfigError, IndexFormatError
from lsr.types import Document, Span, TermProduct

from .manifest import LEGS

if TYPE_CHECKING:
    from .leg_files import PartFiles, PartWriter
    from .segment import Segment
    from .store import LiveSegment

#: The leg that segments hold themselves.
SPARSE = "sparse"

#: For each segment the documents to consider, bool (n_documents,), None for all; or None.
Allowed = Sequence[npt.NDArray[np.bool_] | None] | None


class LegFound(NamedTuple):
    """What a leg found, best first, equal scores by document id (UTF-8 bytes).

    `segments` int64 numbers the segment in the snapshot, `documents` int64 the document in the
    segment, `scores` float32. `path` names the way; `postings` were read, `scored` documents
    scored in full. `passage` tells which passage of the hit at a place matched best, where
    documents are split; it works that out when it is called.
    """

    segments: npt.NDArray[np.int64]
    documents: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    path: str = "exact"
    postings: int = 0
    scored: int = 0
    passage: Callable[[int], int] | None = None


class LegPart(Protocol):
    """What a leg keeps for one segment, opened for reading; safe to use from many threads."""

    @property
    def n_documents(self) -> int:
        """The number of documents, deleted ones included: that of the segment."""
        ...

    @property
    def bytes(self) -> int:
        """What its files weigh."""
        ...

    def problems(self) -> list[str]:
        """Return what is wrong beyond checksums, a sentence each; what `lsr check` asks."""
        ...


class LegSource(NamedTuple):
    """One part that goes into a merge; `deleted` is bool (n_documents,), None for none."""

    part: LegPart
    segment: Segment
    deleted: npt.NDArray[np.bool_] | None


class LegWriter(Protocol):
    """Takes the documents of a segment in their order and writes the part."""

    def prepare(
        self,
        documents: Sequence[Document],
        spans: Sequence[Sequence[Span]] | None,
        given: object | None,
    ) -> Any:
        """Return what `append` takes for these documents, and change nothing.

        `spans` are their passages where the index has them; `given` is what the caller brought
        for this leg (vectors), None when it is made from the text. Whatever can be wrong with it
        is a DataError here.
        """
        ...

    def append(self, prepared: Any) -> None:
        """Add documents, as `prepare` gave them; only the disk may make it fail."""
        ...

    def close(self) -> Mapping[str, Any]:
        """Write all that is left through the PartWriter; return the facts for its header."""
        ...


class LegSearcher(Protocol):
    """A leg over the segments of one snapshot, with what depends on all of them together.

    Made once for a snapshot and used from many threads. A query is what the leg can read: text,
    or what it makes of text itself. What it cannot read is a ConfigError.
    """

    def read(self, queries: Sequence[object], threads: int | None = None) -> list[object]:
        """Return the queries as the other methods need not read them again, such as vectors."""
        ...

    def search(self, query: object, k: int, allowed: Allowed = None) -> LegFound:
        """Return the k best live documents that are allowed, fewer when fewer match."""
        ...

    def search_many(
        self, queries: Sequence[object], k: int, allowed: Allowed = None, threads: int | None = None
    ) -> list[LegFound]:
        """Return what each query finds, in order: the same as `search` one by one."""
        ...

    def score(
        self, query: object, segments: npt.NDArray[np.int64], documents: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float32]:
        """Return the score of each given document, to the bit what `search` gives it.

        A document that does not match scores 0. Places are as in `LegFound`.
        """
        ...

    def explain(self, query: object, segment: int, document: int) -> tuple[TermProduct, ...]:
        """Return the terms of a score, largest first; empty for a leg that has no terms."""
        ...

    def passage(self, query: object, segment: int, document: int) -> int:
        """Return which passage of a split document matches best, from 0; of equals the first."""
        ...

    def statistics(self) -> Mapping[str, Any]:
        """Return facts of the leg over all live documents, which are JSON."""
        ...


class Leg(Protocol):
    """A kind of leg with its settings: writes, merges, opens and searches its parts."""

    @property
    def name(self) -> str:
        """What settings and callers call it."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Return the settings as the manifest keeps them."""
        ...

    def writer(self, files: PartWriter) -> LegWriter:
        """Return what writes a part into `files`, which the caller closes or aborts."""
        ...

    def merge(self, sources: Sequence[LegSource], files: PartWriter) -> Mapping[str, Any]:
        """Write the live documents of all sources, in order, as one part; return its facts.

        The bytes are those that a writer makes of the same documents.
        """
        ...

    def open(self, files: PartFiles) -> LegPart:
        """Return a part for reading; IndexFormatError if the files are not what the leg writes."""
        ...

    def searcher(self, segments: Sequence[LiveSegment]) -> LegSearcher:
        """Return what searches these segments, all of which have a part."""
        ...


Maker = Callable[[Mapping[str, Any]], Leg]


def _bm25(settings: Mapping[str, Any]) -> Leg:
    from .bm25 import Bm25Leg

    return Bm25Leg.from_json(settings)


def _dense(settings: Mapping[str, Any]) -> Leg:
    from .dense import DenseLeg

    return DenseLeg.from_json(settings)


#: How each kind of leg is made from its settings; the modules are imported when one is.
MAKERS: dict[str, Maker] = {"bm25": _bm25, "dense": _dense}


def leg_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the legs of an index and their settings, from the settings of its manifest.

    >>> leg_settings({"vocab_size": 4})
    {'sparse': {}}
    """
    return dict(settings.get(LEGS, {SPARSE: {}}))


def make_leg(name: str, settings: Mapping[str, Any]) -> Leg:
    """Return a leg with the settings that a manifest has for it.

    Raises IndexFormatError for a kind that this version does not know.
    """
    if name not in MAKERS:
        known = ", ".join([SPARSE, *MAKERS])
        raise IndexFormatError(
            f"the index has a leg {name!r}; this lsr knows {known}",
            hint="install a newer lsr, or remove the leg with the one that made it",
        )
    return MAKERS[name](settings)


def with_leg(settings: Mapping[str, Any], leg: Leg) -> dict[str, Any]:
    """Return the settings of an index with one more leg. ConfigError if it has it already."""
    legs = leg_settings(settings)
    if leg.name in legs:
        raise ConfigError(
            f"the index has the leg {leg.name!r} already",
            hint=f"to make it anew, remove it first: lsr legs DIR --remove {leg.name}",
        )
    return {**settings, LEGS: {**legs, leg.name: leg.to_json()}}


def without_leg(settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the settings of an index without a leg. ConfigError if it cannot be removed."""
    legs = leg_settings(settings)
    others = sorted(set(legs) - {SPARSE})
    if name not in others:
        known = ", ".join(others) or "none"
        raise ConfigError(f"{name!r} is not a leg that can be removed; of those there is {known}")
    if len(legs) == 1:
        raise ConfigError(f"{name!r} is the only leg of the index; it cannot be removed")
    del legs[name]
    rest = {key: value for key, value in settings.items() if key != LEGS}
    return rest if set(legs) == {SPARSE} else {**rest, LEGS: legs}
