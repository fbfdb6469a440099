"""Prepared data: every example checked once, documents stored once, any example at hand."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_64_intdigest

from lsr.errors import DataError
from lsr.index.disk import reported
from lsr.rejects import Rejects

from .examples import Example
from .settings_run import DataSettings, SourceSettings
from .sources import read_examples, resolve, source_name

if TYPE_CHECKING:
    import pyarrow as pa

#: Changes when prepared folders of before cannot be read any more.
_FORMAT = 1
#: Rows of a batch of an Arrow file.
_ROWS = 4096
_REPORT = 1000


class Row(NamedTuple):
    """An example as it is stored: `documents` are numbers, relevant ones first."""

    query: str
    documents: npt.NDArray[np.int32]
    n_positives: int
    source: int
    line: int


class Prepared:
    """Examples on disk, memory-mapped; documents with equal texts have one number.

    `n_positives`, `source` and `line` have one entry for each example, `indptr` (n+1,) and
    `documents` list the candidates of each, relevant ones first. `scores` holds, for each field
    of precomputed scores, one float32 for each candidate. `lengths` (characters) are what batches
    are sorted by. Memory beyond the mapped files is 4 bytes a candidate and 30 an example.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        about = json.loads((folder / "about.json").read_text("utf-8"))
        self.key: str = about["key"]
        self.sources: list[str] = about["sources"]
        self.files: list[str] = about["files"]
        self.notes: list[str] = about["notes"]
        arrays = {path.stem: np.load(path) for path in folder.glob("*.npy")}
        self.indptr: npt.NDArray[np.int64] = arrays["indptr"]
        self.documents: npt.NDArray[np.int32] = arrays["documents"]
        self.n_positives: npt.NDArray[np.int32] = arrays["n_positives"]
        self.source: npt.NDArray[np.int32] = arrays["source"]
        self.line: npt.NDArray[np.int64] = arrays["line"]
        self.lengths: npt.NDArray[np.int32] = arrays["lengths"]
        self.query_hash: npt.NDArray[np.uint64] = arrays["query_hash"]
        self.document_hash: npt.NDArray[np.uint64] = arrays["document_hash"]
        self.scores: dict[str, npt.NDArray[np.float32]] = {
            name: arrays[f"scores-{number}"] for number, name in enumerate(about["scores"])
        }
        self._queries = _map_texts(folder / "queries.arrow")
        self._documents = _map_texts(folder / "documents.arrow")

    def __len__(self) -> int:
        return len(self.n_positives)

    @property
    def n_documents(self) -> int:
        """The number of different documents."""
        return len(self.document_hash)

    def query(self, number: int) -> str:
        """Return the text of an example's query."""
        return str(self._queries[number].as_py())

    def document(self, number: int) -> str:
        """Return the text of a document."""
        return str(self._documents[number].as_py())

    def row(self, number: int) -> Row:
        """Return an example."""
        found = self.documents[self.indptr[number] : self.indptr[number + 1]]
        return Row(
            self.query(number),
            found,
            int(self.n_positives[number]),
            int(self.source[number]),
            int(self.line[number]),
        )

    def place(self, number: int) -> str:
        """Return "FILE:LINE" of an example."""
        return f"{self.files[self.source[number]]}:{self.line[number]}"

    def document_texts(self) -> Iterator[str]:
        """Yield every document once, in order of number."""
        yield from _texts(self._documents)

    def query_texts(self) -> Iterator[str]:
        """Yield the query of every example."""
        yield from _texts(self._queries)


def prepare(
    settings: DataSettings,
    target: Path,
    *,
    folder: Path | None = None,
    score_fields: Sequence[str] = (),
    seed: int = 0,
    on_progress: Callable[[int], None] | None = None,
) -> Prepared:
    """Return the examples of all sources, read and checked now unless `target` has them already.

    What was prepared before is taken when sources (path, size, date) and settings are the same.
    Reading is streamed; memory is a number for each different document. `folder` is where
    relative paths begin. Raises DataError with file and line for what cannot be used.
    """
    key = _key(settings, folder, score_fields, seed)
    if (target / "about.json").is_file():
        found = json.loads((target / "about.json").read_text("utf-8"))
        if found.get("key") == key:
            return Prepared(target)
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    with reported(partial, "write"):
        partial.mkdir(parents=True)
        _Writer(settings, partial, folder, score_fields, seed, on_progress).write(key)
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
    return Prepared(target)


