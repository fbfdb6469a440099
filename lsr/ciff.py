"""Vectors in the Common Index File Format: read row by row, and written list by list.

The format is made of postings lists, so that reading and writing vectors are transpositions;
both go through a temporary file and keep what is in memory small.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np
import numpy.typing as npt

from lsr.anserini import term_of
from lsr.ciff_wire import (
    LARGEST,
    POSTING_BYTES,
    ByteStream,
    DocumentRecord,
    Header,
    PostingsList,
    WireError,
    read_header,
    read_list,
    read_record,
    write_header,
    write_list,
    write_record,
)
from lsr.corpus_bytes import opened
from lsr.corpus_fields import BadRecord
from lsr.errors import ConfigError, DataError
from lsr.rounding import Rounding
from lsr.sparse import SparseVectors
from lsr.spill import Spill
from lsr.vector_bytes import compressed
from lsr.vector_rows import Piece, RawRows

#: Rows whose weights are held at a time while a file is read.
_WIDTH = 8192
#: The most bytes of a header, of a document record, and of a term with its counts.
_MESSAGE_BYTES = 2**24
_VERSION = 1
_TERMS = (
    "give the vocabulary that the terms are of: --vocabulary FILE, or --model; "
    "--vocab-size where they are numbers"
)


class CiffRows:
    """The documents of a CIFF file (.ciff, also .gz, .zst) and their vectors: tf / `scale`.

    Terms are looked up in `vocabulary`; without one they must be term ids. Every list is read
    before the first row: 12 bytes of temporary file for each posting, and in memory the longest
    list, 4,000,000 postings, the rows of 8,192 documents and 2 bytes a document. A file that is
    damaged, cut off or no CIFF raises DataError whatever is done about bad rows, since no row of
    it is known to be whole.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        vocabulary: Mapping[str, int] | None,
        vocab_size: int,
        scale: float = 1.0,
    ) -> None:
        self.name = "stdin" if path is None else str(path)
        self.vocab_size: int | None = vocab_size
        self.seen = 0
        self._path = path
        self._size = vocab_size
        self._vocabulary = vocabulary
        self._scale = scale

    def pieces(self, size: int, skip: int) -> Iterator[Piece]:
        """Yield the rows behind the first `skip`, at most `size` at a time."""
        self.seen = 0
        with opened(self._path) as file:
            stream = ByteStream(file, self.name)
            header = self._header(stream)
            n_keys = max(header.n_documents, header.total_documents)
            with Spill(n_keys, width=_WIDTH) as spill:
                used = self._lists(stream, header, n_keys, spill)
                rows = _Rows(spill, self._scale)
                records: list[DocumentRecord] = []
                for number, record in self._records(stream, header, n_keys, used):
                    if number > skip:
                        records.append(record)
                    self.seen = number
                    if len(records) == size:
                        yield rows.of(self.name, records, number)
                        records = []
                if records:
                    yield rows.of(self.name, records, self.seen)

    def _header(self, stream: ByteStream) -> Header:
        try:
            header = read_header(stream.message(_MESSAGE_BYTES))
        except WireError as error:
            self._fail(0, f"this is no CIFF file ({error})")
        if header.version != _VERSION or min(header[1:5]) < 0 or max(header[1:5]) > LARGEST:
            self._fail(
                0, f"this is no CIFF file of version {_VERSION}: its header says {header[:5]}"
            )
        return header

    def _lists(
        self, stream: ByteStream, header: Header, n_keys: int, spill: Spill
    ) -> npt.NDArray[np.bool_]:
        """Put all postings into the spill; return which documents have some."""
        used, known = np.zeros(n_keys, np.bool_), np.zeros(self._size, np.bool_)
        limit = n_keys * POSTING_BYTES + _MESSAGE_BYTES
        for number in range(1, header.n_lists + 1):
            start = stream.position
            try:
                found = read_list(stream.message(limit))
                term = self._term(found)
            except WireError as error:
                self._fail(start, f"postings list {number} of {header.n_lists}: {error}")
            except BadRecord as error:
                self._fail(start, f"postings list {number} of {header.n_lists}: {error}", _TERMS)
            if known[term]:
                self._fail(start, f"postings list {number}: term {found.term!a} comes twice")
            if len(found.documents) and found.documents[-1] >= n_keys:
                self._fail(
                    start,
                    f"postings list {number}: document {found.documents[-1]}; the header counts "
                    f"{n_keys}",
                )
            known[term] = True
            used[found.documents] = True
            spill.add(found.documents, np.full(len(found.documents), term), found.frequencies)
        return used

    def _term(self, found: PostingsList) -> int:
        term = term_of(found.term, self._vocabulary)
        if term >= self._size:
            raise BadRecord(f"term {found.term!a} is outside the vocabulary of {self._size}")
        return term

    def _records(
        self, stream: ByteStream, header: Header, n_keys: int, used: npt.NDArray[np.bool_]
    ) -> Iterator[tuple[int, DocumentRecord]]:
        """Yield each document record, numbered from 1, and look whether all is there at the end."""
        named = np.zeros(n_keys, np.bool_)
        for number in range(1, header.n_documents + 1):
            start = stream.position
            try:
                record = read_record(stream.message(_MESSAGE_BYTES))
            except WireError as error:
                self._fail(start, f"document record {number} of {header.n_documents}: {error}")
            if not 0 <= record.number < n_keys or named[record.number]:
                what = "comes twice" if 0 <= record.number < n_keys else f"is not below {n_keys}"
                self._fail(start, f"document record {number}: document {record.number} {what}")
            named[record.number] = True
            yield number, record
        lost = np.flatnonzero(used & ~named)
        if len(lost):
            self._fail(stream.position, f"document {lost[0]} has postings, but no document record")
        try:
            ended = stream.at_end()
        except WireError as error:
            self._fail(stream.position, str(error))
        if not ended:
            self._fail(stream.position, "there are bytes behind the last document record")

    def _fail(self, position: int, reason: str, hint: str | None = None) -> NoReturn:
        hint = hint or "get the file again; no row of a damaged CIFF file is known to be whole"
        raise DataError(f"{self.name}: byte {position:,}: {reason}", hint=hint)


