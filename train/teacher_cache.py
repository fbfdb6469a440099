"""The cache of teachers' scores: each pair is scored once, whatever happens in between."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lsr.errors import DataError, StorageError
from lsr.index.disk import reported, sync_folder

from .settings_run import TeacherSettings
from .teachers import load_teacher

if TYPE_CHECKING:
    from .prepared import Prepared
    from .teachers import Scorer

Hashes = npt.NDArray[np.uint64]
Scores = npt.NDArray[np.float32]

#: Documents that are scored before their scores are written.
PART = 1024
#: Parts that are put together into one file, so that a long run does not leave thousands.
_PARTS = 64

#: Told what is going on: teacher, documents done, documents in all.
Progress = Callable[[str, int, int], None]


class ScoreCache:
    """The scores of one teacher on disk: Parquet files of query hash, document hash and score.

    Hashes are those of `prepared.text_hash`. A file is written whole or not at all, so that
    stopping at any moment loses at most the part that was being scored.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with reported(folder, "mkdir"):
            folder.mkdir(parents=True, exist_ok=True)
        parts = [self._read(path) for path in self._files()]
        queries, documents, scores = (
            np.concatenate([part[at] for part in parts]) if parts else np.empty(0, kind)
            for at, kind in enumerate((np.uint64, np.uint64, np.float32))
        )
        order = np.argsort(pair_keys(queries, documents), kind="stable")
        self._queries: Hashes = queries[order]
        self._documents: Hashes = documents[order]
        self._scores: Scores = scores[order]
        self._keys: Hashes = pair_keys(self._queries, self._documents)

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, queries: Hashes, documents: Hashes) -> Scores:
        """Return the score of each pair, NaN where it is not known."""
        found = np.full(len(queries), np.nan, np.float32)
        if not len(self._keys):
            return found
        at = np.searchsorted(self._keys, pair_keys(queries, documents))
        at = np.minimum(at, len(self._keys) - 1)
        known = (self._queries[at] == queries) & (self._documents[at] == documents)
        found[known] = self._scores[at[known]]
        return found

    def append(self, queries: Hashes, documents: Hashes, scores: Scores) -> None:
        """Write the scores of some pairs, durably; `find` knows them when it is opened again."""
        self._write(queries, documents, scores)
        files = self._files()
        if len(files) >= _PARTS:
            parts = [self._read(path) for path in files]
            merged = [np.concatenate([part[at] for part in parts]) for at in range(3)]
            self._write(*merged)
            for path in files:
                path.unlink()

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("part-*.parquet"))

    def _write(self, queries: Hashes, documents: Hashes, scores: Scores) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        files = self._files()
        number = 1 + (int(files[-1].stem.partition("-")[2]) if files else 0)
        path = self.folder / f"part-{number:08d}.parquet"
        partial = self.folder / f".{path.name}.{os.getpid()}.tmp"
        table = pa.table({"query": queries, "document": documents, "score": scores})
        try:
            with reported(path, "write"):
                pq.write_table(table, partial, compression="zstd")
                with partial.open("rb+") as file:
                    os.fsync(file.fileno())
                partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        sync_folder(self.folder)

    def _read(self, path: Path) -> tuple[Hashes, Hashes, Scores]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(path)
            return (
                table.column("query").to_numpy().astype(np.uint64),
                table.column("document").to_numpy().astype(np.uint64),
                table.column("score").to_numpy().astype(np.float32),
            )
        except (pa.ArrowException, OSError, KeyError) as error:
            raise StorageError(
                f"{path} is not a file of scores ({error})",
                hint="remove that file; its scores are computed again",
            ) from error


def teacher_scores(
    prepared: Prepared,
    settings: TeacherSettings,
    cache: Path,
    *,
    threads: int | None = None,
    on_progress: Progress | None = None,
) -> Scores:
    """Return (teachers, candidates) float32: the raw score of every candidate, in their order.

    Scores that are not in `cache` yet are computed, a document at a time for all its queries, and
    written there in parts; what was interrupted goes on where it stopped.
    """
    rows = []
    queries = np.repeat(prepared.query_hash, np.diff(prepared.indptr))
    documents = prepared.document_hash[prepared.documents]
    for teacher in settings.models:
        if teacher.kind == "precomputed":
            rows.append(prepared.scores[teacher.field])
            continue
        scorer = load_teacher(teacher, threads=threads)
        folder = cache / f"{teacher.kind}-{scorer.fingerprint[:16]}"
        known = ScoreCache(folder).find(queries, documents)
        if np.isnan(known).any():
            _score_missing(prepared, scorer, folder, np.isnan(known), teacher.model, on_progress)
            known = ScoreCache(folder).find(queries, documents)
        _check(known, prepared, teacher.model)
        rows.append(known)
    return np.stack(rows) if rows else np.empty((0, len(prepared.documents)), np.float32)


def _score_missing(
    prepared: Prepared,
    scorer: Scorer,
    folder: Path,
    missing: npt.NDArray[np.bool_],
    name: str,
    on_progress: Progress | None,
) -> None:
    candidates = np.flatnonzero(missing)
    examples = np.searchsorted(prepared.indptr, candidates, side="right") - 1
    numbers = prepared.documents[candidates]
    cache = ScoreCache(folder)
    wanted = np.unique(numbers)
    if on_progress is not None:
        on_progress(name, 0, len(wanted))
    # The same query may come with several examples; it is read once.
    _, first, place = np.unique(
        prepared.query_hash[examples], return_index=True, return_inverse=True
    )
    asked = scorer.read_queries([prepared.query(int(examples[at])) for at in first])
    order = np.argsort(numbers, kind="stable")
    examples, numbers, place = examples[order], numbers[order], place[order]
    for start in range(0, len(wanted), PART):
        part = wanted[start : start + PART]
        low, high = np.searchsorted(numbers, (part[0], part[-1] + 1))
        texts = [prepared.document(int(number)) for number in part]
        pairs = np.unique(
            np.stack([place[low:high], np.searchsorted(part, numbers[low:high])]), axis=1
        )
        scores = scorer.score(asked, texts, (pairs[0], pairs[1]))
        hashes = prepared.query_hash[examples[low:high]]
        by_place = np.zeros(int(place.max()) + 1, np.uint64)
        by_place[place[low:high]] = hashes
        cache.append(by_place[pairs[0]], prepared.document_hash[part][pairs[1]], scores)
        if on_progress is not None:
            on_progress(name, start + len(part), len(wanted))


def _check(scores: Scores, prepared: Prepared, name: str) -> None:
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        example = int(np.searchsorted(prepared.indptr, bad[0], side="right") - 1)
        raise DataError(
            f"teacher {name}: {len(bad):,} score(s) are not finite, the first of "
            f"{prepared.place(example)}",
            hint="look at that example, or leave this teacher out",
        )


def pair_keys(queries: Hashes, documents: Hashes) -> Hashes:
    """Return one 64-bit key for each pair of hashes; equal pairs have equal keys."""
    turned = (documents << np.uint64(31)) | (documents >> np.uint64(33))
    with np.errstate(over="ignore"):
        mixed = (queries ^ turned) * np.uint64(0x9E3779B97F4A7C15)
    found: Hashes = mixed ^ (mixed >> np.uint64(29))
    return found