class _Writer:
    """Writes the files of a prepared folder in one pass over the sources."""

    def __init__(
        self,
        settings: DataSettings,
        target: Path,
        folder: Path | None,
        score_fields: Sequence[str],
        seed: int,
        on_progress: Callable[[int], None] | None,
    ) -> None:
        self._settings = settings
        self._target = target
        self._folder = folder
        self._fields = list(score_fields)
        self._seed = seed
        self._say = on_progress or (lambda done: None)
        self._numbers: dict[int, int] = {}
        self._sizes: list[int] = []
        self._documents = _TextFile(target / "documents.arrow")
        self._queries = _TextFile(target / "queries.arrow")
        self._candidates: list[list[int]] = []
        self._columns: dict[str, list[int]] = {
            name: [] for name in ("n_positives", "source", "line", "query_hash", "lengths")
        }
        self._scores: list[list[float]] = [[] for _ in self._fields]
        self._notes: list[str] = []
        self._of_source: list[tuple[int, int]] = []

    def write(self, key: str) -> None:
        rejects = Rejects(self._settings.on_error, self._target / "rejects.jsonl")
        with rejects:
            for number, source in enumerate(self._settings.sources):
                first_document, first_example = len(self._numbers), len(self._candidates)
                for example in read_examples(
                    source, self._folder, score_fields=self._fields, rejects=rejects
                ):
                    self._add(example, number)
                self._fill(source, first_example, first_document)
        if rejects.count:
            self._notes.append(f"{rejects.count:,} bad record(s) were passed over")
        self._documents.close()
        self._queries.close()
        self._save(key)

    def _add(self, example: Example, source: int) -> None:
        keep = example.n_positives + self._settings.max_negatives
        numbered = [self._number(text) for text in example.documents[:keep]]
        # A text that is listed twice, or as relevant and as a negative, counts where it is first.
        places = [at for at, number in enumerate(numbered) if number not in numbered[:at]]
        numbers = [numbered[at] for at in places]
        self._queries.append(example.query)
        self._candidates.append(numbers)
        for row, name in zip(self._scores, self._fields, strict=True):
            row.extend(example.scores[name][at] for at in places)
        columns = self._columns
        columns["n_positives"].append(sum(at < example.n_positives for at in places))
        columns["source"].append(source)
        columns["line"].append(example.line)
        columns["query_hash"].append(text_hash(example.query))
        columns["lengths"].append(max(self._sizes[number] for number in numbers))
        if len(self._candidates) % _REPORT == 0:
            self._say(len(self._candidates))

    def _number(self, text: str) -> int:
        digest = text_hash(text)
        number = self._numbers.get(digest)
        if number is None:
            number = self._numbers[digest] = len(self._sizes)
            self._sizes.append(len(text))
            self._documents.append(text)
        return number

    def _fill(self, source: SourceSettings, first_example: int, first_document: int) -> None:
        """Give examples with too few negatives some of the source's other documents."""
        wanted = self._settings.documents_per_query - 1
        pool = sorted({one for row in self._candidates[first_example:] for one in row})
        drawn = 0
        for at in range(first_example, len(self._candidates)):
            row = self._candidates[at]
            missing = wanted - (len(row) - self._columns["n_positives"][at])
            if missing <= 0:
                continue
            self._check_fill(source, at, missing, len(pool))
            generator = np.random.default_rng((self._seed, at))
            have = set(row)
            for _ in range(missing):
                one = pool[int(generator.integers(len(pool)))]
                while one in have:
                    one = pool[int(generator.integers(len(pool)))]
                have.add(one)
                row.append(one)
            drawn += 1
        if drawn:
            self._notes.append(
                f"{source_name(source)}: {drawn:,} example(s) got negatives drawn at random"
            )

    def _check_fill(self, source: SourceSettings, at: int, missing: int, pool: int) -> None:
        line = self._columns["line"][at]
        row = self._candidates[at]
        place = f"{resolve(source.path, self._folder)}:{line}"
        asked = f"documents_per_query = {self._settings.documents_per_query}"
        if self._settings.fill == "none":
            raise DataError(
                f"{place}: {missing} negative(s) are missing for {asked}",
                hint='mine them with lsr mine, or set data.fill = "random"',
            )
        if self._fields:
            raise DataError(
                f"{place}: {missing} document(s) are missing for {asked}, and a document drawn "
                "from the others has no precomputed score",
                hint="lower data.documents_per_query, or score more documents",
            )
        if pool < len(set(row)) + missing:
            raise DataError(
                f"{source_name(source)} has {pool} different document(s); {asked} needs "
                f"{len(set(row)) + missing}",
                hint="give more documents, or lower data.documents_per_query",
            )

    def _save(self, key: str) -> None:
        counts = [len(row) for row in self._candidates]
        indptr = np.zeros(len(counts) + 1, np.int64)
        np.cumsum(counts, out=indptr[1:])
        flat = np.fromiter((one for row in self._candidates for one in row), np.int32)
        hashes = np.fromiter(self._numbers, np.uint64, len(self._numbers))
        columns = self._columns
        arrays: dict[str, npt.NDArray[Any]] = {
            "indptr": indptr,
            "documents": flat,
            "document_hash": hashes,
            "query_hash": np.array(columns["query_hash"], np.uint64),
            "line": np.array(columns["line"], np.int64),
        }
        for name in ("n_positives", "source", "lengths"):
            arrays[name] = np.array(columns[name], np.int32)
        for number, row in enumerate(self._scores):
            arrays[f"scores-{number}"] = np.array(row, np.float32)
        for name, array in arrays.items():
            np.save(self._target / f"{name}.npy", array, allow_pickle=False)
        about = {
            "key": key,
            "sources": [source_name(one) for one in self._settings.sources],
            "files": [resolve(one.path, self._folder) for one in self._settings.sources],
            "scores": self._fields,
            "notes": self._notes,
        }
        (self._target / "about.json").write_text(json.dumps(about, indent=2), "utf-8")


