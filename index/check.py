"""Check: everything that is wrong with an index on disk, and what it weighs, without raising."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lsr.errors import LsrError

from . import disk
from .journal import JOURNAL, Journal
from .leg_files import PartFiles, part_problems
from .legs import SPARSE, leg_settings, make_leg
from .lock import HOLDER, LOCK
from .manifest import (
    LEGS,
    MANIFEST,
    SEGMENTS,
    TOMBSTONES,
    Manifest,
    SegmentEntry,
    is_part_name,
    is_segment_name,
    is_tombstone_name,
    read_manifest,
)
from .segment import Segment, segment_problems
from .store import TEMPORARY, names_in
from .tombstones import read_tombstones
from .work_files import WORK, is_needed, is_work_name

_OWN_FILES = {MANIFEST, JOURNAL, LOCK, HOLDER}
#: `queue` is the service's: writes that it has accepted and not yet committed.
_OWN_NAMES = _OWN_FILES | {SEGMENTS, TOMBSTONES, LEGS, WORK, "queue"}


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What `check_folder` found.

    `problems` are damage, a sentence each that names the file; `notes` are harmless (what a
    killed writer left, an unfinished build, files that are not ours). `bytes` has the size of
    each part: one entry for each segment and for each leg's part of it, `tombstones`, `other`.
    """

    path: Path
    problems: list[str]
    notes: list[str]
    bytes: Mapping[str, int]
    generation: int | None
    n_documents: int

    @property
    def ok(self) -> bool:
        """Whether there is no problem."""
        return not self.problems


def check_folder(path: Path) -> CheckReport:
    """Return all problems of the index at `path`; every file is read once.

    A commit by another process while this runs can look like a missing file; then it begins
    again.
    """
    while True:
        before = _generation(path)
        report = _check_once(path)
        if report.ok or _generation(path) == before:
            return report


def _check_once(path: Path) -> CheckReport:
    problems: list[str] = []
    manifest: Manifest | None = None
    try:
        manifest = _manifest(path)
    except LsrError as error:
        problems.append(error.message)
    for entry in manifest.segments if manifest else ():
        problems += _entry_problems(path, entry)
        problems += _leg_problems(path, entry, manifest.settings if manifest else {})
    keep = manifest.references() if manifest else set()
    notes: list[str] = []
    try:
        journal = Journal.read(path)
    except LsrError as error:
        problems.append(error.message)
        journal = None
    if journal is not None:
        notes.append(f"{path / JOURNAL}: a build was not finished; it can be resumed")
        keep |= journal.references()
    return CheckReport(
        path,
        problems,
        notes + _leftovers(path, keep) + _work(path, keep, manifest),
        _sizes(path),
        manifest.generation if manifest else None,
        sum(_n_live(entry) for entry in manifest.segments) if manifest else 0,
    )


def _manifest(path: Path) -> Manifest:
    return Manifest.from_bytes(read_manifest(path), path / MANIFEST)


def _generation(path: Path) -> int | None:
    try:
        return _manifest(path).generation
    except LsrError:
        return None


def _n_live(entry: SegmentEntry) -> int:
    return entry.n_documents - (entry.tombstones.count if entry.tombstones else 0)


def _entry_problems(path: Path, entry: SegmentEntry) -> list[str]:
    folder = path / SEGMENTS / entry.name
    try:
        problems = segment_problems(folder, entry.header_xxh3)
        if not problems:
            # The checksums hold, so this only fails if the system refuses to map the files.
            Segment.open(folder, verify=False)
    except LsrError as error:
        problems = [error.message]
    try:
        read_tombstones(path, entry)
    except LsrError as error:
        problems.append(error.message)
    return problems


def _leg_problems(path: Path, entry: SegmentEntry, settings: Mapping[str, Any]) -> list[str]:
    problems = []
    wanted = leg_settings(settings)
    wanted.pop(SPARSE, None)
    for name, how in wanted.items():
        part = entry.legs.get(name)
        if part is None:
            problems.append(f"{path}: the segment {entry.name} has no part of the leg {name!r}")
            continue
        folder = path / LEGS / part.folder
        damage = part_problems(folder, part.header_xxh3)
        problems += damage
        if damage:
            continue
        try:
            opened = make_leg(name, how).open(PartFiles.open(folder, verify=False))
            if opened.n_documents != entry.n_documents:
                problems.append(
                    f"{folder} has {opened.n_documents:,} documents; the segment {entry.name} "
                    f"has {entry.n_documents:,}"
                )
            problems += opened.problems()
        except LsrError as error:
            problems.append(error.message)
    return problems


def _leftovers(path: Path, keep: set[str]) -> list[str]:
    """Return a note for each name in the folder that neither a commit nor a build refers to."""
    notes = []
    for name in names_in(path):
        if name in TEMPORARY:
            notes.append(f"{path / name}: left by a writer that was stopped; the next removes it")
        elif name not in _OWN_NAMES:
            notes.append(f"{path / name}: not a file of lsr; it is left alone")
    kinds = ((SEGMENTS, is_segment_name), (LEGS, is_part_name), (TOMBSTONES, is_tombstone_name))
    for folder, is_ours in kinds:
        for name in names_in(path / folder):
            where = path / folder / name
            if not is_ours(name):
                notes.append(f"{where}: not a file of lsr; it is left alone")
            elif name not in keep:
                notes.append(
                    f"{where}: left by a writer that was stopped or is at work; "
                    "the next one removes it"
                )
    return notes


def _work(path: Path, keep: set[str], manifest: Manifest | None) -> list[str]:
    """Return a note about the work of a leg that was not added to its end, if there is any."""
    legs = leg_settings(manifest.settings) if manifest else {}
    names = names_in(path / WORK)
    notes = [
        f"{path / WORK / name}: not a file of lsr; it is left alone"
        for name in names
        if not is_work_name(name)
    ]
    needed = [name for name in names if is_needed(name, keep, legs)]
    if needed:
        size = sum(_size(path / WORK / name) for name in needed)
        notes.append(
            f"{path / WORK}: {size:,} bytes of a leg whose encoding was stopped; adding it again "
            "goes on from there"
        )
    if sum(map(is_work_name, names)) > len(needed):
        notes.append(f"{path / WORK}: some of it is of no use; the next writer removes it")
    return notes


def _sizes(path: Path) -> dict[str, int]:
    sizes = {
        name: sum(_size(path / folder / name / file) for file in names_in(path / folder / name))
        for folder, is_ours in ((SEGMENTS, is_segment_name), (LEGS, is_part_name))
        for name in names_in(path / folder)
        if is_ours(name)
    }
    tombstones = path / TOMBSTONES
    sizes["tombstones"] = sum(_size(tombstones / name) for name in names_in(tombstones))
    sizes["other"] = sum(_size(path / name) for name in names_in(path) if name in _OWN_FILES)
    sizes["other"] += sum(_size(path / WORK / name) for name in names_in(path / WORK))
    return sizes


def _size(path: Path) -> int:
    try:
        return disk.size(path)
    except FileNotFoundError:
        return 0  # a commit removed it just now
