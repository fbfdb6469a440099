"""OpenSegment: the segment a transaction is writing, with a writer for the part of each leg."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lsr.errors import ConfigError
from lsr.sparse import SparseVectors
from lsr.types import Document, Span

from . import disk
from .leg_files import PartFiles, PartWriter
from .legs import Leg, LegSource, LegWriter
from .manifest import LEGS, PartEntry, part_name
from .merge import merge_segments
from .part import Part
from .segment import Segment
from .segment_writer import SegmentWriter
from .work_files import Batch, SlowLeg, WorkFiles

#: Documents are read this many at a time when a leg is added to a segment.
_BATCH = 1024


class _Writing(NamedTuple):
    leg: Leg
    files: PartWriter
    writer: LegWriter


class OpenSegment:
    """Takes documents for a new segment and all its legs; `close` returns the finished part.

    `folder` is the index's; `number`, the segment's own, tells its parts from others.
    """

    def __init__(
        self, folder: Path, writer: SegmentWriter, legs: Sequence[Leg], number: int
    ) -> None:
        self._folder = folder
        self._segment = writer
        self._legs = legs
        self._number = number
        self._writing: list[_Writing] = []

    @property
    def n_documents(self) -> int:
        """The number of documents so far."""
        return self._segment.n_documents

    def contains(
        self, ids: Sequence[str], hashes: npt.NDArray[np.uint64] | None = None
    ) -> list[bool]:
        """Return for each id whether a document has it."""
        return self._segment.contains(ids, hashes)

    def append(
        self,
        documents: Sequence[Document],
        vectors: SparseVectors,
        spans: Sequence[Sequence[Span]] | None = None,
        given: Mapping[str, object] | None = None,
    ) -> None:
        """Add documents with their sparse vectors, and what is `given` for other legs."""
        brought = given or {}
        for name in brought:
            if name not in {leg.name for leg in self._legs}:
                raise ConfigError(f"something came for the leg {name!r}, which this index lacks")
        if len(self._writing) < len(self._legs):
            self._begin()
        # Whatever can be wrong is found before anything is taken.
        prepared = [
            writer.prepare(documents, spans, brought.get(leg.name))
            for leg, _, writer in self._writing
        ]
        self._segment.append(documents, vectors, spans)
        try:
            for (_, _, writer), one in zip(self._writing, prepared, strict=True):
                writer.append(one)
        except BaseException:
            self._segment.spoil()
            raise

    def close(self) -> Part:
        """Finish the segment and its parts, and make them durable."""
        self._segment.close()
        entries = {}
        for leg, files, writer in self._writing:
            entries[leg.name] = _closed(leg, files, writer)
        return self._part(entries)

    def merge(self, sources: Sequence[Part]) -> Part:
        """Write the live documents of the sources, and close."""
        merge_segments([(part.segment, part.deleted) for part in sources], self._segment)
        self._segment.close()
        entries = {}
        for leg in self._legs:
            with part_writer(self._folder, self._segment.folder.name, leg, self._number) as new:
                parts = [
                    LegSource(part.legs[leg.name], part.segment, part.deleted) for part in sources
                ]
                facts = leg.merge(parts, new)
                entries[leg.name] = PartEntry(new.folder.name, new.close(facts))
        return self._part(entries)

    def abort(self) -> None:
        """Remove what has been written."""
        for _, files, _ in self._writing:
            files.abort()
        self._segment.abort()

    def _begin(self) -> None:
        for leg in self._legs:
            files = new_part(self._folder, self._segment.folder.name, leg.name, self._number)
            self._writing.append(_Writing(leg, files, leg.writer(files)))

    def _part(self, entries: Mapping[str, PartEntry]) -> Part:
        legs = {leg.name: leg for leg in self._legs}
        opened = {
            name: legs[name].open(PartFiles.open(self._folder / LEGS / entry.folder, verify=False))
            for name, entry in entries.items()
        }
        return Part.of_writer(self._segment, entries, opened)


def add_part(folder: Path, part: Part, leg: Leg, number: int) -> None:
    """Give a segment that is there already its part of a new leg, from its documents.

    `number` tells it from any part that the segment has or had. What a slow leg makes is kept
    batch by batch, and taken up by the next call when this one does not come to its end.
    """
    with part_writer(folder, part.segment.name, leg, number) as files:
        writer = leg.writer(files)
        kept = WorkFiles(folder, part.entry, leg) if isinstance(leg, SlowLeg) else None
        for start in range(0, part.segment.n_documents, _BATCH):
            batch = _batch(part.segment, start)
            prepared = None if kept is None else kept.read(batch)
            if prepared is None:
                documents, spans = _documents(part.segment, start, batch.stop)
                prepared = writer.prepare(documents, spans, None)
                if kept is not None:
                    kept.write(batch, prepared)
            writer.append(prepared)
        entry = _closed(leg, files, writer)
    opened = leg.open(PartFiles.open(files.folder, verify=False))
    part.take_leg(leg.name, entry, opened)


@contextmanager
def part_writer(folder: Path, segment: str, leg: Leg, number: int) -> Iterator[PartWriter]:
    """Give the files of a new part; what was written is removed when the block raises."""
    files = new_part(folder, segment, leg.name, number)
    try:
        yield files
    except BaseException:
        files.abort()
        raise


def new_part(folder: Path, segment: str, leg: str, number: int) -> PartWriter:
    """Return the files of a new part, in the folder of parts, which is made if it is not there."""
    if not (folder / LEGS).is_dir():
        disk.make_folder(folder / LEGS, exist_ok=True)
        disk.sync_folder(folder)
    return PartWriter(folder / LEGS / part_name(segment, leg, number))


def _closed(leg: Leg, files: PartWriter, writer: LegWriter) -> PartEntry:
    return PartEntry(files.folder.name, files.close(writer.close()))


def _batch(segment: Segment, start: int) -> Batch:
    stop = min(start + _BATCH, segment.n_documents)
    return Batch(start, stop, segment.rows_of(stop - 1).stop - segment.rows_of(start).start)


def _documents(
    segment: Segment, start: int, stop: int
) -> tuple[list[Document], list[list[Span]] | None]:
    documents = segment.texts(start, stop)
    if not segment.header.passages:
        return documents, None
    return documents, [segment.spans(at) or [] for at in range(start, stop)]
