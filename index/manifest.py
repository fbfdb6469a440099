"""The manifest: what a commit consists of, and the sealed JSON that it is kept in."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from xxhash import xxh3_64_hexdigest

from lsr.errors import ConfigError, IndexFormatError

from . import disk
from .columns import Fields

#: The format this version writes, and what it writes where an index has other legs than `sparse`:
#: an earlier lsr, which would drop them with its first commit, refuses that.
FORMAT = 3
LEGS_FORMAT = 4
#: Of the header of a segment whose weights are float16, which an earlier lsr could not read.
HALVES_FORMAT = 5
MANIFEST = "manifest.json"
SEGMENTS = "segments"
TOMBSTONES = "tombstones"
LEGS = "legs"

CHECK_HINT = "lsr check DIR lists everything that is damaged; restore from a copy, or index again"

_SEGMENT_NAME = re.compile(r"seg-\d{8,}")
_SEAL = re.compile(rb',"checksum":"([0-9a-f]{16})"}\n\Z')
_TOMBSTONE_NAME = re.compile(r"seg-\d{8,}\.\d{8,}\.bits")
_PART_NAME = re.compile(r"seg-\d{8,}\.[a-z][a-z0-9]*\.\d{8,}")

Shape = TypeVar("Shape")


def segment_name(number: int) -> str:
    """Return the folder name of a segment.

    >>> segment_name(7)
    'seg-00000007'
    """
    return f"seg-{number:08d}"


def tombstone_name(segment: str, generation: int) -> str:
    """Return the name of a segment's tombstone file as written by a commit.

    >>> tombstone_name("seg-00000007", 3)
    'seg-00000007.00000003.bits'
    """
    return f"{segment}.{generation:08d}.bits"


def part_name(segment: str, leg: str, number: int) -> str:
    """Return the folder name of what a leg keeps for a segment.

    `number` is one that no segment and no other part of the index has had.

    >>> part_name("seg-00000007", "bm25", 3)
    'seg-00000007.bm25.00000003'
    """
    return f"{segment}.{leg}.{number:08d}"


def is_segment_name(name: str) -> bool:
    """Return whether a folder of that name is one of ours."""
    return _SEGMENT_NAME.fullmatch(name) is not None


def is_tombstone_name(name: str) -> bool:
    """Return whether a file of that name is one of ours."""
    return _TOMBSTONE_NAME.fullmatch(name) is not None


def is_part_name(name: str) -> bool:
    """Return whether a folder of that name is a leg's part of a segment."""
    return _PART_NAME.fullmatch(name) is not None


def seal(content: Mapping[str, Any]) -> bytes:
    """Return JSON that ends in its own checksum; the same content gives the same bytes.

    >>> unseal(seal({"format": FORMAT}), Path("x.json"))
    {'format': 3}
    """
    body = _dump(content)
    return body[:-1] + b',"checksum":"%s"}\n' % xxh3_64_hexdigest(body).encode()


def unseal(data: bytes, path: Path) -> dict[str, Any]:
    """Return the content of sealed JSON, without the checksum; `path` is for messages.

    The checksum is over every byte before it, so that no other spelling passes either.
    """
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"it is not JSON ({error})", "JSON that ends in a checksum") from error
    if not isinstance(content, dict):
        raise damaged(path, "it is JSON of another kind", "an object that ends in a checksum")
    version = content.get("format")
    if isinstance(version, int) and version > HALVES_FORMAT:
        raise IndexFormatError(
            f"{path} is format {version}; this lsr reads {FORMAT} to {HALVES_FORMAT}",
            hint="install a newer lsr, or index again with this one",
        )
    if isinstance(version, int) and version < FORMAT:
        raise IndexFormatError(
            f"{path} is format {version}, an earlier one; this lsr reads {FORMAT}",
            hint="index the documents again: lsr index SOURCE --out DIR",
        )
    end = _SEAL.search(data)
    if end is None:
        raise damaged(path, "its last entry is no checksum", "JSON that ends in a checksum")
    found, expected = xxh3_64_hexdigest(data[: end.start()] + b"}"), end[1].decode()
    if found != expected:
        raise damaged(path, f"its checksum is {found}", f"{expected}, as it says at its end")
    del content["checksum"]
    return content


def damaged(path: Path, found: str, expected: str) -> IndexFormatError:
    """Return the error for a file that is not as it was written."""
    return IndexFormatError(f"{path} is damaged: {found}; expected {expected}", hint=CHECK_HINT)


def parsed(path: Path, parse: Callable[[], Shape]) -> Shape:
    """Return what `parse` makes of checked JSON, or say that it is not the shape expected."""
    try:
        return parse()
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise damaged(path, f"an entry cannot be read ({error!r})", "what lsr writes") from error


@dataclass(frozen=True, slots=True)
class TombstoneEntry:
    """The deleted documents of a segment: one bit for each document in `file`."""

    file: str
    count: int
    xxh3: str


