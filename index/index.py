"""The Index: what a program or the command line works with."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path as FilePath
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from lsr.encoder import BUNDLED, Encoder, load_encoder
from lsr.errors import ConfigError, ModelError
from lsr.passages import PassageSettings
from lsr.rejects import Rejects
from lsr.sparse import SparseVector, SparseVectors
from lsr.types import (
    Document,
    Explanation,
    Record,
    SearchResult,
    SearchStats,
)

from .answer import Answer, explanation
from .calibration import Calibration, calibrate_in
from .columns import FieldType
from .given import as_document
from .info import IndexInfo, describe
from .ingest import Action, Ingest
from .knobs import SearchKnobs
from .neighbours import find_like, score_documents
from .planner import Path, choose
from .query import Query, is_sound, to_vectors
from .search import Found, search, search_many
from .settings import IndexSettings
from .store import Store
from .transaction import Transaction
from .view import View

if TYPE_CHECKING:
    from .filters import Filter

_BATCH = 4096


class Index:
    """A folder of documents and their sparse vectors that can be searched and changed.

    Reading is from a snapshot: what other processes commit is seen after `refresh`. Changes are
    searchable, and durable, when `commit` returns; `with` commits at the end of the block, or
    rolls back when it raises. One process writes at a time; searching from many threads is fine.

    >>> with Index.create(folder, encoder=encoder) as index:
    ...     _ = index.add([Document("a", text="cats purr"), Document("b", text="dogs bark")])
    >>> [hit.id for hit in index.search("why do cats purr?", k=1)]
    ['a']
    """

    def __init__(self, store: Store, settings: IndexSettings, encoder: Encoder | None) -> None:
        self._store = store
        self._settings = settings
        self._view = View(store.snapshot())
        self._transaction: Transaction | None = None
        self._query_encoder = encoder
        self._document_encoder = encoder

    @classmethod
    def create(
        cls,
        path: str | FilePath,
        *,
        encoder: Encoder | str | None = BUNDLED,
        vocab_size: int | None = None,
        passages: PassageSettings | None = None,
        field_types: Mapping[str, str] | None = None,
    ) -> Index:
        """Make an empty index in the folder `path`, which must not hold one, and return it.

        `encoder` is an Encoder, a model's name or folder, or None for an index of vectors made
        elsewhere, which needs `vocab_size`. With `passages`, documents are split and a hit is
        the document of the best passage (MaxP). `field_types` fixes types of metadata fields
        (string, number, boolean, date, strings); the others are typed when first seen.
        """
        loaded = load_encoder(encoder) if isinstance(encoder, str | FilePath) else encoder
        settings = IndexSettings.make(loaded, vocab_size, passages, field_types or {})
        return cls(Store.create(FilePath(path), settings.to_json()), settings, loaded)

    @classmethod
    def open(
        cls, path: str | FilePath, *, encoder: Encoder | str | None = None, verify: bool = True
    ) -> Index:
        """Return the index in the folder `path`, at its last commit.

        The encoder is the one it was made with, loaded when first needed; give another Encoder
        or name when the model has moved. Every file's checksum is verified unless `verify` is
        false. Raises IndexFormatError for a folder that is no index, is damaged, or was written
        by a newer lsr.
        """
        store = Store.open(FilePath(path), verify=verify)
        settings = IndexSettings.from_json(store.snapshot().manifest.settings)
        if encoder is not None:
            settings = settings.with_encoder_name(
                encoder if isinstance(encoder, str | FilePath) else encoder.name
            )
        index = cls(store, settings, None)
        if encoder is not None and not isinstance(encoder, str | FilePath):
            index._query_encoder = index._document_encoder = index._checked(encoder)
        return index

    # --- reading -------------------------------------------------------------------------------

    @property
    def path(self) -> FilePath:
        """The folder of the index."""
        return self._store.path

    @property
    def settings(self) -> IndexSettings:
        """What was decided when the index was made."""
        return self._settings

    @property
    def generation(self) -> int:
        """The number of the commit this object reads."""
        return self._view.snapshot.generation

    @property
    def encoder(self) -> Encoder:
        """The encoder of queries, loaded now if it was not."""
        if self._query_encoder is None:
            self._query_encoder = self._load("query")
        return self._query_encoder

    def __len__(self) -> int:
        return len(self._view)

    def __contains__(self, document_id: object) -> bool:
        return isinstance(document_id, str) and self._view.locate(document_id) is not None

    def __iter__(self) -> Iterator[Document]:
        return iter(self._view)

    def get(self, document_id: str) -> Document | None:
        """Return the document with this id, or None."""
        where = self._view.locate(document_id)
        return None if where is None else where[0].segment.document(where[1])

    def search(
        self,
        query: Query,
        *,
        k: int = 10,
        filter: str | Mapping[str, object] | Filter | None = None,
        exact: bool = False,
        recall: float | None = None,
        path: Path | None = None,
        knobs: SearchKnobs | None = None,
    ) -> SearchResult:
        """Return the k best live documents, best first; equal scores are ordered by id.

        Every score is true: the float32 inner product of the query's and the document's vectors,
        terms added in ascending order. A document that shares no term with the query is not a
        hit, so fewer than k may come back. `filter` is a text such as
        `year >= 2020 and lang = "en"` or its structure; see lsr.index.filters.

        With `exact` the k best are found for certain. Otherwise an index that is calibrated
        (`lsr index`, `merge` and `calibrate` see to it when it has 20,000 rows and more) finds
        `recall` of them on average, by default 0.99, in less time. `path` insists on a way
        ("exact", "accumulate"), `knobs` set its effort by hand.

        >>> [hit.id for hit in index.search("cats", k=1, filter='_id in ["b"]')]
        ['b']
        """
        started = time.perf_counter()
        view = self._view
        allowed = view.allowed(filter)
        asked = choose(
            view.calibration,
            k,
            filtered=allowed is not None,
            exact=exact,
            recall=recall,
            path=path,
            knobs=knobs,
        )
        found = search(view.snapshot.segments, self.vector(query), k, allowed, asked)
        return _result(view, found, started)

    def search_batch(
        self,
        queries: Sequence[Query],
        *,
        k: int = 10,
        filter: str | Mapping[str, object] | Filter | None = None,
        exact: bool = False,
        recall: float | None = None,
        path: Path | None = None,
        knobs: SearchKnobs | None = None,
        threads: int | None = None,
    ) -> list[SearchResult]:
        """Return the result of each query, in order; `threads` of them are searched at a time.

        The same results as `search` one by one, whatever the number of threads; the vectors of
        many texts encoded together may differ from those of one in float32's last digit.
        """
        view = self._view
        allowed = view.allowed(filter)
        asked = choose(
            view.calibration,
            k,
            filtered=allowed is not None,
            exact=exact,
            recall=recall,
            path=path,
            knobs=knobs,
        )
        vectors = to_vectors(queries, lambda: self.encoder, threads=threads)
        started = time.perf_counter()
        found = search_many(view.snapshot.segments, vectors, k, allowed, threads, asked)
        return [_result(view, one, started) for one in found]

    def explain(self, query: Query, document_id: str) -> Explanation | None:
        """Return the terms that the query and the document share, largest product first.

        The products sum to the score that `search` gives the document, up to float32 rounding.
        None when the index has no such document; no terms and score 0 when they share none.
        """
        where = self._view.locate(document_id)
        if where is None:
            return None
        return explanation(where[0], where[1], self.vector(query), self.token)

    def score(
        self, query: Query, ids: Sequence[str], *, missing: float | None = None
    ) -> list[float]:
        """Return the true scores of the documents with these ids, in that order.

        Bit for bit what exact search gives them: the best passage counts, and a document that
        shares no term with the query scores 0.0. An id may come twice. One that no live document
        has raises DataError, unless `missing` is the score to give it. The cost is a look-up and
        a random access for each id; no postings are read.

        >>> best = index.search("cats")[0]
        >>> index.score("cats", [best.id, "z"], missing=0.0) == [best.score, 0.0]
        True
        """
        return score_documents(self._view.snapshot.segments, self.vector(query), ids, missing)

    def more_like(
        self,
        document_id: str,
        *,
        k: int = 10,
        filter: str | Mapping[str, object] | Filter | None = None,
    ) -> SearchResult:
        """Return the k live documents closest to a document of the index, itself left out.

        Its own vector is the query: the inner product of the two vectors is the score. Of a
        document with passages, each term has the largest weight that any passage gives it.
        Raises DataError when no live document has that id.
        """
        started = time.perf_counter()
        view = self._view
        segments, allowed = view.snapshot.segments, view.allowed(filter)
        found = find_like(
            segments, document_id, k, lambda vector, n: search(segments, vector, n, allowed)
        )
        return _result(view, found, started)

    def token(self, term: int) -> str:
        """Return the text of a term, or its number where the index has no vocabulary."""
        return str(term) if self._settings.encoder_name is None else self.encoder.token(term)

    def vector(self, query: Query) -> SparseVector:
        """Return the sparse vector of a query; terms outside the vocabulary are left out."""
        if type(query) is SparseVector and is_sound(query):
            return query
        return to_vectors([query], lambda: self.encoder)[0]

    def vectors(self, batch: int = 4096) -> Iterator[tuple[list[str], SparseVectors]]:
        """Return ids and vectors of all live rows, `batch` at a time, in index order.

        In an index with passages a document's id comes once for each of its passages.
        """
        for live in self._view.snapshot.segments:
            segment = live.segment
            for start in range(0, segment.n_rows, batch):
                stop = min(start + batch, segment.n_rows)
                documents = segment.row_documents(np.arange(start, stop))
                vectors = segment.vectors(start, stop)
                if live.deleted is not None:
                    keep = ~live.deleted[documents]
                    documents, vectors = documents[keep], vectors.take(np.flatnonzero(keep))
                if len(documents):
                    yield segment.ids(documents), vectors

    def info(self) -> IndexInfo:
        """Return counts, sizes and settings of the index as this object sees it."""
        return describe(self._store, self._view.snapshot, self._settings)

    def refresh(self) -> int:
        """Read the newest commit from now on; return its generation."""
        self._view = View(self._store.snapshot())
        return self.generation

    # --- writing -------------------------------------------------------------------------------

    def add(
        self,
        documents: Iterable[Document | Mapping[str, object]],
        *,
        vectors: SparseVectors | None = None,
    ) -> int:
        """Add documents with new ids; return how many. They can be found after `commit`.

        A mapping is read as a line of JSONL is: `_id`, `title`, `text` and metadata. `vectors`
        gives ready-made vectors, one row each. Raises DataError on the first document that
        cannot go in, an id that is already there among them; `rollback` then undoes the rest.

        >>> index.add([{"_id": "c", "text": "cows moo", "year": 2024}])
        1
        >>> index.commit() > 0
        True
        """
        return self._write(documents, vectors, "add")

    def upsert(
        self,
        documents: Iterable[Document | Mapping[str, object]],
        *,
        vectors: SparseVectors | None = None,
    ) -> int:
        """Add documents, each in place of the one with its id if there is one."""
        return self._write(documents, vectors, "upsert")

    def delete(self, ids: Iterable[str]) -> int:
        """Delete the documents with these ids; return how many there were.

        Gone from results after `commit`, and from the disk after `merge`.
        """
        if isinstance(ids, str):
            raise ConfigError("delete takes a list of ids; put the one id in a list")
        return self._writable().delete(list(ids))

    def commit(self) -> int:
        """Make all changes durable and searchable, at once or not at all; return the generation."""
        if self._transaction is not None:
            transaction, self._transaction = self._transaction, None
            self._view = View(transaction.commit())
        return self.generation

    def rollback(self) -> None:
        """Forget all changes since the last commit."""
        if self._transaction is not None:
            transaction, self._transaction = self._transaction, None
            transaction.rollback()

    def abandon(self) -> None:
        """Forget the changes since the last checkpoint of a build; `resume` can go on there."""
        if self._transaction is not None:
            transaction, self._transaction = self._transaction, None
            transaction.rollback(keep_journal=True)

    def calibrate(
        self,
        queries: Sequence[Query] | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> Calibration | None:
        """Find the knobs for each recall by searching, and commit them; None for a small index.

        The heaviest terms of its own documents are searched for, or the given queries, which
        should be real ones. Commits what was added before.
        """
        vectors = None if queries is None else to_vectors(queries, lambda: self.encoder)
        transaction = self._writable()
        try:
            found = calibrate_in(transaction, vectors, progress)
        except BaseException:
            self.rollback()
            raise
        self.commit()
        return found

    def merge(self) -> int:
        """Rewrite all segments as one without deleted documents; return the generation.

        Commits first. The deleted documents' text is then gone from the disk.
        """
        self.commit()
        transaction = self._writable()
        try:
            transaction.merge("all")
            calibrate_in(transaction)
        except BaseException:
            self.rollback()
            raise
        return self.commit()

    def transaction(self) -> Transaction:
        """Return the open transaction, begun now if none is; it holds the writer's lock."""
        if self._transaction is None:
            self._transaction = self._store.begin()
        return self._transaction

    def ingest(self, transaction: Transaction, *, threads: int | None = None) -> Ingest:
        """Return what writes documents into `transaction` as this index wants them."""
        return Ingest(
            transaction,
            vocab_size=self._settings.vocab_size,
            encoder=self.document_encoder,
            passages=self._settings.passages,
            declared={name: FieldType(kind) for name, kind in self._settings.field_types.items()},
            threads=threads,
        )

    def document_encoder(self) -> Encoder:
        """Return the encoder of documents, loaded now if it was not."""
        if self._document_encoder is None:
            self._document_encoder = self._load("both")
            self._query_encoder = self._document_encoder
        return self._document_encoder

    def close(self) -> None:
        """Give back the writer's lock; changes that were not committed are lost."""
        self.rollback()

    def __enter__(self) -> Index:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.commit()
        self.close()

    # --- inside --------------------------------------------------------------------------------

    def _writable(self) -> Transaction:
        transaction = self.transaction()
        if transaction.journal is not None:
            self.abandon()
            raise ConfigError(
                f"{self.path} holds an unfinished build, which other changes would spoil",
                hint=f"finish it with `lsr add {self.path} SOURCE --resume`, "
                "or drop it with --restart",
            )
        return transaction

    def _load(self, side: str) -> Encoder:
        name = self._settings.encoder_name
        if name is None:
            raise ConfigError(
                "this index was made from vectors and has no encoder, so it cannot read text",
                hint="search it with a vector: `lsr search DIR --vector '{\"17\": 1.2}'`",
            )
        return self._checked(load_encoder(name, side="query" if side == "query" else "both"))

    def _checked(self, encoder: Encoder) -> Encoder:
        wanted = self._settings.encoder_fingerprint
        if wanted is not None and encoder.fingerprint != wanted:
            raise ModelError(
                f"{self.path} was made with encoder {self._settings.encoder_name!r} "
                f"({wanted}), but that name now holds another model ({encoder.fingerprint})",
                hint="give the folder of the right model with --model, or index again",
            )
        return encoder

    def _write(
        self,
        documents: Iterable[Document | Mapping[str, object]],
        vectors: SparseVectors | None,
        action: Action,
    ) -> int:
        rejects = Rejects("stop")
        ingest = self.ingest(self._writable())
        batch: list[Record] = []
        written = taken = 0
        for number, document in enumerate(documents, 1):
            record = as_document(document, number, need_text=vectors is None)
            batch.append(Record(record, "document", number))
            if len(batch) == _BATCH:
                part = None if vectors is None else vectors.slice(taken, taken + len(batch))
                written += ingest.write(batch, part, action=action, rejects=rejects)
                taken, batch = taken + len(batch), []
        part = None if vectors is None else vectors.slice(taken, len(vectors))
        if batch or (part is not None and len(part)):
            written += ingest.write(batch, part, action=action, rejects=rejects)
        return written


def _result(view: View, found: Found, started: float) -> SearchResult:
    took = time.perf_counter() - started
    stats = SearchStats(found.postings, found.scored, took * 1e6)
    return SearchResult(Answer(view.snapshot.segments, found), found.path, took * 1e3, stats)
