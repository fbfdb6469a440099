"""The vectors of a search benchmark: documents and queries, mapped from disk by every process."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from lsr.errors import ConfigError, DataError
from lsr.sparse import SparseVector, SparseVectors

_CHUNK = 65_536
#: Terms looked at together, so that a large file is never in memory whole.
_SCANNED = 50_000_000
_BATCH = 512
#: Queries made of the titles of a corpus that comes without any.
_SAMPLED = 1000
_PARTS = ("indptr", "terms", "weights")
_HINT = (
    "give a folder of docs.npz (or docs.indptr.npy, docs.indices.npy, docs.data.npy) and "
    "queries.npz, a file of vectors with --queries, or a corpus with --encode"
)


class Csr(NamedTuple):
    """Sparse rows as plain arrays, which may be memory-mapped: terms of any integer type."""

    indptr: npt.NDArray[np.int64]
    terms: npt.NDArray[Any]
    weights: npt.NDArray[np.float32]
    n_terms: int

    @property
    def n_rows(self) -> int:
        return len(self.indptr) - 1

    @property
    def nnz(self) -> int:
        return int(self.indptr[-1])

    def rows(self, start: int, stop: int) -> Csr:
        """Return rows start to stop; nothing is copied but their indptr."""
        low, high = int(self.indptr[start]), int(self.indptr[stop])
        indptr = self.indptr[start : stop + 1] - low
        return Csr(indptr, self.terms[low:high], self.weights[low:high], self.n_terms)

    def vector(self, row: int) -> SparseVector:
        """Return a row in memory of its own."""
        span = slice(int(self.indptr[row]), int(self.indptr[row + 1]))
        return SparseVector(
            np.array(self.terms[span], np.uint32), np.array(self.weights[span], np.float32)
        )

    def vectors(self) -> SparseVectors:
        """Return all rows as SparseVectors, which checks them."""
        return SparseVectors.from_arrays(
            self.indptr, self.terms, self.weights, vocab_size=self.n_terms
        )

    def scipy(self) -> Any:
        """Return a scipy CSR matrix; it shares the weights."""
        from scipy.sparse import csr_matrix

        kind = np.int32 if self.nnz < 2**31 else np.int64
        parts: Any = self.weights, self.terms.astype(kind), self.indptr.astype(kind)
        return csr_matrix(parts, shape=(self.n_rows, self.n_terms))


@dataclass(frozen=True, slots=True)
class SearchSet:
    """Documents and queries, and the folder that remembers everything made of them."""

    name: str
    folder: Path
    documents: Csr
    queries: Csr

    @classmethod
    def open(cls, folder: Path, n_queries: int | None = None) -> SearchSet:
        """Map the set that `prepare_set` left in a folder, with its first `n_queries`."""
        about = json.loads((folder / "set.json").read_text("utf-8"))
        sides = []
        for side in ("documents", "queries"):
            indptr, terms, weights = (_mapped(about[side][part]) for part in _PARTS)
            sides.append(Csr(indptr, terms, weights, about["n_terms"]))
        most = sides[1].n_rows if n_queries is None else min(n_queries, sides[1].n_rows)
        return cls(about["name"], folder, sides[0], sides[1].rows(0, most))

    def describe(self) -> dict[str, Any]:
        """Return its sizes."""
        return {
            "name": self.name,
            "documents": self.documents.n_rows,
            "document_terms": self.documents.nnz / max(1, self.documents.n_rows),
            "queries": self.queries.n_rows,
            "query_terms": self.queries.nnz / max(1, self.queries.n_rows),
            "vocabulary": self.documents.n_terms,
        }


def prepare_set(
    source: str,
    work: Path,
    *,
    queries: str | None = None,
    n_queries: int | None = None,
    n_documents: int | None = None,
    model: str | None = None,
    threads: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> SearchSet:
    """Return the set of a source, laid out below `work` for mapping unless it is there already.

    `source` is a folder of CSR archives, a file of vectors that comes with `queries`, or, when
    `model` is given, a corpus to encode; its queries are then the texts of `queries`, or the
    titles and first words of documents spread over the corpus.
    """
    told = [source, queries, n_documents, model, *_stamps(source, queries)]
    mark = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:10]
    name = Path(source.partition(":")[2] or source).stem or "set"
    folder = work / f"{name}-{mark}"
    if not (folder / "set.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        about = _laid_out(source, folder, queries, n_documents, model, threads, say)
        partial = folder / "set.json.tmp"
        partial.write_text(json.dumps({"name": name, **about}, indent=1), "utf-8")
        partial.replace(folder / "set.json")
    found = SearchSet.open(folder, n_queries)
    if not found.documents.n_rows or not found.queries.n_rows:
        raise DataError(f"{source}: there are no documents or no queries in it", hint=_HINT)
    return found


def _laid_out(
    source: str,
    folder: Path,
    queries: str | None,
    n_documents: int | None,
    model: str | None,
    threads: int | None,
    say: Callable[[str], None],
) -> dict[str, Any]:
    path = Path(source)
    if model is not None:
        return _encoded(source, folder, queries, n_documents, model, threads, say)
    if (path / "docs.indptr.npy").is_file() and n_documents is None:
        asked = _archive(path / "queries.npz" if queries is None else Path(queries), None)
        sides = {"queries": _write(asked, folder, "queries"), "documents": _outside(path)}
    elif (path / "docs.npz").is_file():
        asked = _archive(path / "queries.npz" if queries is None else Path(queries), None)
        sides = {
            "documents": _write(_archive(path / "docs.npz", n_documents), folder, "documents"),
            "queries": _write(asked, folder, "queries"),
        }
    else:
        if queries is None:
            raise ConfigError(f"{source}: no queries were found beside it", hint=_HINT)
        sides = {
            "documents": _write(_of_files(source, "documents", n_documents), folder, "documents"),
            "queries": _write(_of_files(queries, "queries", None), folder, "queries"),
        }
    n_terms = max(side.pop("n_terms") for side in sides.values())
    return {"n_terms": n_terms, **sides}


def _write(batches: Iterable[SparseVectors], folder: Path, side: str) -> dict[str, Any]:
    """Write vectors as they come; return where their arrays are, and the vocabulary's size."""
    n_terms, ends = 1, [np.zeros(1, np.int64)]
    names = {part: folder / f"{side}.{part}" for part in _PARTS}
    with names["terms"].open("wb") as terms, names["weights"].open("wb") as weights:
        for batch in batches:
            n_terms = max(n_terms, batch.vocab_size)
            batch.terms.astype("<u4").tofile(terms)
            batch.weights.astype("<f4").tofile(weights)
            ends.append(batch.indptr[1:] + ends[-1][-1])
    np.concatenate(ends).astype("<i8").tofile(names["indptr"])
    kinds = {"indptr": "<i8", "terms": "<u4", "weights": "<f4"}
    return {
        "n_terms": n_terms,
        **{part: [str(path.resolve()), kinds[part]] for part, path in names.items()},
    }


