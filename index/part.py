"""Part: a finished segment as a transaction works on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from . import disk
from .legs import LegPart
from .manifest import PartEntry, SegmentEntry
from .merge import Size
from .segment import HEADER, Segment
from .segment_writer import SegmentWriter
from .store import LiveSegment


@dataclass(slots=True)
class Part:
    """A finished segment as the transaction sees it; `changed` when tombstones were added."""

    segment: Segment
    entry: SegmentEntry
    staged: bool
    deleted: npt.NDArray[np.bool_] | None = None
    changed: bool = False
    legs: dict[str, LegPart] = field(default_factory=dict)

    @classmethod
    def of_writer(
        cls,
        writer: SegmentWriter,
        entries: Mapping[str, PartEntry] | None = None,
        legs: Mapping[str, LegPart] | None = None,
    ) -> Part:
        """Return the segment that a writer has closed, with the parts of its legs."""
        segment = Segment.open(writer.folder, verify=False)
        header_xxh3 = disk.checksum(writer.folder / HEADER).xxh3
        entry = SegmentEntry(
            segment.name, segment.n_documents, segment.n_rows, header_xxh3, None, entries or {}
        )
        return cls(segment, entry, staged=True, legs=dict(legs or {}))

    @property
    def live(self) -> LiveSegment:
        """The segment with its tombstones, as a snapshot holds it."""
        return LiveSegment(self.segment, self.deleted, self.legs)

    @property
    def size(self) -> Size:
        """How many documents it has, and how many of them are live."""
        return Size(self.entry.n_documents, self.live.n_live)

    def live_ordinals(
        self, ids: Sequence[str], hashes: npt.NDArray[np.uint64]
    ) -> npt.NDArray[np.int64]:
        """Return the ordinal of each id that is live here, -1 for the others."""
        found = self.segment.find(ids, hashes)
        if self.deleted is not None:
            found[(found >= 0) & self.deleted[found]] = -1
        return found

    def delete(self, ordinals: npt.NDArray[np.int64]) -> None:
        """Mark documents deleted, in a copy: snapshots may share the array."""
        old = self.deleted
        deleted = np.zeros(self.entry.n_documents, np.bool_) if old is None else old.copy()
        deleted[ordinals] = True
        deleted.flags.writeable = False
        self.deleted, self.changed = deleted, True

    def take_leg(self, name: str, entry: PartEntry, opened: LegPart) -> None:
        """Take over the part of a new leg, in copies: snapshots may share what was there."""
        self.legs = {**self.legs, name: opened}
        self.entry = replace(self.entry, legs={**self.entry.legs, name: entry})

    def drop_leg(self, name: str) -> None:
        """Forget the part of a leg; its files go with the commit."""
        self.legs = {leg: part for leg, part in self.legs.items() if leg != name}
        legs = {leg: entry for leg, entry in self.entry.legs.items() if leg != name}
        self.entry = replace(self.entry, legs=legs)
