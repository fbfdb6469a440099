"""lsr as a retrieval engine of lsr-benchmark: its folders in, its files out.

In: a dataset folder, which only gives the collection its name here (`lsr-benchmark evaluate`
reads its qrels), and an embedding folder (`doc/doc-embeddings.npz`, `doc/doc-ids.txt`, the same
under `query/`). Out: `run.txt.gz`, and what tirex-tracker measured while the index was made
(`index-metadata.yml`) and while the queries were answered (`retrieval-metadata.yml`). As in the
other engines there, the vectors are in memory before either is measured.
"""

from __future__ import annotations

import gzip
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lsr.errors import ConfigError, DataError
from lsr.index.index import Index
from lsr.index.warmup import warmup
from lsr.sparse import SparseVector, SparseVectors
from lsr.types import Document
from lsr.vector_files import Side, read_vectors
from lsr.vector_npz import NpzRows, largest_term, npz_file

RUN, INDEXING, RETRIEVAL = "run.txt.gz", "index-metadata.yml", "retrieval-metadata.yml"
_SIDES: dict[Side, str] = {"documents": "doc", "queries": "query"}
_BATCH = 8192
#: Where tirex-tracker leaves what it recorded; one measurement must not find the other's.
_RECORDS = ".tirex-tracker"

#: Measures what happens inside of it, and writes that to the file it was given.
Tracker = Callable[[Path], AbstractContextManager[Any]]
Vectors = list[tuple[list[str], SparseVectors]]


@dataclass(frozen=True, slots=True)
class Task:
    """One run of the benchmark; `options` go to Index.search with each query."""

    dataset: Path
    embedding: Path
    output: Path
    k: int = 10
    team: str = "lsr"
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tag(self) -> str:
        """What the run is called: engine, embedding, depth, and the options of the search."""
        parts = ["lsr", self.embedding.name, str(self.k)]
        parts += [f"{name}={value}" for name, value in sorted(self.options.items())]
        return "-".join("_".join(part.split()) for part in parts)

    def metadata(self) -> dict[str, Any]:
        """Return what `lsr-benchmark evaluate` wants to know of a run."""
        return {
            "actor": {"team": self.team},
            "tag": self.tag,
            "data": {
                "test collection": {"name": str(self.dataset)},
                "embedding model": {"name": self.embedding.name},
            },
        }


@dataclass(frozen=True, slots=True)
class TaskReport:
    """What a run did, in wall-clock seconds and bytes."""

    documents: int
    queries: int
    hits: int
    index_seconds: float
    index_bytes: int
    retrieval_seconds: float


def run_task(task: Task, tracker: Tracker | None = None) -> TaskReport:
    """Index the embedding's documents, answer its queries, write the three files; return a report.

    Kernels are compiled or loaded before anything is measured. Raises ConfigError for folders
    that are not there or hold a run already, and DataError for vectors that cannot be read.
    """
    _check(task)
    if task.k < 1:
        raise ConfigError(f"k is {task.k}; it must be at least 1")
    measured = tirex_tracker(task.metadata()) if tracker is None else tracker
    size = _vocab_size(task.embedding)
    documents = _load(task.embedding, "documents", size)
    queries = _load(task.embedding, "queries", size)
    asked = [
        (id, vector) for ids, vectors in queries for id, vector in zip(ids, vectors, strict=True)
    ]
    warmup()
    task.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".index-", dir=task.output) as folder:
        started = time.perf_counter()
        with measured(task.output / INDEXING):
            index = _index(Path(folder) / "index", documents, size, task)
        index_seconds = time.perf_counter() - started
        shutil.rmtree(task.output / _RECORDS, ignore_errors=True)
        started = time.perf_counter()
        with measured(task.output / RETRIEVAL):
            answers = _answer(index, [vector for _, vector in asked], task)
        retrieval_seconds = time.perf_counter() - started
        index_bytes = index.info().bytes
    hits = _write_run(task, [id for id, _ in asked], answers)
    _keep_metadata(task)
    return TaskReport(
        documents=sum(len(ids) for ids, _ in documents),
        queries=len(asked),
        hits=hits,
        index_seconds=index_seconds,
        index_bytes=index_bytes,
        retrieval_seconds=retrieval_seconds,
    )


