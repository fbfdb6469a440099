"""Mining: hard negatives for queries that have only relevant documents, by our own index."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from lsr.added_terms import encoder_text
from lsr.corpus import read_documents
from lsr.encoder import Encoder
from lsr.errors import ConfigError
from lsr.index.disk import reported
from lsr.index.index import Index
from lsr.rejects import Rejects
from lsr.types import Document

from .prepared import Prepared, prepare
from .settings_run import DataSettings, SourceSettings, TeacherSettings
from .sources import resolve
from .teacher_cache import Progress, teacher_scores

#: Queries that are searched together.
_BLOCK = 512

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class MineSettings:
    """How negatives are chosen.

    Of the `depth` best documents of a query that are not relevant, the first half of `negatives`
    are the best ones, the rest is drawn from those below. With `margin`, a document that a
    teacher scores above (1 - margin) times the relevant one's score is taken for relevant, too,
    and left out (as in arXiv:2407.15831); `skip` leaves out the best so many unseen.
    """

    negatives: int = 15
    depth: int = 100
    skip: int = 0
    margin: float | None = None
    seed: int = 42

    def __post_init__(self) -> None:
        if not 0 < self.negatives <= self.depth - self.skip:
            raise ConfigError(
                f"{self.negatives} negatives cannot be chosen of the {self.depth} best less "
                f"{self.skip}",
                hint="a larger --depth",
            )
        if self.margin is not None and not 0 <= self.margin < 1:
            raise ConfigError(f"margin is {self.margin}; 0 to below 1 is expected")


class Mined(NamedTuple):
    """What came of it: examples written, negatives in all, and those a teacher took out."""

    examples: int
    negatives: int
    taken_out: int


def mine(
    data: DataSettings,
    encoder: Encoder,
    target: Path,
    *,
    settings: MineSettings | None = None,
    base: Path | None = None,
    corpus: str | None = None,
    teachers: TeacherSettings | None = None,
    cache: Path | None = None,
    threads: int | None = None,
    say: Say | None = None,
    on_score: Progress | None = None,
) -> Mined:
    """Write the examples of `data` with hard negatives to `target`, a JSONL or Parquet file.

    The documents of each source are indexed with `encoder` (of a judged collection all of its
    documents, and those of `corpus` where one is given) and every query is searched. A document
    with the text of a relevant one is never a negative. Lines are `query`, `positives`,
    `negatives`, in the order of the sources; negatives that an example brings stay in front, and
    added terms behind their text (`lsr.added_terms`).
    Teachers are asked only with a `margin`; their scores go into `cache`, where training finds
    them.
    """
    chosen = settings or MineSettings()
    if chosen.margin is not None and (teachers is None or not teachers.models):
        raise ConfigError("a margin needs a teacher", hint="--teacher FOLDER, or no --margin")
    speak = say or (lambda line: None)
    plain = data.model_copy(update={"documents_per_query": 1})
    with tempfile.TemporaryDirectory(prefix="lsr-mine-") as name:
        work = Path(name)
        prepared = prepare(plain, work / "data", folder=base, seed=chosen.seed)
        for note in prepared.notes:
            speak(note)
        first = work / "mined.jsonl" if chosen.margin is not None else target
        with _rows_to(first) as write:
            for number, source in enumerate(data.sources):
                index = _index(source, prepared, number, encoder, work, base, corpus)
                speak(f"{prepared.sources[number]}: {len(index):,} documents indexed")
                for row in _search(prepared, number, index, chosen, threads):
                    write(row)
        if chosen.margin is None or teachers is None:
            return _count(first, 0)
        scored = DataSettings(
            sources=[SourceSettings(path=str(first))],
            documents_per_query=1,
            max_negatives=chosen.depth,
        )
        rows = prepare(scored, work / "scored", seed=chosen.seed)
        scores = teacher_scores(
            rows, teachers, cache or work / "cache", threads=threads, on_progress=on_score
        )
        with _rows_to(target) as write:
            taken_out = 0
            for at in range(len(rows)):
                row, out = _filtered(rows, at, scores, chosen.margin)
                taken_out += out
                write(row)
        return _count(target, taken_out)


def _index(
    source: SourceSettings,
    prepared: Prepared,
    number: int,
    encoder: Encoder,
    work: Path,
    base: Path | None,
    corpus: str | None,
) -> Index:
    """Return an index of the documents that negatives may be taken from; equal texts once."""
    path = resolve(source.path, base)
    whole = path if path.startswith("irds:") or Path(path).is_dir() else None

    def texts() -> Iterator[str]:
        seen: set[str] = set()
        mine = np.flatnonzero(prepared.source == number)
        for example in mine.tolist():
            for document in prepared.row(example).documents.tolist():
                yield from _new(prepared.document(document), seen)
        for origin in (whole, corpus):
            if origin is not None:
                for record in read_documents(origin, rejects=Rejects("skip")):
                    yield from _new(encoder_text(record.document), seen)

    index = Index.create(work / f"index-{number}", encoder=encoder)
    index.add(Document(str(at), text=text) for at, text in enumerate(texts()))
    index.commit()
    return index


def _new(text: str, seen: set[str]) -> Iterator[str]:
    if text not in seen:
        seen.add(text)
        yield text


def _search(
    prepared: Prepared, number: int, index: Index, settings: MineSettings, threads: int | None
) -> Iterator[dict[str, Any]]:
    mine = np.flatnonzero(prepared.source == number).tolist()
    depth = settings.depth + settings.skip
    for start in range(0, len(mine), _BLOCK):
        block = mine[start : start + _BLOCK]
        queries = [prepared.query(example) for example in block]
        most = max(int(prepared.n_positives[example]) for example in block)
        found = index.search_batch(queries, k=depth + most, threads=threads)
        for example, query, hits in zip(block, queries, found, strict=True):
            row = prepared.row(example)
            texts = [prepared.document(one) for one in row.documents.tolist()]
            positives, given = texts[: row.n_positives], texts[row.n_positives :]
            known = set(texts)
            fresh = [hit.text for hit in hits if hit.text not in known]
            candidates = fresh[settings.skip : settings.depth]
            generator = np.random.default_rng((settings.seed, example))
            chosen = choose_negatives(candidates, settings.negatives - len(given), generator)
            yield {"query": query, "positives": positives, "negatives": given + chosen}


def choose_negatives(
    candidates: Sequence[str], count: int, generator: np.random.Generator
) -> list[str]:
    """Return `count` of the candidates, best first: half the best, the rest drawn from below.

    >>> choose_negatives(["a", "b", "c"], 2, np.random.default_rng(0))[0]
    'a'
    """
    if count >= len(candidates) or count <= 0:
        return list(candidates[: max(count, 0)])
    best = (count + 1) // 2
    drawn = generator.choice(len(candidates) - best, count - best, replace=False)
    return [*candidates[:best], *(candidates[best + at] for at in sorted(drawn.tolist()))]


def _filtered(
    rows: Prepared, at: int, scores: np.ndarray[Any, np.dtype[np.float32]], margin: float
) -> tuple[dict[str, Any], int]:
    row = rows.row(at)
    own = scores[:, rows.indptr[at] : rows.indptr[at + 1]]
    best = own[:, : row.n_positives].max(axis=1)
    limit = best - margin * np.abs(best)
    texts = [rows.document(one) for one in row.documents.tolist()]
    keep = [
        text
        for place, text in enumerate(texts)
        if place >= row.n_positives and bool((own[:, place] <= limit).all())
    ]
    out = len(texts) - row.n_positives - len(keep)
    return {"query": row.query, "positives": texts[: row.n_positives], "negatives": keep}, out


def _count(path: Path, taken_out: int) -> Mined:
    from lsr.corpus import open_corpus

    examples = negatives = 0
    for entry in open_corpus(str(path)).entries():
        examples += 1
        negatives += len(entry.values["negatives"])
    return Mined(examples, negatives, taken_out)


@contextmanager
def _rows_to(path: Path) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Open a file for rows by its suffix; it is there, whole, once the block has ended well."""
    kinds = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")
    kind = next((kind for kind in kinds if path.name.endswith(kind)), None)
    if kind is None:
        raise ConfigError(f"{path}: the name does not tell a format", hint=" or ".join(kinds))
    partial = path.with_name(f".{path.name}.tmp")
    try:
        with reported(path, "write"):
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file, _encoder_of(kind, file) as write:
                yield write
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _encoder_of(kind: str, file: IO[bytes]) -> Iterator[Callable[[dict[str, Any]], None]]:
    if kind == ".parquet":
        with _parquet(file) as write:
            yield write
        return
    import gzip

    import zstandard

    stream: Any = file
    if kind == ".jsonl.gz":
        stream = gzip.GzipFile(fileobj=file, mode="wb", filename="", mtime=0)
    elif kind == ".jsonl.zst":
        stream = zstandard.ZstdCompressor(level=9).stream_writer(file, closefd=False)

    def line(row: dict[str, Any]) -> None:
        stream.write(json.dumps(row, ensure_ascii=False).encode("utf-8") + b"\n")

    yield line
    if stream is not file:
        stream.close()


@contextmanager
def _parquet(file: IO[bytes]) -> Iterator[Callable[[dict[str, Any]], None]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = pa.list_(pa.string())
    schema = pa.schema([("query", pa.string()), ("positives", texts), ("negatives", texts)])
    rows: list[dict[str, Any]] = []
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:

        def line(row: dict[str, Any]) -> None:
            rows.append(row)
            if len(rows) >= _BLOCK:
                writer.write_table(pa.Table.from_pylist(rows, schema))
                rows.clear()

        yield line
        if rows:
            writer.write_table(pa.Table.from_pylist(rows, schema))