class _Rows:
    """Rows out of the spill, one bucket of documents in memory."""

    def __init__(self, spill: Spill, scale: float) -> None:
        self._spill = spill
        self._scale = scale
        self._first = self._end = 0
        self._bounds: list[int] = []
        self._terms = self._weights = np.empty(0, np.uint32)

    def of(self, name: str, records: Sequence[DocumentRecord], last: int) -> RawRows:
        """Return the rows of some documents, the last of which is record number `last`."""
        terms: list[npt.NDArray[Any]] = []
        weights: list[npt.NDArray[Any]] = []
        values: list[Mapping[str, Any]] = []
        problems: dict[int, str] = {}
        indptr = np.zeros(len(records) + 1, np.int64)
        for at, record in enumerate(records):
            row = self._row(record.number)
            terms.append(row[0])
            weights.append(row[1] / self._scale)
            indptr[at + 1] = indptr[at] + len(row[0])
            try:
                values.append({"_id": record.id.decode("utf-8")})
            except UnicodeDecodeError as error:
                values.append({})
                problems[at] = f"invalid UTF-8 at byte {error.start} of the id"
        return RawRows(
            name,
            list(range(last - len(records) + 1, last + 1)),
            values,
            indptr,
            np.concatenate(terms),
            np.concatenate(weights),
            problems,
        )

    def _row(self, document: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        if not self._first <= document < self._end:
            width = self._spill.width
            self._first = document - document % width
            self._end = self._first + width
            keys, self._terms, self._weights = self._spill.read(document // width)
            owners = np.arange(self._first, self._end + 1, dtype=np.uint32)
            self._bounds = np.searchsorted(keys, owners).tolist()
        at = document - self._first
        row = slice(self._bounds[at], self._bounds[at + 1])
        return self._terms[row], self._weights[row]


def write_ciff(
    path: Path,
    name: str,
    batches: Iterable[tuple[Sequence[str], SparseVectors]],
    *,
    tokens: Sequence[str] | None,
    rounding: Rounding,
) -> int:
    """Write vectors as CIFF, compressed if `name` ends in .gz or .zst; return their number.

    Weights become integers, as `rounding` has it; a term without postings has no list. Lists are
    in the order of the tokens' UTF-8, documents in the order they come. Takes 12 bytes a weight
    of temporary file beside `path`, and the memory of a batch, of 4,000,000 weights and of the
    longest list.
    """
    with ExitStack() as stack:
        records = stack.enter_context(tempfile.TemporaryFile(dir=path.parent))
        spill: Spill | None = None
        count = length = 0
        for ids, vectors in batches:
            if spill is None:
                spill = stack.enter_context(Spill(vectors.vocab_size, folder=path.parent))
                names = _names(tokens, vectors.vocab_size)
            lengths = _add(spill, vectors, count, rounding)
            for at, identity in enumerate(ids):
                own = int(lengths[at])
                if own > LARGEST or count + at > LARGEST:
                    raise DataError(
                        f"document {identity!r}: CIFF counts up to 2,147,483,647 documents, and "
                        f"as much in each; this is document {count + at}, of length {own:,}"
                    )
                records.write(write_record(DocumentRecord(count + at, identity.encode(), own)))
            count, length = count + len(vectors), length + int(lengths.sum())
        if spill is None:
            raise ConfigError(f"{name}: there are no vectors to write")
        out = stack.enter_context(compressed(path, name))
        lists = stack.enter_context(tempfile.TemporaryFile(dir=path.parent))
        n_lists = _write_lists(lists, spill, names)
        out.write(write_header(_header_of(n_lists, count, length, rounding)))
        for part in (lists, records):
            part.seek(0)
            while data := part.read(2**20):
                out.write(data)
    return count


def _names(tokens: Sequence[str] | None, vocab_size: int) -> list[tuple[bytes, str, int]]:
    """Return the terms with their tokens, in the order of the tokens' UTF-8."""
    named = ((str(term) if tokens is None else tokens[term], term) for term in range(vocab_size))
    return sorted((token.encode("utf-8"), token, term) for token, term in named)


def _add(
    spill: Spill, vectors: SparseVectors, before: int, rounding: Rounding
) -> npt.NDArray[np.int64]:
    """Put the vectors into the spill; return the sum of the rounded weights of each."""
    weights = rounding(vectors.weights)
    rows = np.repeat(np.arange(len(vectors)), np.diff(vectors.indptr))
    kept = weights > 0
    spill.add(vectors.terms[kept], rows[kept] + before, weights[kept])
    sums = np.concatenate([[0], np.cumsum(weights)])
    lengths: npt.NDArray[np.int64] = sums[vectors.indptr[1:]] - sums[vectors.indptr[:-1]]
    return lengths


def _write_lists(out: IO[bytes], spill: Spill, names: list[tuple[bytes, str, int]]) -> int:
    count, last = 0, None
    for _, token, term in names:
        _, documents, frequencies = spill.read(term)
        if len(documents):
            if token == last:
                raise DataError(f"two terms, {term} the second, have the token {token!a}")
            last = token
            out.writelines(
                write_list(token, documents.astype(np.int64), frequencies.astype(np.int64))
            )
            count += 1
    return count


def _header_of(n_lists: int, count: int, length: int, rounding: Rounding) -> Header:
    return Header(
        _VERSION,
        n_lists,
        count,
        n_lists,
        count,
        length,
        length / count if count else 0.0,
        f"Learned sparse vectors written by lsr; {rounding.summary()}.",
    )
