"""Ingest: documents on their way into a transaction, checked, split, encoded and appended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy.typing as npt

from lsr.encoder import Encoder
from lsr.errors import ConfigError, DataError
from lsr.passages import PassageSettings, texts_to_encode
from lsr.rejects import Rejects
from lsr.sparse import SparseVectors
from lsr.types import Document, Record, Span

from .columns import FieldType
from .transaction import Transaction

Action = Literal["add", "upsert"]


class Ingest:
    """Writes batches of records into a transaction, as `add` or `upsert`.

    A record that cannot be taken (an id that is already there, a field of another type) goes to
    `rejects`, which raises or counts; the rest of its batch is written.
    """

    def __init__(
        self,
        transaction: Transaction,
        *,
        vocab_size: int,
        encoder: Callable[[], Encoder],
        passages: PassageSettings | None,
        declared: Mapping[str, FieldType],
        threads: int | None = None,
        sparse: bool = True,
    ) -> None:
        self._transaction = transaction
        self._vocab_size = vocab_size
        self._encoder = encoder
        self._passages = passages
        self._declared = declared
        self._threads = threads
        self._sparse = sparse

    def write(
        self,
        records: Sequence[Record],
        vectors: SparseVectors | None,
        *,
        action: Action,
        rejects: Rejects,
        on_encoded: Callable[[float], None] | None = None,
        given: Mapping[str, npt.NDArray[Any]] | None = None,
    ) -> int:
        """Append one batch; return how many documents went in.

        `vectors`, when given, has one row for each record and nothing is encoded; `given` has
        rows for other legs. `on_encoded`
        is told, as encoding goes on, how many more documents are done (a passage is a part of
        one). Within a batch, `add` keeps the first document of an id and `upsert` the last.
        """
        if vectors is not None:
            self._check_vectors(records, vectors)
        for name, rows_of_leg in (given or {}).items():
            if len(rows_of_leg) != len(records):
                raise DataError(
                    f"there are {len(records)} documents but {len(rows_of_leg)} rows for the leg "
                    f"{name!r}"
                )
        kept = self._without_duplicates(records, action, rejects)
        kept = self._with_known_fields(records, kept, rejects)
        if not kept:
            return 0
        documents = [records[at].document for at in kept]
        spans = None
        if self._passages is not None:
            spans = [self._split(document, self._passages) for document in documents]
        if vectors is None and not self._sparse:
            rows = SparseVectors.from_dicts([{}] * len(documents), vocab_size=self._vocab_size)
        elif vectors is None:
            rows = self._encode(documents, spans, on_encoded)
        else:
            rows = vectors if len(kept) == len(records) else vectors.take(kept)
        if action == "upsert":
            self._transaction.delete([document.id for document in documents])
        others = {name: found[kept] for name, found in (given or {}).items()}
        self._transaction.append(documents, rows, spans, others)
        return len(documents)

    def _encode(
        self,
        documents: Sequence[Document],
        spans: Sequence[Sequence[Span]] | None,
        on_encoded: Callable[[float], None] | None,
    ) -> SparseVectors:
        texts = texts_to_encode(documents, spans)
        share = len(documents) / len(texts)
        told = None if on_encoded is None else lambda n_texts: on_encoded(n_texts * share)
        return self._encoder().encode_documents(texts, threads=self._threads, on_progress=told)

    def _check_vectors(self, records: Sequence[Record], vectors: SparseVectors) -> None:
        if not self._sparse:
            raise ConfigError("this index has no sparse leg, so it cannot take sparse vectors")
        if self._passages is not None:
            raise ConfigError(
                "this index splits documents into passages, so it cannot take one ready-made "
                "vector for a document",
                hint="make an index without --passages for precomputed vectors",
            )
        if len(vectors) != len(records):
            raise DataError(f"there are {len(records)} documents but {len(vectors)} vectors")
        if vectors.vocab_size != self._vocab_size:
            raise DataError(
                f"the vectors have a vocabulary of {vectors.vocab_size} terms; "
                f"this index has {self._vocab_size}"
            )

    def _without_duplicates(
        self, records: Sequence[Record], action: Action, rejects: Rejects
    ) -> list[int]:
        """Return the positions of the records whose ids may go in."""
        if action == "upsert":
            last = {record.document.id: at for at, record in enumerate(records)}
            return sorted(last.values())
        known = self._transaction.contains([record.document.id for record in records])
        first: dict[str, Record] = {}
        kept = []
        for at, record in enumerate(records):
            key = record.document.id
            if key in first:
                where = f"{first[key].source}:{first[key].line}"
                self._reject(rejects, record, f"duplicate id {key!r}; it is also at {where}")
            elif known[at]:
                self._reject(
                    rejects, record, f"duplicate id {key!r}; the index already has it (or upsert)"
                )
            else:
                first[key] = record
                kept.append(at)
        return kept

    def _with_known_fields(
        self, records: Sequence[Record], kept: Sequence[int], rejects: Rejects
    ) -> list[int]:
        fields = self._transaction.fields
        taken = []
        for at in kept:
            try:
                fields = fields.learn(records[at].document, declared=self._declared)
            except DataError as error:
                self._reject(rejects, records[at], error.message)
            else:
                taken.append(at)
        self._transaction.fields = fields
        return taken

    @staticmethod
    def _reject(rejects: Rejects, record: Record, reason: str) -> None:
        rejects.reject(record.source, record.line, reason, record.document.id)

    def _split(self, document: Document, passages: PassageSettings) -> list[Span]:
        spans = passages.split(document.text, length=self._encoder().count_tokens)
        # A document with a title alone still needs a row to be found by.
        return spans or [Span(0, len(document.text))]
