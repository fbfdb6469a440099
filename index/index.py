"""The Index: what a program or the command line works with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path as FilePath
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lsr.dense_encoder import DenseEncoder, load_dense_encoder
from lsr.encoder import BUNDLED, Encoder, load_encoder
from lsr.errors import ConfigError
from lsr.passages import PassageSettings
from lsr.rejects import Rejects
from lsr.sparse import SparseVectors
from lsr.types import (
    Document,
    Record,
)

from .block_build import BlockWriter
from .blocks import SETTING as BLOCKS
from .blocks import BlockSettings
from .calibration import Calibration, calibrate_in, keep_calibrated
from .columns import FieldType
from .given import as_document
from .halves import Dtype
from .ingest import Action, Ingest
from .legs import SPARSE, Leg, leg_settings, make_leg
from .merge import Which
from .query import Query, to_vectors
from .reader import Reader
from .settings import IndexSettings
from .store import Store
from .transaction import Transaction
from .view import View

if TYPE_CHECKING:
    from .dense import DenseLeg

_BATCH = 4096


class Index(Reader):
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
        super().__init__(store, settings, encoder)
        self._transaction: Transaction | None = None

    @classmethod
    def create(
        cls,
        path: str | FilePath,
        *,
        encoder: Encoder | str | None = BUNDLED,
        vocab_size: int | None = None,
        passages: PassageSettings | None = None,
        field_types: Mapping[str, str] | None = None,
        blocks: bool | BlockSettings = False,
        legs: Sequence[str | Leg] = (SPARSE,),
        dtype: Dtype = "float32",
    ) -> Index:
        """Make an empty index in the folder `path`, which must not hold one, and return it.

        `encoder` is an Encoder, a model's name or folder, or None for an index of vectors made
        elsewhere, which needs `vocab_size`. With `passages`, documents are split and a hit is
        the document of the best passage (MaxP). `field_types` fixes types of metadata fields
        (string, number, boolean, date, strings); the others are typed when first seen. With
        `blocks` its larger segments can be searched with `path="blocks"`, too. `legs` are what it
        can rank by, by name or with settings (`Bm25Leg`); without `sparse` it needs no encoder.
        With a `dtype` of float16 weights are rounded to that, by 1/2,048 at most: the index is
        smaller and quicker, and scores are those of the rounded vectors. Weights that float16
        holds exactly are kept so anyway.
        """
        wanted = {
            leg if isinstance(leg, str) else leg.name: _leg_json(leg)
            for leg in ([legs] if isinstance(legs, str) else legs)
        }
        if SPARSE not in wanted:
            encoder = None
        loaded = load_encoder(encoder) if isinstance(encoder, str | FilePath) else encoder
        settings = IndexSettings.make(
            loaded,
            vocab_size,
            passages,
            field_types or {},
            _block_settings(blocks),
            wanted,
            dtype,
        )
        store = Store.create(FilePath(path), settings.to_json())
        _take_legs(store, legs)
        return cls(store, settings, loaded)

    @classmethod
    def open(
        cls,
        path: str | FilePath,
        *,
        encoder: Encoder | str | None = None,
        dense: DenseEncoder | str | None = None,
        verify: bool = True,
    ) -> Index:
        """Return the index in the folder `path`, at its last commit.

        The encoder is the one it was made with, loaded when first needed; give another Encoder
        or name when the model has moved; `dense` is the same for the dense leg. Every file's
        checksum is verified unless `verify` is false. Raises IndexFormatError for a folder that
        is no index, is damaged, or was written by a newer lsr.
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
        if dense is not None:
            index._take_dense(dense)
        return index

    def add(
        self,
        documents: Iterable[Document | Mapping[str, object]],
        *,
        vectors: SparseVectors | None = None,
        given: Mapping[str, npt.ArrayLike] | None = None,
    ) -> int:
        """Add documents with new ids; return how many. They can be found after `commit`.

        A mapping is read as a line of JSONL is: `_id`, `title`, `text` and metadata. `vectors`
        gives ready-made vectors, one row each, and `given` those of other legs, such as
        `{"dense": array}`. Raises DataError on the first document that
        cannot go in, an id that is already there among them; `rollback` then undoes the rest.

        >>> index.add([{"_id": "c", "text": "cows moo", "year": 2024}])
        1
        >>> index.commit() > 0
        True
        """
        return self._write(documents, vectors, "add", given)

    def upsert(
        self,
        documents: Iterable[Document | Mapping[str, object]],
        *,
        vectors: SparseVectors | None = None,
        given: Mapping[str, npt.ArrayLike] | None = None,
    ) -> int:
        """Add documents, each in place of the one with its id if there is one."""
        return self._write(documents, vectors, "upsert", given)

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

        Some terms of its own documents are searched for, or the given queries, which should be
        real ones. Commits what was added before.
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

    def merge(
        self,
        which: Which = "all",
        *,
        blocks: bool | BlockSettings | None = None,
        progress: Callable[[str, float], None] | None = None,
    ) -> int:
        """Rewrite all segments as one without deleted documents; return the generation.

        Commits first. The deleted documents' text is then gone from the disk. `blocks` says
        whether the index has blocks from now on, None that this stays as it is.
        With "auto" only what the policy of `index/merge.py` wants is rewritten, which keeps a
        growing index quick. `progress` is told a long step, "blocks" or "calibration", and the
        share of it that is done.
        """
        self.commit()
        transaction = self._writable()
        say = progress or (lambda step, share: None)
        try:
            transaction.block_writer = BlockWriter(progress=partial(say, "blocks"))
            if blocks is not None:
                wanted = _block_settings(blocks)
                self._settings = replace(self._settings, blocks=wanted)
                kept = None if wanted is None else wanted.to_json()
                transaction.settings = {**transaction.settings, BLOCKS: kept}
            transaction.merge(which)
            keep_calibrated(transaction, progress=partial(say, "calibration"))
        except BaseException:
            self.rollback()
            raise
        return self.commit()

    def add_leg(self, leg: str | Leg) -> int:
        """Add a leg, made from the documents that are there; return the generation.

        The other legs stay as they are: nothing is encoded anew. Commits what was added before.
        """
        return self.change_legs(add=leg)

    def remove_leg(self, name: str) -> int:
        """Remove a leg and its files; return the generation. Commits what was added before."""
        return self.change_legs(remove=name)

    def change_legs(self, *, add: str | Leg | None = None, remove: str | None = None) -> int:
        """Remove a leg, and add one, in one commit; return the generation."""
        transaction = self._writable()
        try:
            if remove is not None:
                transaction.remove_leg(remove)
            if add is not None:
                made = make_leg(add, {}) if isinstance(add, str) else add
                transaction.add_leg(made)
        except BaseException:
            self.rollback()
            raise
        generation = self.commit()
        legs = leg_settings(self.snapshot.manifest.settings)
        self._settings = replace(self._settings, legs=legs)
        _take_legs(self._store, [] if add is None else [made])
        return generation

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
            sparse=SPARSE in self._settings.legs,
        )

    def dense_leg(self) -> DenseLeg | None:
        """Return the dense leg, which holds its model once that was needed; None without one."""
        from .dense import DENSE, DenseLeg

        leg = self._store.legs(self.snapshot.manifest.settings).get(DENSE)
        return leg if isinstance(leg, DenseLeg) else None

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

    def _take_dense(self, encoder: DenseEncoder | str) -> None:
        leg = self.dense_leg()
        if leg is None:
            raise ConfigError(
                f"{self.path} has no dense leg, for which a model was given",
                hint=f"add one: lsr legs {self.path} --add dense --dense-model MODEL",
            )
        leg.encoder = load_dense_encoder(encoder) if isinstance(encoder, str) else encoder

    def _write(
        self,
        documents: Iterable[Document | Mapping[str, object]],
        vectors: SparseVectors | None,
        action: Action,
        given: Mapping[str, npt.ArrayLike] | None,
    ) -> int:
        rejects = Rejects("stop")
        ingest = self.ingest(self._writable())
        arrays = {name: np.asarray(rows) for name, rows in (given or {}).items()}
        batch: list[Record] = []
        written = taken = 0

        def put(stop: int) -> int:
            part = None if vectors is None else vectors.slice(taken, stop)
            rows = {name: array[taken:stop] for name, array in arrays.items()}
            return ingest.write(batch, part, action=action, rejects=rejects, given=rows)

        for number, document in enumerate(documents, 1):
            record = as_document(document, number, need_text=vectors is None and not arrays)
            batch.append(Record(record, "document", number))
            if len(batch) == _BATCH:
                written += put(taken + len(batch))
                taken, batch = taken + len(batch), []
        longest = max([0 if vectors is None else len(vectors), *map(len, arrays.values())])
        if batch or longest > taken:
            written += put(max(longest, taken))
        return written


def _take_legs(store: Store, legs: Sequence[str | Leg]) -> None:
    """Let the store use the legs that are objects, which may hold models."""
    for leg in legs:
        if not isinstance(leg, str):
            store.take_leg(leg)


def _leg_json(leg: str | Leg) -> dict[str, Any]:
    if leg == SPARSE:
        return {}
    return (make_leg(leg, {}) if isinstance(leg, str) else leg).to_json()


def _block_settings(blocks: bool | BlockSettings) -> BlockSettings | None:
    if isinstance(blocks, BlockSettings):
        return blocks
    return BlockSettings() if blocks else None
