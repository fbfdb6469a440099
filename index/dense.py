"""The dense leg: one vector for each row of a segment, made by an encoder or brought along."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lsr.dense_encoder import DenseEncoder, DenseModelEncoder, load_dense_encoder
from lsr.dense_folder import Similarity
from lsr.dense_network import normalize
from lsr.errors import ConfigError, DataError, IndexFormatError, ModelError
from lsr.passages import texts_to_encode
from lsr.types import Document, Span

from .dense_lists import LISTS, DenseLists, build_lists
from .dense_search import FLAT_ROWS, DenseSearcher, ReadQuery
from .leg_files import PartFiles, PartWriter
from .legs import LegSource
from .manifest import CHECK_HINT
from .store import LiveSegment

DENSE = "dense"

_VECTORS = "vectors"
_COPY = 8192

Vectors = npt.NDArray[np.float32]


class DenseLeg:
    """Documents ranked by the inner product or the cosine of dense vectors.

    With an encoder (or its name) texts are encoded as they come, each passage of a document for
    itself; without, every document needs a vector of `dim` numbers, and every query is one.
    Vectors are kept as float32; for cosine they are scaled to length 1 when they come in.
    """

    name = DENSE

    def __init__(
        self,
        encoder: DenseEncoder | str | None = None,
        *,
        dim: int | None = None,
        similarity: Similarity = "cosine",
        threads: int | None = None,
    ) -> None:
        if encoder is None and (dim is None or dim < 1):
            raise ConfigError(
                "a dense leg needs an encoder, or dim: the number of dimensions of vectors made "
                "elsewhere",
                hint="name a model, such as --dense-model sentence-transformers/all-MiniLM-L6-v2",
            )
        loaded = load_dense_encoder(encoder) if isinstance(encoder, str) else encoder
        if loaded is not None and dim not in (None, loaded.dim):
            raise ConfigError(f"dim is {dim}, but the encoder's vectors have {loaded.dim}")
        self._encoder = loaded
        self._model: Mapping[str, Any] | None = None
        self.threads = threads
        self.on_progress: Callable[[int], None] | None = None
        #: How many vectors of work files were taken up, instead of encoding texts again.
        self.n_taken_up = 0
        if loaded is not None:
            self._model = {
                "name": loaded.name,
                "fingerprint": loaded.fingerprint,
                "licence": loaded.licence,
            }
        self.dim = loaded.dim if loaded is not None else int(dim or 0)
        self.similarity: Similarity = similarity if loaded is None else loaded.similarity

    @classmethod
    def from_json(cls, settings: Mapping[str, Any]) -> DenseLeg:
        """Return the leg that a manifest describes; its encoder is loaded when first needed.

        The name of a model alone, `{"model": NAME}`, is the leg with that model.
        """
        if not settings or isinstance(settings.get("model"), str):
            return cls(settings.get("model"))
        try:
            leg = cls(dim=int(settings["dim"]), similarity=settings["similarity"])
            leg._model = settings["model"]
        except (KeyError, TypeError, ValueError, ConfigError) as error:
            raise IndexFormatError(
                f"the manifest's settings are not those of a dense leg: {error!r}",
                hint=CHECK_HINT,
            ) from error
        return leg

    def to_json(self) -> dict[str, Any]:
        """Return the settings as the manifest keeps them."""
        model = None if self._model is None else dict(self._model)
        return {"model": model, "dim": self.dim, "similarity": self.similarity}

    @property
    def encoder(self) -> DenseEncoder | None:
        """The encoder, loaded now if it was not; None for vectors made elsewhere."""
        if self._encoder is None and self._model is not None:
            self.encoder = load_dense_encoder(self._model["name"], threads=self.threads)
        return self._encoder

    @encoder.setter
    def encoder(self, encoder: DenseEncoder) -> None:
        wanted = None if self._model is None else self._model["fingerprint"]
        if self._model is None or encoder.fingerprint != wanted:
            before = "has no model" if self._model is None else f"was made with {wanted}"
            raise ModelError(
                f"the dense leg {before}, but {encoder.name!r} is another model "
                f"({encoder.fingerprint})",
                hint="give the folder of the right model, or make the leg again",
            )
        self._encoder = encoder

    def memory(self) -> int:
        """Return about how many bytes encoding takes; 0 where it is not ours, or there is none."""
        encoder = self.encoder
        return encoder.memory(self.threads) if isinstance(encoder, DenseModelEncoder) else 0

    def writer(self, files: PartWriter) -> DenseWriter:
        """Return what writes a part into `files`."""
        return DenseWriter(self, files)

    def merge(self, sources: Sequence[LegSource], files: PartWriter) -> Mapping[str, Any]:
        """Write the vectors of the live documents of all sources, in order; return the facts."""
        writer = DenseWriter(self, files)
        for part, segment, deleted in sources:
            if not isinstance(part, DensePart):
                raise IndexFormatError(f"{segment.name}: its dense part is {part!r}")
            rows = np.arange(segment.n_rows)
            if deleted is not None:
                rows = rows[~deleted[segment.row_documents(rows)]]
            for start in range(0, len(rows), _COPY):
                chunk = rows[start : start + _COPY]
                # A document's rows may fall into two chunks; it counts where its first one is.
                owners = segment.row_documents(rows[max(0, start - 1) : start + len(chunk)])
                n_documents = int(np.count_nonzero(np.diff(owners))) + (start == 0)
                writer.append(Prepared(n_documents, part.vectors[chunk]))
        return writer.close()

    def open(self, files: PartFiles) -> DensePart:
        """Return a part for reading."""
        return DensePart(files, self.dim)

    def searcher(self, segments: Sequence[LiveSegment]) -> DenseSearcher:
        """Return what searches these segments."""
        return DenseSearcher(self, segments)

    def query_vectors(self, queries: Sequence[object], threads: int | None = None) -> Vectors:
        """Return the vector of each query, (queries, dim): texts are encoded together.

        Those that were read before are as they were.

        A blank text has zeros for a vector, with which nothing is found. ConfigError for what
        is neither text nor a vector of the right length, DataError for numbers not finite.
        """
        vectors = np.zeros((len(queries), self.dim), np.float32)
        texts = {at: q for at, q in enumerate(queries) if isinstance(q, str) and q.strip()}
        if texts:
            vectors[list(texts)] = self._encoded_queries(list(texts.values()), threads)
        for at, query in enumerate(queries):
            if not isinstance(query, str | ReadQuery):
                vectors[at] = self._given_query(query)
        vectors = self.comparable(vectors)
        for at, query in enumerate(queries):
            if isinstance(query, ReadQuery):
                vectors[at] = query.vector
        return vectors

    def _encoded_queries(self, texts: list[str], threads: int | None) -> Vectors:
        encoder = self.encoder
        if encoder is None:
            raise ConfigError(
                "the dense leg was made from vectors and has no encoder, so it cannot read text",
                hint="search it with a vector of its own dimensions",
            )
        return encoder.encode_queries(texts, threads=threads)

    def _given_query(self, query: object) -> Vectors:
        if not isinstance(query, np.ndarray | list | tuple):
            raise ConfigError(
                f"the dense leg reads text or a vector, not {type(query).__name__}",
            )
        vector: Vectors = checked_vectors([query], 1, self.dim)[0]
        return vector

    def to_array(self, prepared: Prepared) -> Vectors:
        """Return the vectors of a batch, to be kept in a work file."""
        return prepared.vectors

    def from_array(self, n_documents: int, rows: Vectors) -> Prepared:
        """Return a batch from a work file; it counts as encoded now."""
        self.n_taken_up += len(rows)
        if self.on_progress is not None:
            self.on_progress(len(rows))
        return Prepared(n_documents, rows)

    def comparable(self, vectors: Vectors) -> Vectors:
        """Return the vectors as they are compared: for cosine, scaled to length 1."""
        return normalize(vectors) if self.similarity == "cosine" else vectors


def checked_vectors(given: object, n: int, dim: int) -> Vectors:
    """Return `given` as (n, dim) float32; DataError says what is wrong with it and where."""
    try:
        vectors = np.ascontiguousarray(given, np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(f"the dense vectors are not an array of numbers ({error})") from error
    if vectors.shape != (n, dim):
        raise DataError(
            f"the dense vectors are of shape {vectors.shape}; {(n, dim)} is expected: "
            "a row for each, as many numbers as the leg has dimensions"
        )
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise DataError(f"row {bad[0]} of the dense vectors holds NaN or infinity")
    return vectors


class Prepared(NamedTuple):
    """The vectors of some documents, one for each of their rows."""

    n_documents: int
    vectors: Vectors


class DenseWriter:
    """Writes the vectors of a segment, and their lists when there are many."""

    def __init__(self, leg: DenseLeg, files: PartWriter) -> None:
        self._leg = leg
        self._files = files
        self._n_documents = self._n_rows = 0
        self._longest = 0.0
        files.put(_VECTORS, np.zeros(0, np.float32))

    def prepare(
        self,
        documents: Sequence[Document],
        spans: Sequence[Sequence[Span]] | None,
        given: object | None,
    ) -> Prepared:
        """Return the vectors of these documents, encoded now unless they are `given`."""
        leg = self._leg
        if given is not None:
            if spans is not None:
                raise ConfigError(
                    "this index splits documents into passages, so it cannot take one ready-made "
                    "dense vector for a document"
                )
            vectors = checked_vectors(given, len(documents), leg.dim)
        else:
            encoder = leg.encoder
            if encoder is None:
                raise ConfigError(
                    "the dense leg was made for vectors from elsewhere, and none came for "
                    f"document {documents[0].id!r}",
                    hint="add(documents, given={'dense': array}) takes them",
                )
            texts = texts_to_encode(documents, spans)
            vectors = encoder.encode_documents(
                texts, threads=leg.threads, on_progress=leg.on_progress
            )
        return Prepared(len(documents), leg.comparable(vectors))

    def append(self, prepared: Prepared) -> None:
        """Add the vectors of some documents."""
        n_documents, vectors = prepared
        self._files.put(_VECTORS, vectors)
        self._n_documents += n_documents
        self._n_rows += len(vectors)
        lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
        self._longest = max(self._longest, float(lengths.max(initial=0.0)))

    def close(self) -> Mapping[str, Any]:
        """Make lists when there are many vectors; return the facts for the header."""
        if self._n_rows >= FLAT_ROWS:
            self._files.put(LISTS, build_lists(self._read, self._n_rows, self._leg.dim))
        return {
            "dim": self._leg.dim,
            "documents": self._n_documents,
            "rows": self._n_rows,
            "longest": self._longest,
        }

    def _read(self, start: int, stop: int) -> Vectors:
        dim = self._leg.dim
        found = self._files.read_back(_VECTORS, start * dim, stop * dim)
        return found.reshape(-1, dim)


class DensePart:
    """The vectors of a segment, `vectors` (rows, dim) float32 mapped, and their lists if any."""

    def __init__(self, files: PartFiles, dim: int) -> None:
        rows = int(files.facts["rows"])
        flat = files.array(_VECTORS)
        if files.facts["dim"] != dim or len(flat) != rows * dim:
            raise IndexFormatError(
                f"{files.folder} holds {len(flat)} numbers of {files.facts['dim']} dimensions; "
                f"{rows} rows of {dim} are expected",
                hint=CHECK_HINT,
            )
        self.vectors = flat.reshape(rows, dim)
        self.n_documents = int(files.facts["documents"])
        self.longest = float(files.facts["longest"])
        self.bytes = files.bytes
        self.lists = DenseLists(files.array(LISTS)) if LISTS in files.files else None

    def problems(self) -> list[str]:
        """Return what is wrong beyond checksums."""
        problems = []
        for start in range(0, len(self.vectors), _COPY):
            bad = np.flatnonzero(~np.isfinite(self.vectors[start : start + _COPY]).all(axis=1))
            if len(bad):
                problems.append(f"the dense vector of row {start + bad[0]} is not finite")
                break
        if self.lists is not None and self.lists.n_rows != len(self.vectors):
            problems.append(f"the lists hold {self.lists.n_rows} vectors of {len(self.vectors)}")
        return problems
