"""Store: an index's folder of segments, its commits, and the snapshots that readers hold."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lsr.errors import ConfigError, IndexFormatError

from . import disk
from .columns import Fields
from .journal import JOURNAL
from .leg_files import PartFiles, remove_part
from .legs import SPARSE, Leg, LegPart, leg_settings, make_leg
from .lock import HOLDER, LOCK, WriterLock
from .manifest import (
    CHECK_HINT,
    LEGS,
    MANIFEST,
    SEGMENTS,
    TOMBSTONES,
    Manifest,
    SegmentEntry,
    damaged,
    is_part_name,
    is_segment_name,
    is_tombstone_name,
    plain,
    read_manifest,
)
from .segment import Segment
from .segment_writer import remove_segment
from .tombstones import read_tombstones

if TYPE_CHECKING:
    from .transaction import Transaction

TEMPORARY = (f"{MANIFEST}.tmp", f"{JOURNAL}.tmp")
#: What a folder may hold in which an index is made: what a `create` that was killed left.
_LEFT_BY_CREATE = {LOCK, HOLDER, SEGMENTS, TOMBSTONES, LEGS, *TEMPORARY}


@dataclass(frozen=True, slots=True)
class LiveSegment:
    """A segment with its tombstones as of one commit.

    `deleted` is bool (n_documents,), True for a deleted document; None when there is none.
    `legs` has what each leg but `sparse` keeps for it.
    """

    segment: Segment
    deleted: npt.NDArray[np.bool_] | None
    legs: Mapping[str, LegPart] = field(default_factory=dict)

    @property
    def n_live(self) -> int:
        """The number of documents that are not deleted."""
        gone = 0 if self.deleted is None else int(np.count_nonzero(self.deleted))
        return self.segment.n_documents - gone


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One commit, for reading. Its files stay readable whatever commits follow."""

    generation: int
    manifest: Manifest
    segments: tuple[LiveSegment, ...]

    @property
    def n_live(self) -> int:
        """The number of documents that are not deleted."""
        return sum(live.n_live for live in self.segments)


class Store:
    """The folder of an index. Any number of threads and processes read; one writes.

    Nothing in it changes but `manifest.json`, which a commit replaces in one step: a crash at
    any instant leaves the last commit.
    """

    def __init__(self, path: Path, *, verify: bool) -> None:
        self.path = path
        self._verify = verify
        self._guard = threading.Lock()
        self._latest: tuple[bytes, Snapshot] | None = None
        self._legs: dict[str, Leg] = {}

    @classmethod
    def create(cls, path: Path, settings: Mapping[str, Any]) -> Store:
        """Make an empty index, generation 0, in a new or empty folder; return its store.

        `settings` is a JSON object with at least `vocab_size`; `passages`, if it is there and
        not null, says that documents have one row for each passage. ConfigError if the folder
        holds something.
        """
        kept = plain(settings)
        if not isinstance(kept.get("vocab_size"), int):
            raise ConfigError("an index needs vocab_size, the number of terms, in its settings")
        path = Path(path)
        _refuse_occupied(path)
        disk.make_folder(path, exist_ok=True)
        lock = WriterLock(path)
        lock.acquire()
        try:
            # Another process may have been quicker than our first look.
            _refuse_occupied(path)
            for name in (SEGMENTS, TOMBSTONES):
                disk.make_folder(path / name, exist_ok=True)
            sweep(path, set())
            disk.replace(path / MANIFEST, Manifest(0, kept, Fields(), (), 1).to_bytes())
        finally:
            lock.release()
        disk.sync_folder(path.absolute().parent)
        return cls(path, verify=True)

    @classmethod
    def open(cls, path: Path, verify: bool = True) -> Store:
        """Return the store of an index.

        Reads every file once and verifies its checksum. With `verify` false only the manifest
        is read now, and later, as segments are opened, headers, sizes and tombstones. Raises
        IndexFormatError for a folder that is no index, is damaged, or is of a newer format.
        """
        store = cls(Path(path), verify=verify)
        if verify:
            store.snapshot()
        else:
            Manifest.from_bytes(read_manifest(store.path), store.path / MANIFEST)
        return store

    def snapshot(self) -> Snapshot:
        """Return the newest commit; the same object as before if there was none since."""
        with self._guard:
            while True:
                data = read_manifest(self.path)
                if self._latest is not None and self._latest[0] == data:
                    return self._latest[1]
                try:
                    snapshot = self._load(data)
                except IndexFormatError:
                    # A commit may have removed, under us, what the manifest we read named.
                    if read_manifest(self.path) == data:
                        raise
                    continue
                self._latest = data, snapshot
                return snapshot

    def begin(self) -> Transaction:
        """Return a transaction, which holds the writer's lock until it commits or rolls back.

        Raises LockedError that names the process id of the writer if there is one.
        """
        from .transaction import Transaction

        read_manifest(self.path)  # nothing is written into a folder that is no index
        lock = WriterLock(self.path)
        lock.acquire()
        try:
            return Transaction(self, lock)
        except BaseException:
            lock.release()
            raise

    def legs(self, settings: Mapping[str, Any]) -> dict[str, Leg]:
        """Return the legs, all but `sparse`, that settings of a manifest name.

        As long as its settings stay the same a leg is the same object, which may hold a model.
        """
        wanted = leg_settings(settings)
        wanted.pop(SPARSE, None)
        for name, how in wanted.items():
            known = self._legs.get(name)
            if known is None or plain(known.to_json()) != how:
                self._legs[name] = make_leg(name, how)
        return {name: self._legs[name] for name in wanted}

    def take_leg(self, leg: Leg) -> None:
        """Use this object for the leg of its name, which may hold a model, where it fits."""
        self._legs[leg.name] = leg

    def check(self) -> list[str]:
        """Return all that is wrong with the index on disk, a sentence each; empty when sound."""
        from .check import check_folder

        return check_folder(self.path).problems

    def published(self, manifest: Manifest, segments: Sequence[LiveSegment]) -> Snapshot:
        """Take over the segments that a transaction has open as the newest commit."""
        with self._guard:
            snapshot = Snapshot(manifest.generation, manifest, tuple(segments))
            self._latest = manifest.to_bytes(), snapshot
            return snapshot

    def _load(self, data: bytes) -> Snapshot:
        manifest = Manifest.from_bytes(data, self.path / MANIFEST)
        known: dict[tuple[str, str], Segment] = {}
        parts: dict[object, LegPart] = {}
        if self._latest is not None:
            before = self._latest[1]
            for entry, live in zip(before.manifest.segments, before.segments, strict=True):
                known[entry.name, entry.header_xxh3] = live.segment
                parts |= {entry.legs[name]: part for name, part in live.legs.items()}
        legs = self.legs(manifest.settings)
        segments = []
        for entry in manifest.segments:
            segment = known.get((entry.name, entry.header_xxh3))
            if segment is None:
                folder = self.path / SEGMENTS / entry.name
                segment = Segment.open(folder, self._verify, header_xxh3=entry.header_xxh3)
            opened = {}
            for name, leg in legs.items():
                found = parts.get(entry.legs.get(name))
                if found is None:
                    found = open_part(self.path, entry, leg, self._verify)
                opened[name] = found
            segments.append(LiveSegment(segment, read_tombstones(self.path, entry), opened))
        return Snapshot(manifest.generation, manifest, tuple(segments))


