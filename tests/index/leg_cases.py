"""A leg that is easy to see through: documents are ranked by how often they have one letter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.errors import DataError
from lsr.index.leg_files import PartFiles, PartWriter
from lsr.index.legs import MAKERS, Allowed, LegFound, LegSource
from lsr.index.store import LiveSegment
from lsr.types import Document, Span, TermProduct


class ToyPart:
    def __init__(self, files: PartFiles) -> None:
        self.counts = files.array("counts")
        self.n_documents = len(self.counts)
        self.bytes = files.bytes
        self.letter = files.facts["letter"]

    def problems(self) -> list[str]:
        return []


class ToyWriter:
    def __init__(self, leg: ToyLeg, files: PartWriter) -> None:
        self._leg = leg
        self._files = files
        files.put("counts", np.zeros(0, np.int32))

    def prepare(
        self,
        documents: Sequence[Document],
        spans: Sequence[Sequence[Span]] | None,
        given: object | None,
    ) -> npt.NDArray[np.int32]:
        if given is None:
            found = [document.full_text().count(self._leg.letter) for document in documents]
            return np.array(found, np.int32)
        counts = np.asarray(given, np.int32)
        if len(counts) != len(documents):
            raise DataError(f"there are {len(documents)} documents but {len(counts)} counts")
        return counts

    def append(self, prepared: npt.NDArray[np.int32]) -> None:
        self._files.put("counts", prepared)

    def close(self) -> Mapping[str, Any]:
        return {"letter": self._leg.letter}


class ToySearcher:
    def __init__(self, segments: Sequence[LiveSegment]) -> None:
        self._segments = segments

    def read(self, queries: Sequence[object], threads: int | None = None) -> list[object]:
        return list(queries)

    def search(self, query: object, k: int, allowed: Allowed = None) -> LegFound:
        rows = []
        for number, live in enumerate(self._segments):
            part: Any = live.legs["toy"]
            for ordinal in np.flatnonzero(part.counts).tolist():
                gone = live.deleted is not None and live.deleted[ordinal]
                mask = None if allowed is None else allowed[number]
                if not gone and (mask is None or mask[ordinal]):
                    [name] = live.segment.ids([ordinal])
                    rows.append((-int(part.counts[ordinal]), name.encode(), number, ordinal))
        best = sorted(rows)[:k]
        return LegFound(
            np.array([row[2] for row in best], np.int64),
            np.array([row[3] for row in best], np.int64),
            np.array([-row[0] for row in best], np.float32),
        )

    def search_many(
        self, queries: Sequence[object], k: int, allowed: Allowed = None, threads: int | None = None
    ) -> list[LegFound]:
        return [self.search(query, k, allowed) for query in queries]

    def score(
        self, query: object, segments: npt.NDArray[np.int64], documents: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float32]:
        parts: list[Any] = [live.legs["toy"] for live in self._segments]
        pairs = zip(segments.tolist(), documents.tolist(), strict=True)
        return np.array([parts[number].counts[at] for number, at in pairs], np.float32)

    def explain(self, query: object, segment: int, document: int) -> tuple[TermProduct, ...]:
        return ()

    def passage(self, query: object, segment: int, document: int) -> int:
        return 0

    def statistics(self) -> Mapping[str, Any]:
        return {"segments": len(self._segments)}


class ToyLeg:
    name = "toy"

    def __init__(self, letter: str = "e") -> None:
        self.letter = letter

    def to_json(self) -> dict[str, Any]:
        return {"letter": self.letter}

    def writer(self, files: PartWriter) -> ToyWriter:
        return ToyWriter(self, files)

    def merge(self, sources: Sequence[LegSource], files: PartWriter) -> Mapping[str, Any]:
        for part, _, deleted in sources:
            counts = part.counts  # type: ignore[attr-defined]
            files.put("counts", counts if deleted is None else counts[~deleted])
        return {"letter": self.letter}

    def open(self, files: PartFiles) -> ToyPart:
        return ToyPart(files)

    def searcher(self, segments: Sequence[LiveSegment]) -> ToySearcher:
        return ToySearcher(segments)


@contextmanager
def toy_legs() -> Iterator[None]:
    """Let indexes have the leg `toy`."""
    MAKERS["toy"] = lambda settings: ToyLeg(settings["letter"])
    try:
        yield
    finally:
        del MAKERS["toy"]
