"""Sources: what a build reads, in batches, from any position."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from xxhash import xxh3_64_hexdigest

from lsr.corpus import Corpus, open_corpus
from lsr.corpus_fields import FieldMap
from lsr.rejects import Rejects
from lsr.sparse import SparseVectors
from lsr.types import Record
from lsr.vector_files import read_vectors

#: A batch ends at this many characters of text, so that long documents do not fill the memory.
_BATCH_CHARACTERS = 16_000_000


class Batch(NamedTuple):
    """Some records in the order of their source.

    `read` is how many records of the source, good and bad, lie before the next batch; `vectors`
    are the records' own, where the source holds them.
    """

    records: Sequence[Record]
    vectors: SparseVectors | None
    read: int


class Source(Protocol):
    """What a build reads. `name` tells one source from another when a build goes on."""

    @property
    def name(self) -> str:
        """What the user called it: a path, an id, `-`."""
        ...

    @property
    def reading(self) -> str:
        """How its records are read, in a line: a build goes on only under the same."""
        ...

    def share_read(self) -> float | None:
        """Return how much of the source has been read, 0 to 1; None if not known."""
        ...

    def batches(self, *, skip: int, size: int, rejects: Rejects) -> Iterator[Batch]:
        """Return what follows the first `skip` records, at most `size` records a batch."""
        ...


@dataclass(slots=True)
class CorpusSource:
    """Documents whose vectors are still to be made; anything `lsr.corpus` reads.

    >>> CorpusSource("docs.jsonl").name
    'docs.jsonl'
    """

    source: str
    format: str | None = None
    mapping: FieldMap = field(default_factory=FieldMap)
    _open: Corpus | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """The path or id as given."""
        return self.source

    @property
    def reading(self) -> str:
        """The format and the names of the fields."""
        return _line(format=self.format, fields=_fields(self.mapping))

    def share_read(self) -> float | None:
        """Return how much of the source's bytes has been read, 0 to 1; None if not known."""
        if self._open is None or not self._open.total_bytes:
            return None
        return min(1.0, self._open.bytes_read / self._open.total_bytes)

    def batches(self, *, skip: int, size: int, rejects: Rejects) -> Iterator[Batch]:
        """Return the documents in order; a batch also ends at 16 million characters."""
        corpus = self._open = open_corpus(
            self.source, format=self.format, mapping=self.mapping, rejects=rejects, skip=skip
        )
        records: list[Record] = []
        characters = 0
        for record in corpus.records():
            records.append(record)
            characters += len(record.document.text)
            if len(records) == size or characters >= _BATCH_CHARACTERS:
                yield Batch(records, None, corpus.position)
                records, characters = [], 0
        if records:
            yield Batch(records, None, corpus.position)


@dataclass(frozen=True, slots=True)
class VectorSource:
    """Documents with vectors made elsewhere; anything `lsr.vector_files` reads.

    `vocab_size` is the index's; `vocabulary` maps the tokens of Anserini's files and of CIFF to
    terms, and `scale` is what their weights were multiplied with.
    """

    source: str
    vocab_size: int
    vocabulary: Mapping[str, int] | None = None
    scale: float | None = None
    format: str | None = None
    mapping: FieldMap = field(default_factory=FieldMap)

    @property
    def name(self) -> str:
        """The path as given."""
        return self.source

    @property
    def reading(self) -> str:
        """The format, the scale of the weights, the vocabulary and the names of the fields."""
        vocabulary = None
        if self.vocabulary is not None:
            told = "\n".join(f"{token}\t{term}" for token, term in self.vocabulary.items())
            vocabulary = f"{len(self.vocabulary):,} tokens ({xxh3_64_hexdigest(told.encode())[:8]})"
        scale, fields = self.scale or 1.0, _fields(self.mapping)
        return _line(format=self.format, scale=scale, vocabulary=vocabulary, fields=fields)

    def share_read(self) -> float | None:
        """Return None: how far the reading is inside a vector file is not known."""
        return None

    def batches(self, *, skip: int, size: int, rejects: Rejects) -> Iterator[Batch]:
        """Return the documents and their vectors in order."""
        for batch in read_vectors(
            self.source,
            format=self.format,
            vocab_size=self.vocab_size,
            vocabulary=self.vocabulary,
            scale=self.scale,
            mapping=self.mapping,
            rejects=rejects,
            batch=size,
            skip=skip,
        ):
            records = [
                Record(document, batch.source, line)
                for document, line in zip(batch.documents, batch.lines, strict=True)
            ]
            yield Batch(records, batch.vectors, batch.position)


def _line(**parts: object) -> str:
    return ", ".join(f"{name} {part}" for name, part in parts.items() if part is not None)


def _fields(mapping: FieldMap) -> str | None:
    return None if mapping == FieldMap() else str(mapping)