def open_part(path: Path, entry: SegmentEntry, leg: Leg, verify: bool) -> LegPart:
    """Return what a leg keeps for a segment, with its checksums verified unless told not to."""
    where = entry.legs.get(leg.name)
    if where is None:
        raise IndexFormatError(
            f"{path}: the segment {entry.name} has no part of the leg {leg.name!r}",
            hint=CHECK_HINT,
        )
    folder = path / LEGS / where.folder
    part = leg.open(PartFiles.open(folder, verify, header_xxh3=where.header_xxh3))
    if part.n_documents != entry.n_documents:
        raise damaged(
            folder, f"it has {part.n_documents:,} documents", f"{entry.n_documents:,} (manifest)"
        )
    return part


def sweep(path: Path, keep: set[str]) -> None:
    """Remove segments, parts of legs and tombstones that are not in `keep`, and temporary files.

    Only for the holder of the writer's lock. Names that are not ours are left alone.
    """
    for name in TEMPORARY:
        disk.remove_file(path / name)
    for name in names_in(path / SEGMENTS):
        if is_segment_name(name) and name not in keep:
            remove_segment(path / SEGMENTS / name)
    for name in names_in(path / LEGS):
        if is_part_name(name) and name not in keep:
            remove_part(path / LEGS / name)
    for name in names_in(path / TOMBSTONES):
        if is_tombstone_name(name) and name not in keep:
            disk.remove_file(path / TOMBSTONES / name)


def names_in(folder: Path) -> list[str]:
    """Return the names in a folder, sorted; none if it is not there."""
    try:
        with disk.reading(folder):
            return sorted(entry.name for entry in folder.iterdir())
    except FileNotFoundError:
        return []


def _refuse_occupied(path: Path) -> None:
    if (path / MANIFEST).exists():
        raise ConfigError(
            f"{path} already holds an index",
            hint=f"lsr add {path} SOURCE adds to it; or give another folder",
        )
    if path.exists() and not path.is_dir():
        raise ConfigError(f"{path} is a file; an index is a folder", hint="give another name")
    strangers = set(names_in(path)) - _LEFT_BY_CREATE
    if strangers:
        raise ConfigError(
            f"{path} is not empty: it holds {min(strangers)!r}; an index needs a folder of its own",
            hint="give a new or an empty folder",
        )
