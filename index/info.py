"""IndexInfo: what an index holds and what it weighs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .settings import IndexSettings
from .store import Snapshot, Store


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """Counts and sizes of an index at one commit; sizes in bytes, of all files in the folder."""

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
    )


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
