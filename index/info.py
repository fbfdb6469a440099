"""IndexInfo: what an index holds and what it weighs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .legs import SPARSE, leg_settings
from .settings import IndexSettings
from .store import Snapshot, Store


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """Counts and sizes of an index at one commit; sizes in bytes, of all files in the folder.

    `legs` has for each leg its settings, what it counts and what its files weigh.
    """

    path: str
    generation: int
    n_documents: int
    n_rows: int
    n_deleted: int
    n_segments: int
    postings: int
    bytes: int
    bytes_per_document: float
    terms_per_row: float
    fields: Mapping[str, str]
    settings: Mapping[str, Any]
    unfinished_build: bool
    legs: Mapping[str, Mapping[str, Any]]


def describe(store: Store, snapshot: Snapshot, settings: IndexSettings) -> IndexInfo:
    """Return the IndexInfo of a snapshot."""
    segments = [live.segment for live in snapshot.segments]
    n_live = sum(live.n_live for live in snapshot.segments)
    n_rows = sum(segment.n_rows for segment in segments)
    postings = sum(int(segment.forward.indptr[-1]) for segment in segments)
    size = _folder_size(store.path)
    return IndexInfo(
        path=str(store.path),
        generation=snapshot.generation,
        n_documents=n_live,
        n_rows=n_rows,
        n_deleted=sum(segment.n_documents for segment in segments) - n_live,
        n_segments=len(segments),
        postings=postings,
        bytes=size,
        bytes_per_document=size / max(1, n_live),
        terms_per_row=postings / max(1, n_rows),
        fields={name: str(kind) for name, kind in snapshot.manifest.fields.items()},
        settings=settings.to_json(),
        unfinished_build=(store.path / "build.json").exists(),
        legs=_legs(store, snapshot),
    )


def _legs(store: Store, snapshot: Snapshot) -> dict[str, dict[str, Any]]:
    settings = snapshot.manifest.settings
    found = {name: dict(how) for name, how in leg_settings(settings).items()}
    if SPARSE in found:
        arrays = (
            array
            for live in snapshot.segments
            for part in (live.segment.forward, live.segment.postings, live.segment.blocks or ())
            for array in part
        )
        found[SPARSE] = {"bytes": sum(array.nbytes for array in arrays)}
    for name, leg in store.legs(settings).items():
        size = sum(live.legs[name].bytes for live in snapshot.segments)
        found[name] |= {**leg.searcher(snapshot.segments).statistics(), "bytes": size}
    return found


def _folder_size(path: Path) -> int:
    total = 0
    for file in path.rglob("*"):
        try:
            if file.is_file():
                total += file.stat().st_size
        except FileNotFoundError:
            # A commit in another process may remove an old segment while we add up.
            continue
    return total
