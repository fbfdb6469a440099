"""Transaction: one writer's changes, all of which a commit makes visible, or none."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from types import TracebackType
from typing import Any

import numpy as np

from lsr.errors import ConfigError, DataError, IndexFormatError, StorageError
from lsr.sparse import SparseVectors
from lsr.types import Document, Span

from . import disk
from .block_build import BlockWriter
from .blocks import block_settings
from .columns import Fields
from .halves import DTYPES, checked_dtype
from .halves import SETTING as DTYPE
from .ids import hash_ids
from .journal import RESTART_HINT, Journal, JournalPart, remove_journal
from .leg_files import PartFiles
from .legs import Leg, leg_settings, with_leg, without_leg
from .lock import WriterLock
from .manifest import (
    LEGS,
    MANIFEST,
    SEGMENTS,
    TOMBSTONES,
    Manifest,
    SegmentEntry,
    plain,
    read_manifest,
    segment_name,
)
from .merge import Which, plan
from .open_segment import OpenSegment, add_part
from .part import Part
from .segment import Segment
from .segment_writer import WINDOW_POSTINGS, SegmentWriter
from .store import LiveSegment, Snapshot, Store, open_part, sweep
from .tombstones import write_tombstones
from .windows import MAX_WINDOW_ROWS
from .work_files import sweep_work

log = logging.getLogger(__name__)


class Place(StrEnum):
    """Where a live document is: in the last commit, in a staged segment, in the open one."""

    COMMITTED = "committed"
    STAGED = "staged"
    OPEN = "open"


class Transaction:
    """Changes to an index, made by one thread, that nobody sees before `commit` returns.

    Ends with `commit` or `rollback`, which give the writer's lock back; as a context manager it
    rolls back unless it was committed. `window_rows` and `window_postings` bound the memory of
    the segments that it writes from then on; `block_writer` makes their blocks, if the settings
    ask for them.
    """

    def __init__(self, store: Store, lock: WriterLock) -> None:
        self.window_rows = MAX_WINDOW_ROWS
        self.window_postings = WINDOW_POSTINGS
        self.block_writer = BlockWriter()
        self._store = store
        self._path = store.path
        self._lock = lock
        self._active = True
        self._writer: OpenSegment | None = None
        self._base = store.snapshot()
        manifest = self._base.manifest
        self._fields = manifest.fields
        self._settings = dict(manifest.settings)
        self._next_segment = manifest.next_segment
        self._parts = [
            Part(live.segment, entry, False, live.deleted, legs=dict(live.legs))
            for entry, live in zip(manifest.segments, self._base.segments, strict=True)
        ]
        self._pending = self._read_journal()

    # --- what is there -------------------------------------------------------------------------

    @property
    def fields(self) -> Fields:
        """The metadata fields; setting grown ones seals the open segment."""
        return self._fields

    @fields.setter
    def fields(self, fields: Fields) -> None:
        if fields == self._fields:
            return
        self._check_usable()
        for name, kind in self._fields.items():
            if fields.get(name) is not kind:
                raise ConfigError(f"field {name!r} is {kind} in this index; it cannot be changed")
        self._seal_open()
        self._fields = fields

    def segments(self) -> list[LiveSegment]:
        """Return the segments that the commit will have; the open one is sealed first."""
        self._check_usable()
        self._seal_open()
        return [part.live for part in self._parts]

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings that the commit will have."""
        return self._settings

    @settings.setter
    def settings(self, settings: Mapping[str, Any]) -> None:
        self._check_usable()
        kept = plain(settings)
        for name in ("vocab_size", "passages", LEGS):
            if kept.get(name) != self._settings.get(name):
                raise ConfigError(f"the setting {name!r} of an index cannot be changed")
        self._settings = kept

    @property
    def journal(self) -> dict[str, Any] | None:
        """The state in the journal of an unfinished build, until `resume` or `discard`.

        None if there is no such journal. Raises IndexFormatError if it is damaged.
        """
        if isinstance(self._pending, IndexFormatError):
            raise self._pending
        return None if self._pending is None else self._pending.state

    @property
    def n_live(self) -> int:
        """The number of documents that the commit will have."""
        open_documents = self._writer.n_documents if self._writer else 0
        return open_documents + sum(part.size.n_live for part in self._parts)

    def find(self, ids: Sequence[str]) -> list[Place | None]:
        """Return where the live document with each id is, None where there is none."""
        hashes = hash_ids(ids)
        places: list[Place | None] = [None] * len(ids)
        for part in self._parts:
            place = Place.STAGED if part.staged else Place.COMMITTED
            for at in np.flatnonzero(part.live_ordinals(ids, hashes) >= 0).tolist():
                places[at] = place
        if self._writer is not None:
            for at, there in enumerate(self._writer.contains(ids, hashes)):
                places[at] = Place.OPEN if there else places[at]
        return places

    def contains(self, ids: Sequence[str]) -> list[bool]:
        """Return for each id whether a live document has it."""
        return [place is not None for place in self.find(ids)]

    # --- changes -------------------------------------------------------------------------------

    def append(
        self,
        documents: Sequence[Document],
        vectors: SparseVectors,
        spans: Sequence[Sequence[Span]] | None = None,
        given: Mapping[str, object] | None = None,
    ) -> None:
        """Add documents with one vector each, or one for each of their `spans`, in that order.

        `given` is what the caller brings for other legs than `sparse`, by name. DataError, and
        nothing added, for an id that is there already (delete it first) or twice
        among them, for a field that `fields` does not have, and for numbers that do not agree.
        """
        self._check_usable()
        if not documents:
            return
        for document, place in zip(documents, self.find([d.id for d in documents]), strict=True):
            if place is not None:
                raise DataError(
                    f"document {document.id!r} is in the index already",
                    hint="use upsert to put a document in place of another",
                )
        if self._writer is None:
            self._writer = self._new_writer()
        self._writer.append(documents, vectors, spans, given)

    def delete(self, ids: Sequence[str]) -> int:
        """Delete the documents with these ids; return how many there were."""
        self._check_usable()
        hashes = hash_ids(ids)
        if self._writer is not None and any(self._writer.contains(ids, hashes)):
            self._seal_open()
        count = 0
        for part in self._parts:
            found = part.live_ordinals(ids, hashes)
            ordinals = np.unique(found[found >= 0])
            if len(ordinals):
                part.delete(ordinals)
                count += len(ordinals)
        return count

    def merge(self, which: Which = "auto") -> None:
        """Merge segments: `all` into one, or `auto` as the policy of `index/merge.py` says.

        The old ones are removed by `commit`; the text of deleted documents is then gone.
        """
        self._check_usable()
        self._seal_open()
        while group := self._plan(which):
            sources = [self._parts[at] for at in group]
            merged = self._merged(sources) if any(part.size.n_live for part in sources) else []
            rest = [part for at, part in enumerate(self._parts) if at not in set(group)]
            self._parts = [*rest[: group[0]], *merged, *rest[group[0] :]]

    def add_leg(self, leg: Leg) -> None:
        """Add a leg: every segment gets its part, made from its documents; the rest stays.

        Raises ConfigError if the index has a leg of that name.
        """
        self._check_usable()
        settings = with_leg(self._settings, leg)
        self._seal_open()
        number = self._new_number()
        for part in self._parts:
            add_part(self._path, part, leg, number)
        self._settings = plain(settings)

    def remove_leg(self, name: str) -> None:
        """Remove a leg, whose files the commit removes. ConfigError if it cannot be."""
        self._check_usable()
        settings = without_leg(self._settings, name)
        self._seal_open()
        for part in self._parts:
            part.drop_leg(name)
        self._settings = plain(settings)

    # --- an unfinished build -------------------------------------------------------------------

    def seal(self, state: Mapping[str, Any] | None = None) -> None:
        """Finish the open segment; with `state`, write the journal a killed build goes on from."""
        self._check_usable()
        self._seal_open()
        if state is None:
            return
        disk.sync_folder(self._path / SEGMENTS)
        self._sync_legs()
        parts = (JournalPart(part.entry, part.staged, part.deleted) for part in self._parts)
        Journal(
            self._base.generation,
            self._next_segment,
            self._settings,
            self._fields,
            tuple(parts),
            dict(state),
        ).write(self._path)

    def resume(self) -> None:
        """Take over what the journal has; every staged file's checksum is verified first."""
        self._check_active()
        if isinstance(self._pending, IndexFormatError):
            raise self._pending
        journal = self._pending
        if journal is None:
            raise ConfigError("there is no unfinished build to resume", hint="leave out --resume")
        committed = {part.entry.name: part for part in self._parts}
        self._settings = dict(journal.settings)
        parts = []
        for part in journal.parts:
            if part.staged:
                segment = self._open_staged(part.entry)
            elif part.entry.name in committed:
                segment = committed[part.entry.name].segment
            else:
                raise IndexFormatError(
                    f"the unfinished build expects the segment {part.entry.name}, which the last "
                    "commit does not have",
                    hint=RESTART_HINT,
                )
            parts.append(self._resumed(part, segment))
        self._parts, self._next_segment = parts, journal.next_segment
        self._fields = journal.fields
        self._pending = None

    def discard(self) -> None:
        """Throw away the unfinished build that is waiting, if there is one."""
        self._check_active()
        if self._pending is None:
            return
        self._pending = None
        remove_journal(self._path)
        self._sweep()

    # --- the end -------------------------------------------------------------------------------

    def commit(self) -> Snapshot:
        """Make all changes durable and visible at once; return the new commit.

        Without changes there is no new generation. If something fails, nothing is changed, the
        transaction is over, and only what a journal has is kept.
        """
        self._check_usable()
        try:
            self._seal_open()
            snapshot = self._publish()
        except BaseException:
            self.rollback(keep_journal=True)
            raise
        self._finish(lambda: remove_journal(self._path))
        return snapshot

    def rollback(self, keep_journal: bool = False) -> None:
        """Forget all changes; with `keep_journal`, those since the last `seal` with a state."""
        if not self._active:
            return

        def forget() -> None:
            if self._writer is not None:
                self._writer.abort()
            if not keep_journal and self._pending is None:
                remove_journal(self._path)

        self._finish(forget)

    def __enter__(self) -> Transaction:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.rollback(keep_journal=True)

    def _read_journal(self) -> Journal | IndexFormatError | None:
        """Return the journal that waits for `resume` or `discard`, after removing leftovers."""
        try:
            journal = Journal.read(self._path)
        except IndexFormatError as error:
            # Said when the caller asks for the journal, so that `discard` stays possible. Which
            # segments are the build's is not known, so nothing is removed.
            return error
        if journal is not None and journal.generation != self._base.generation:
            # Its commit went through; the writer was stopped before it could remove this.
            remove_journal(self._path)
            journal = None
        self._sweep()
        return journal

    def _check_active(self) -> None:
        if not self._active:
            raise ConfigError("the transaction is over; begin another")

    def _check_usable(self) -> None:
        self._check_active()
        if self._pending is not None:
            raise ConfigError(
                f"an unfinished build is in {self._path}",
                hint="finish it with lsr index … --resume, or throw it away with --restart",
            )

    def _new_writer(self) -> OpenSegment:
        number = self._new_number()
        writer = SegmentWriter(
            self._path / SEGMENTS / segment_name(number),
            vocab_size=self._settings["vocab_size"],
            fields=self._fields,
            passages=bool(self._settings.get("passages")),
            window_rows=self.window_rows,
            window_postings=self.window_postings,
            blocks=self._blocks(),
            dtype=checked_dtype(self._settings.get(DTYPE, DTYPES[0])),
        )
        legs = list(self._legs().values())
        return OpenSegment(self._path, writer, legs, number)

    def _new_number(self) -> int:
        self._next_segment += 1
        return self._next_segment - 1

    def _legs(self) -> dict[str, Leg]:
        return self._store.legs(self._settings)

    def _blocks(self) -> BlockWriter | None:
        """Return what makes the blocks of the next segment, None where it gets none."""
        settings = block_settings(self._settings)
        return None if settings is None else replace(self.block_writer, settings=settings)

    def _seal_open(self) -> None:
        writer = self._writer
        if writer is None:
            return
        if writer.n_documents:
            self._parts.append(writer.close())
        else:
            writer.abort()
        self._writer = None

    def _plan(self, which: Which) -> list[int]:
        """Return which segments to merge next; with `all`, the one whose blocks are not as set."""
        group = plan([part.size for part in self._parts], which)
        wanted = block_settings(self._settings)
        if group or which != "all" or not self._parts:
            return group
        [only] = self._parts
        wants = wanted is not None and only.entry.n_rows >= wanted.small
        return [0] if wants != (only.segment.blocks is not None) else []

    def _merged(self, sources: Sequence[Part]) -> list[Part]:
        for part in sources:
            # A store opened without verifying must not give damage a new, good checksum.
            Segment.open(part.segment.folder, header_xxh3=part.entry.header_xxh3)
            for found in part.entry.legs.values():
                folder = self._path / LEGS / found.folder
                PartFiles.open(folder, header_xxh3=found.header_xxh3)
        writer = self._new_writer()
        try:
            return [writer.merge(sources)]
        except BaseException:
            writer.abort()
            raise

    def _open_staged(self, entry: SegmentEntry) -> Segment:
        try:
            return Segment.open(self._path / SEGMENTS / entry.name, header_xxh3=entry.header_xxh3)
        except IndexFormatError as error:
            raise IndexFormatError(
                f"the unfinished build cannot be resumed: {error.message}", hint=RESTART_HINT
            ) from error

    def _resumed(self, part: JournalPart, segment: Segment) -> Part:
        committed = {entry.name: entry for entry in self._base.manifest.segments}
        before = {live.segment.name: live.deleted for live in self._base.segments}
        deleted, known = part.deleted, before.get(part.entry.name)
        changed = deleted is not None and (known is None or not np.array_equal(deleted, known))
        entry = part.entry
        if not part.staged:
            entry = replace(committed[entry.name], legs=entry.legs)
        legs = {
            name: open_part(self._path, entry, leg, verify=True)
            for name, leg in self._legs().items()
        }
        return Part(segment, entry, part.staged, deleted if changed else known, changed, legs)

    def _publish(self) -> Snapshot:
        base = self._base.manifest
        parts = [part for part in self._parts if part.size.n_live]
        entries = tuple(part.entry for part in parts)
        same = entries == base.segments and not any(part.changed for part in parts)
        if same and self._fields == base.fields and self._settings == base.settings:
            return self._base
        generation = base.generation + 1
        if any(part.staged for part in parts):
            disk.sync_folder(self._path / SEGMENTS)
        self._sync_legs()
        for part in parts:
            if part.changed and part.deleted is not None:
                gone = write_tombstones(self._path, part.entry.name, generation, part.deleted)
                part.entry = replace(part.entry, tombstones=gone)
        if any(part.changed for part in parts):
            disk.sync_folder(self._path / TOMBSTONES)
        manifest = Manifest(
            generation,
            self._settings,
            self._fields,
            tuple(part.entry for part in parts),
            self._next_segment,
        )
        disk.replace(self._path / MANIFEST, manifest.to_bytes())
        return self._store.published(manifest, [part.live for part in parts])

    def _finish(self, forget: Callable[[], None]) -> None:
        """End the transaction; what cannot be tidied now is left to the next writer."""
        self._active = False
        try:
            forget()
            self._sweep()
        except (IndexFormatError, StorageError) as error:
            log.warning("%s; the next writer will tidy up", error.message)
        finally:
            self._lock.release()

    def _sync_legs(self) -> None:
        if any(part.entry.legs for part in self._parts):
            disk.sync_folder(self._path / LEGS)

    def _sweep(self) -> None:
        """Remove what neither the manifest nor the journal, as they are on disk now, refer to."""
        path = self._path / MANIFEST
        manifest = Manifest.from_bytes(read_manifest(self._path), path)
        journal = Journal.read(self._path)
        keep = manifest.references() | (journal.references() if journal else set())
        sweep(self._path, keep)
        sweep_work(self._path, keep, leg_settings(manifest.settings))
