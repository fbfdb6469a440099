"""Sources: what a build reads, in batches, from any position."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from lsr.corpus import FieldMap, read_documents
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

    def batches(self, *, skip: int, size: int, rejects: Rejects) -> Iterator[Batch]:
        """Return what follows the first `skip` records, at most `size` records a batch."""
        ...


@dataclass(frozen=True, slots=True)
class CorpusSource:
    """Documents whose vectors are still to be made; anything `lsr.corpus` reads.

    >>> CorpusSource("docs.jsonl").name
    'docs.jsonl'
    """

    source: str
    format: str | None = None
    mapping: FieldMap = field(default_factory=FieldMap)

    @property
    def name(self) -> str:
        """The path or id as given."""
        return self.source

    def batches(self, *, skip: int, size: int, rejects: Rejects) -> Iterator[Batch]:
        """Return the documents in order; a batch also ends at 16 million characters."""
        records: list[Record] = []
        characters, read, seen = 0, skip, rejects.count
        for record in read_documents(
            self.source, format=self.format, mapping=self.mapping, rejects=rejects, skip=skip
        ):
            # What was rejected since the last good record lies between the two in the source.
            read, seen = read + 1 + rejects.count - seen, rejects.count
            records.append(record)
            characters += len(record.document.text)
            if len(records) == size or characters >= _BATCH_CHARACTERS:
                yield Batch(records, None, read)
                records, characters, seen = [], 0, rejects.count
        if records:
            yield Batch(records, None, read)


@dataclass(frozen=True, slots=True)
class VectorSource:
    """Documents with vectors made elsewhere; anything `lsr.vector_files` reads."""

    source: str
    vocab_size: int
    vocabulary: Mapping[str, int] | None = None

    @property
    def name(self) -> str:
        """The path as given."""
        return self.source

    def batches(self, *, skip: int, size: int, rejects: Rejects) -> Iterator[Batch]:
        """Return the documents and their vectors in order."""
        read, seen = skip, rejects.count
        for batch in read_vectors(
            Path(self.source),
            vocab_size=self.vocab_size,
            vocabulary=self.vocabulary,
            rejects=rejects,
            batch=size,
            skip=skip,
        ):
            records = [
                Record(document, self.source, line)
                for document, line in zip(batch.documents, batch.lines, strict=True)
            ]
            read += len(records) + rejects.count - seen
            yield Batch(records, batch.vectors, read)
            seen = rejects.count