@dataclass(frozen=True, slots=True)
class PartEntry:
    """What a leg keeps for a segment: a folder in `legs`, and the checksum of its header."""

    folder: str
    header_xxh3: str


@dataclass(frozen=True, slots=True)
class SegmentEntry:
    """A segment of a commit; `header_xxh3` is the checksum of its header, which has the others.

    `legs` has the part of each leg but `sparse`, whose arrays are the segment's own.
    """

    name: str
    n_documents: int
    n_rows: int
    header_xxh3: str
    tombstones: TombstoneEntry | None = None
    legs: Mapping[str, PartEntry] = field(default_factory=dict)

    @property
    def number(self) -> int:
        """The number in the name."""
        return int(self.name.removeprefix("seg-"))

    def references(self) -> set[str]:
        """Return the names of its folder, of its parts of legs and of its tombstones."""
        names = {self.name, *(part.folder for part in self.legs.values())}
        return names | {self.tombstones.file} if self.tombstones else names

    def to_json(self) -> dict[str, Any]:
        """Return the entry as the manifest keeps it."""
        gone = self.tombstones
        found = {
            "name": self.name,
            "n_documents": self.n_documents,
            "n_rows": self.n_rows,
            "header_xxh3": self.header_xxh3,
            "tombstones": gone and {"file": gone.file, "count": gone.count, "xxh3": gone.xxh3},
        }
        if not self.legs:
            return found
        legs = {
            leg: {"folder": part.folder, "header_xxh3": part.header_xxh3}
            for leg, part in self.legs.items()
        }
        return {**found, "legs": legs}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> SegmentEntry:
        """Return the entry that `to_json` wrote."""
        name, gone = found["name"], found["tombstones"]
        if not is_segment_name(name) or not (gone is None or is_tombstone_name(gone["file"])):
            raise ValueError(f"{name!r} is not the name of a segment")
        legs = {
            leg: PartEntry(str(part["folder"]), str(part["header_xxh3"]))
            for leg, part in found.get("legs", {}).items()
        }
        for part in legs.values():
            if not is_part_name(part.folder):
                raise ValueError(f"{part.folder!r} is not the name of a leg's part")
        return cls(
            name,
            int(found["n_documents"]),
            int(found["n_rows"]),
            str(found["header_xxh3"]),
            gone and TombstoneEntry(gone["file"], int(gone["count"]), str(gone["xxh3"])),
            legs,
        )


@dataclass(frozen=True, slots=True)
class Manifest:
    """One commit: its generation, the index's settings and fields, and its segments in order."""

    generation: int
    settings: Mapping[str, Any]
    fields: Fields
    segments: tuple[SegmentEntry, ...]
    next_segment: int

    def to_bytes(self) -> bytes:
        """Return the manifest as its file holds it: no times, so equal commits are equal bytes."""
        return seal(
            {
                "format": format_of(self.settings),
                "generation": self.generation,
                "settings": dict(self.settings),
                "fields": self.fields.to_json(),
                "next_segment": self.next_segment,
                "segments": [entry.to_json() for entry in self.segments],
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes, path: Path) -> Manifest:
        """Return the manifest in `data`, every byte checked; `path` is for messages."""
        content = unseal(data, path)
        return parsed(
            path,
            lambda: cls(
                int(content["generation"]),
                dict(content["settings"]),
                Fields.from_json(content["fields"]),
                tuple(SegmentEntry.from_json(entry) for entry in content["segments"]),
                int(content["next_segment"]),
            ),
        )

    def with_settings(self, settings: Mapping[str, Any]) -> Manifest:
        """Return the same commit with other settings."""
        return replace(self, settings=plain(settings))

    def references(self) -> set[str]:
        """Return the names that it has in the folders of segments, legs and tombstones."""
        return {name for entry in self.segments for name in entry.references()}


def format_of(settings: Mapping[str, Any]) -> int:
    """Return the format of a manifest with such settings.

    >>> format_of({}), format_of({"legs": {"sparse": {}, "bm25": {}}})
    (3, 4)
    """
    return LEGS_FORMAT if LEGS in settings else FORMAT


def read_manifest(folder: Path) -> bytes:
    """Return the bytes of a folder's manifest; IndexFormatError if there is none."""
    try:
        return disk.read_bytes(folder / MANIFEST)
    except FileNotFoundError as error:
        if (folder / SEGMENTS).is_dir():
            raise IndexFormatError(
                f"{folder / MANIFEST} is missing; the folder has segments but no commit",
                hint="restore the manifest from a copy, or index again",
            ) from error
        what = "has no manifest.json" if folder.is_dir() else "does not exist"
        raise IndexFormatError(
            f"{folder} is not an index: it {what}", hint=f"lsr index SOURCE --out {folder}"
        ) from error


def plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as they will come back from disk; ConfigError if JSON cannot hold them."""
    try:
        found: dict[str, Any] = json.loads(_dump(settings))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the settings of an index must be JSON: {error}") from error
    return found


def _dump(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":"), allow_nan=False).encode("ascii")
