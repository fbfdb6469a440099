"""The journal of an unfinished build: what was staged when a checkpoint was written."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.errors import IndexFormatError

from . import disk
from .columns import Fields
from .manifest import SegmentEntry, format_of, parsed, seal, unseal

JOURNAL = "build.json"

RESTART_HINT = "index again with --restart, which throws the unfinished build away"

Deleted = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class JournalPart:
    """A segment of the unfinished transaction, with its tombstones so far.

    `staged` is false for one that the last commit has already.
    """

    entry: SegmentEntry
    staged: bool
    deleted: Deleted | None


@dataclass(frozen=True, slots=True)
class Journal:
    """A checkpoint: the transaction's segments, begun after commit `generation`.

    `state` is the builder's own, given back as it was.
    """

    generation: int
    next_segment: int
    settings: Mapping[str, Any]
    fields: Fields
    parts: tuple[JournalPart, ...]
    state: dict[str, Any]

    def write(self, folder: Path) -> None:
        """Put the journal in place of the one before, at once and durably."""
        content = {
            "format": format_of(self.settings),
            "generation": self.generation,
            "next_segment": self.next_segment,
            "settings": dict(self.settings),
            "fields": self.fields.to_json(),
            "parts": [
                {**part.entry.to_json(), "staged": part.staged, "deleted": _packed(part.deleted)}
                for part in self.parts
            ],
            "state": self.state,
        }
        disk.replace(folder / JOURNAL, seal(content))

    @classmethod
    def read(cls, folder: Path) -> Journal | None:
        """Return the journal of a folder, None if it has none; IndexFormatError if damaged."""
        path = folder / JOURNAL
        try:
            content = unseal(disk.read_bytes(path), path)
        except FileNotFoundError:
            return None
        except IndexFormatError as error:
            raise IndexFormatError(error.message, hint=RESTART_HINT) from error
        return parsed(
            path,
            lambda: cls(
                int(content["generation"]),
                int(content["next_segment"]),
                dict(content["settings"]),
                Fields.from_json(content["fields"]),
                tuple(_part(found) for found in content["parts"]),
                dict(content["state"]),
            ),
        )

    def references(self) -> set[str]:
        """Return the names of the segments and parts of legs that the build can go on with."""
        return {name for part in self.parts for name in part.entry.references()}


def remove_journal(folder: Path) -> None:
    """Remove a folder's journal, durably, if it has one."""
    if (folder / JOURNAL).exists():
        disk.remove_file(folder / JOURNAL)
        disk.sync_folder(folder)


def _part(found: Mapping[str, Any]) -> JournalPart:
    entry = SegmentEntry.from_json(found)
    return JournalPart(entry, bool(found["staged"]), _unpacked(found["deleted"], entry))


def _packed(deleted: Deleted | None) -> str | None:
    if deleted is None:
        return None
    return base64.b64encode(zlib.compress(np.packbits(deleted).tobytes(), 1)).decode("ascii")


def _unpacked(text: str | None, entry: SegmentEntry) -> Deleted | None:
    if text is None:
        return None
    try:
        packed = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)
        return np.unpackbits(packed, count=entry.n_documents).astype(np.bool_)
    except (binascii.Error, zlib.error) as error:
        raise ValueError(f"the tombstones of {entry.name} cannot be unpacked") from error