def tirex_tracker(metadata: Mapping[str, Any]) -> Tracker:
    """Return tirex-tracker as a Tracker that writes `metadata` beside what it measures."""
    try:
        from tirex_tracker import ExportFormat, register_metadata, tracking
    except ModuleNotFoundError as error:
        raise ConfigError(
            "lsr-benchmark wants time, memory and energy as tirex-tracker measures them, "
            "and that is not installed",
            hint="pip install tirex-tracker (lsr-benchmark brings it, too)",
        ) from error

    @contextmanager
    def measured(path: Path) -> Iterator[None]:
        register_metadata(metadata)
        with tracking(export_file_path=path, export_format=ExportFormat.IR_METADATA):
            yield

    return measured


def _check(task: Task) -> None:
    if not task.dataset.is_dir():
        raise ConfigError(
            f"{task.dataset}: there is no such folder",
            hint="give the folder of a dataset: corpus.jsonl.gz, queries.jsonl and qrels.txt",
        )
    for side in _SIDES.values():
        archive = npz_file(task.embedding / side, side)
        if archive is None or not archive.is_file():
            raise ConfigError(
                f"{task.embedding}: there is no {side}/{side}-embeddings.npz",
                hint="give the folder of an embedding, such as lsr-benchmark "
                "download-embeddings makes",
            )
    for name in (RUN, INDEXING, RETRIEVAL):
        if (task.output / name).exists():
            raise ConfigError(
                f"{task.output} holds a run already ({name})", hint="give another --output"
            )


def _vocab_size(embedding: Path) -> int:
    """Return how many terms the two archives have together; they need not say it themselves."""
    sizes = []
    for side in _SIDES.values():
        archive = embedding / side / f"{side}-embeddings.npz"
        sizes.append(NpzRows(archive).vocab_size or largest_term(archive) + 1)
    return max(*sizes, 1)


def _load(embedding: Path, side: Side, size: int) -> Vectors:
    folder = embedding / _SIDES[side]
    declared = NpzRows(folder / f"{_SIDES[side]}-embeddings.npz").vocab_size
    found: Vectors = []
    for batch in read_vectors(folder, vocab_size=declared or size, side=side, batch=_BATCH):
        for id in batch.ids:
            if any(character.isspace() for character in id):
                raise DataError(f"{folder}: id {id!r} has a blank, which a TREC run cannot hold")
        found.append((batch.ids, _widened(batch.vectors, size)))
    return found


def _widened(vectors: SparseVectors, size: int) -> SparseVectors:
    """Return the vectors in a vocabulary that may be larger than what their file says."""
    if vectors.vocab_size == size:
        return vectors
    parts = vectors.indptr, vectors.terms, vectors.weights
    return SparseVectors.from_arrays(*parts, vocab_size=size)


def _index(path: Path, documents: Vectors, size: int, task: Task) -> Index:
    """Return an index that is ready to search: in one piece and, unless exact, calibrated."""
    index = Index.create(path, encoder=None, vocab_size=size)
    for ids, vectors in documents:
        index.add([Document(id) for id in ids], vectors=vectors)
    index.commit()
    if index.info().n_segments > 1:
        index.merge()
    elif not task.options.get("exact"):
        index.calibrate()
    return index


def _answer(
    index: Index, queries: Sequence[SparseVector], task: Task
) -> list[list[tuple[str, float]]]:
    """Return the hits of each query, asked one after another in one thread."""
    answers = []
    for query in queries:
        result = index.search(query, k=task.k, **task.options)
        answers.append(list(zip(result.ids, result.scores, strict=True)))
    return answers


def _write_run(
    task: Task, ids: Sequence[str], answers: Sequence[Sequence[tuple[str, float]]]
) -> int:
    written = 0
    # No time stamp, so that the same run gives the same bytes.
    with (
        (task.output / RUN).open("wb") as raw,
        gzip.GzipFile("", "wb", 6, raw, 0) as run,
    ):
        for id, hits in zip(ids, answers, strict=True):
            for rank, (document, score) in enumerate(hits, 1):
                run.write(f"{id} Q0 {document} {rank} {score:.9g} {task.tag}\n".encode())
                written += 1
    return written


def _keep_metadata(task: Task) -> None:
    """Copy what the embedding says of its own making to where the benchmark looks for it."""
    for side in _SIDES.values():
        for path in sorted((task.embedding / side).glob("*.y*ml")):
            kept = task.output / ".embedding"
            kept.mkdir(exist_ok=True)
            shutil.copyfile(path, kept / path.name)