class _TextFile:
    """An Arrow file of one column of texts, written in batches."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa

        self._pa = pa
        self._schema = pa.schema([("text", pa.large_string())])
        self._writer = pa.ipc.new_file(str(path), self._schema)
        self._rows: list[str] = []

    def append(self, text: str) -> None:
        self._rows.append(text)
        if len(self._rows) >= _ROWS:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._rows:
            column = self._pa.array(self._rows, self._pa.large_string())
            self._writer.write_batch(self._pa.record_batch([column], schema=self._schema))
            self._rows = []


def text_hash(text: str) -> int:
    """Return the 64-bit hash by which caches know a text.

    >>> text_hash("tea") == text_hash("tea"), text_hash("tea") == text_hash("Tea")
    (True, False)
    """
    return xxh3_64_intdigest(text.encode("utf-8"))


def _texts(column: pa.ChunkedArray[Any]) -> Iterator[str]:
    for chunk in column.chunks:
        for text in chunk.to_pylist():
            yield str(text)


def _map_texts(path: Path) -> pa.ChunkedArray[Any]:
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).read_all().column("text")


def _key(
    settings: DataSettings, folder: Path | None, score_fields: Sequence[str], seed: int
) -> str:
    """Return a hash of what decides the outcome: settings, and size and date of every file."""
    what = settings.model_dump(exclude={"folder", "batch_by", "bucket_batches"})
    state = [_FORMAT, what, list(score_fields), seed]
    for source in settings.sources:
        path = resolve(source.path, folder)
        state.append([path, [_stamp(file) for file in _files(path)]])
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def _files(path: str) -> list[Path]:
    root = Path(path)
    if path.startswith("irds:") or not root.exists():
        return []
    return sorted(one for one in root.rglob("*") if one.is_file()) if root.is_dir() else [root]


def _stamp(file: Path) -> list[object]:
    state = file.stat()
    return [str(file.name), state.st_size, state.st_mtime_ns]