def _outside(path: Path) -> dict[str, Any]:
    """Return where the arrays of a big set are, looked through once; they are mapped in place."""
    files = {"indptr": "docs.indptr.npy", "terms": "docs.indices.npy", "weights": "docs.data.npy"}
    found: dict[str, Any] = {part: [str((path / f).resolve()), None] for part, f in files.items()}
    for part, file in files.items():
        if not (path / file).is_file():
            raise DataError(f"{path}: {file} is missing ({part} of the documents)", hint=_HINT)
    indptr, terms, weights = (_mapped(found[part]) for part in files)
    end = int(indptr[-1]) if len(indptr) else -1
    if not end == len(terms) == len(weights) or (np.diff(indptr) < 0).any():
        raise DataError(
            f"{path}: by docs.indptr.npy the rows end at {end:,}; there are {len(terms):,} terms "
            f"and {len(weights):,} weights",
            hint="write the three arrays of the documents anew, from one matrix",
        )
    chunks = [terms[at : at + _SCANNED] for at in range(0, len(terms), _SCANNED)]
    least = min((int(chunk.min()) for chunk in chunks), default=0)
    if least < 0:
        raise DataError(f"{path}: docs.indices.npy has the term {least}; terms count from 0")
    return {"n_terms": max((int(chunk.max()) for chunk in chunks), default=0) + 1, **found}


