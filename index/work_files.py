"""Work files: what a leg has made of a segment's documents, kept until a commit has the leg.

Encoding a corpus takes hours, and the part of a leg that was not finished goes with its
transaction. So each batch is also kept in a file of its own, in a folder beside the segments, under
a header that says what it was made of; adding the leg again takes up those that fit. They go when
a commit has the leg, or no longer has the segment.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_64_hexdigest

from lsr.errors import IndexFormatError

from . import disk
from .manifest import FORMAT, SegmentEntry, seal, unseal
from .store import names_in

#: The folder of work files in that of an index.
WORK = "encoding"

_NAME = re.compile(r"(seg-\d{8,})\.([a-z][a-z0-9]*)\.([0-9a-f]{16})\.\d{10,}\.work")

Array = npt.NDArray[np.float32]


@runtime_checkable
class SlowLeg(Protocol):
    """A leg that takes long to `prepare` documents, and can put what it gave into an array."""

    @property
    def name(self) -> str:
        """What settings and callers call it."""

    def to_json(self) -> dict[str, Any]:
        """Return the settings as the manifest keeps them."""

    def to_array(self, prepared: Any) -> Array:
        """Return what `prepare` gave as rows of float32 numbers."""

    def from_array(self, n_documents: int, rows: Array) -> Any:
        """Return what `prepare` gave for so many documents."""


class Batch(NamedTuple):
    """Documents `start` to `stop` (exclusive) of a segment, which have so many rows."""

    start: int
    stop: int
    n_rows: int


class WorkFiles:
    """What one leg, as it is set now, has made of the documents of one segment.

    A segment is known by the checksum of its header, which never changes, and a leg by its
    settings, among them the fingerprint of its model. A file that does not fit, or that was not
    written whole, counts as none. Only for the holder of the writer's lock.
    """

    def __init__(self, folder: Path, segment: SegmentEntry, leg: SlowLeg) -> None:
        self._folder = folder / WORK
        self._leg = leg
        self._prefix = f"{segment.name}.{leg.name}.{work_key(leg.to_json())}"
        self._about = {"format": FORMAT, "segment": segment.header_xxh3, "leg": self._prefix}

    def read(self, batch: Batch) -> Any | None:
        """Return what was made of a batch, as the leg's writer takes it; None if it is not here."""
        path = self._path(batch)
        try:
            head, _, body = disk.read_bytes(path).partition(b"\n")
            found = unseal(head + b"\n", path)
        except (FileNotFoundError, IndexFormatError):
            return None
        if found != self._header(batch, body) or not batch.n_rows or len(body) % batch.n_rows:
            return None
        rows = np.frombuffer(body, "<f4").astype(np.float32, copy=False)
        return self._leg.from_array(batch.stop - batch.start, rows.reshape(batch.n_rows, -1))

    def write(self, batch: Batch, prepared: Any) -> None:
        """Keep what was made of a batch, durably."""
        body = np.ascontiguousarray(self._leg.to_array(prepared), "<f4").tobytes()
        disk.make_folder(self._folder, exist_ok=True)
        path = self._path(batch)
        disk.remove_file(path)  # of the same name, and of no use
        disk.write_new(path, seal(self._header(batch, body)) + body)
        disk.sync_folder(self._folder)

    def _path(self, batch: Batch) -> Path:
        return self._folder / f"{self._prefix}.{batch.start:010d}.work"

    def _header(self, batch: Batch, body: bytes) -> dict[str, Any]:
        about = {"batch": list(batch), "bytes": len(body), "xxh3": xxh3_64_hexdigest(body)}
        return {**self._about, **about}


def work_key(settings: Mapping[str, Any]) -> str:
    """Return a hash of the settings of a leg.

    Of its model, the fingerprint alone: a model may move, and its vectors stay the same.
    """
    model = settings.get("model")
    named = model.get("fingerprint") if isinstance(model, Mapping) else model
    return xxh3_64_hexdigest(json.dumps({**settings, "model": named}, sort_keys=True).encode())


def is_work_name(name: str) -> bool:
    """Return whether a file of that name is one of ours."""
    return _NAME.fullmatch(name) is not None


def is_needed(name: str, keep: set[str], legs: Mapping[str, Any]) -> bool:
    """Return whether a work file may be taken up again.

    `keep` has the segments that there are, and `legs` the settings of the legs that are made.
    """
    found = _NAME.fullmatch(name)
    if found is None or found[1] not in keep:
        return False
    return found[2] not in legs or work_key(legs[found[2]]) != found[3]


def sweep_work(path: Path, keep: set[str], legs: Mapping[str, Any]) -> None:
    """Remove the work files of an index that cannot be taken up, and their folder if empty."""
    folder = path / WORK
    if not folder.is_dir():
        return
    for name in names_in(folder):
        if is_work_name(name) and not is_needed(name, keep, legs):
            disk.remove_file(folder / name)
    disk.remove_folder(folder)