def _mapped(place: Sequence[str | None]) -> npt.NDArray[Any]:
    file, kind = cast(str, place[0]), place[1]
    if kind is None:
        return cast(npt.NDArray[Any], np.load(file, mmap_mode="r", allow_pickle=False))
    if not Path(file).stat().st_size:
        return np.empty(0, kind)
    return np.memmap(file, kind, "r")


def _archive(path: Path, most: int | None) -> Iterator[SparseVectors]:
    """Yield the rows of a CSR archive without zeros (float16 rounds small weights to zero)."""
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such file", hint=_HINT)
    with np.load(path, allow_pickle=False) as file:
        stop = len(file["indptr"]) - 1 if most is None else min(most, len(file["indptr"]) - 1)
        indptr = file["indptr"][: stop + 1].astype(np.int64)
        terms, weights = file["indices"][: indptr[-1]], file["data"][: indptr[-1]]
        last = int(terms.max(initial=0)) + 1
        n_terms = int(file["shape"][1]) if "shape" in file.files else last
    for start in range(0, stop, _CHUNK):
        starts = indptr[start : start + _CHUNK + 1]
        span = slice(int(starts[0]), int(starts[-1]))
        keep = weights[span] > 0
        kept = np.concatenate([[0], np.cumsum(keep)])[starts - starts[0]]
        parts = terms[span][keep], weights[span][keep]
        yield SparseVectors.from_arrays(kept, *parts, vocab_size=n_terms, sort=True)


def _of_files(source: str, side: str, most: int | None) -> Iterator[SparseVectors]:
    from lsr.vector_files import read_vectors

    left = most
    for batch in read_vectors(source, side="queries" if side == "queries" else "documents"):
        vectors = batch.vectors if left is None else batch.vectors.slice(0, left)
        yield vectors
        if left is not None:
            left -= len(vectors)
            if left <= 0:
                return


def _encoded(
    source: str,
    folder: Path,
    queries: str | None,
    n_documents: int | None,
    model: str,
    threads: int | None,
    say: Callable[[str], None],
) -> dict[str, Any]:
    from lsr.corpus import read_documents
    from lsr.encoder import load_encoder
    from lsr.queries import read_queries

    encoder = load_encoder(model)
    heads: list[str] = []

    def documents() -> Iterator[SparseVectors]:
        records = islice(read_documents(source), n_documents)
        done = 0
        while batch := [record.document for record in islice(records, _BATCH)]:
            heads.extend(document.title or _first_words(document.text) for document in batch)
            texts = [document.full_text() for document in batch]
            yield encoder.encode_documents(texts, threads=threads)
            done += len(batch)
            if done % (16 * _BATCH) == 0:
                say(f"{done:,} documents encoded")

    there = _write(documents(), folder, "documents")
    if queries is not None:
        asked = [query.text for query in read_queries(queries)]
    else:
        known = [head for head in heads if head]
        asked = known[:: max(1, len(known) // _SAMPLED)][:_SAMPLED]
    vectors = [encoder.encode_queries(asked, threads=threads)] if asked else []
    here = _write(vectors, folder, "queries")
    here.pop("n_terms")
    return {"n_terms": there.pop("n_terms"), "documents": there, "queries": here}


def _first_words(text: str, count: int = 8) -> str:
    return " ".join(text.split(maxsplit=count)[:count])


def _stamps(*sources: str | None) -> list[object]:
    """Return what tells whether the files of a source have changed: sizes and times."""
    found: list[object] = []
    for source in sources:
        path = Path(source or "")
        if source is None or not path.exists():
            continue
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        about = [(file.name, file.stat()) for file in files if file.is_file()]
        found.append([[name, stat.st_size, stat.st_mtime_ns] for name, stat in about])
    return found
