"""The messages of the Common Index File Format, to and from bytes (arXiv 2003.08276).

Four small protobuf messages. Postings, of which a file has billions, go through numpy by the
million instead of becoming an object each; everything else, and postings in any other encoding
that protobuf allows, is read field by field.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lsr.corpus_bytes import CountedFile, Damaged, chunks

Integers = npt.NDArray[np.int64]

#: Numbers of documents and frequencies are int32.
LARGEST = 2**31 - 1
#: The most bytes of a posting: tags, length, and two numbers of up to ten bytes.
POSTING_BYTES = 24

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_POSTING, _DOCUMENT, _FREQUENCY = 0x22, 0x08, 0x10
_FEW, _MANY = 2**12, 2**20
_AT_ONCE = 2**20
#: A tag, a field's number and type, has 32 bits.
_TAG_BYTES = 5


class WireError(Exception):
    """The bytes are not the message that is expected."""


class Header(NamedTuple):
    """What comes first: how much of what follows, and statistics of the collection."""

    version: int = 0
    n_lists: int = 0
    n_documents: int = 0
    total_lists: int = 0
    total_documents: int = 0
    total_terms: int = 0
    average_length: float = 0.0
    description: str = ""


class PostingsList(NamedTuple):
    """A term, its documents, ascending, and its frequency in each."""

    term: str
    documents: Integers
    frequencies: Integers


class DocumentRecord(NamedTuple):
    """A document: its number in the postings lists, its id outside, its length."""

    number: int
    id: bytes
    length: int


class ByteStream:
    """The bytes of a file, decompressed, taken from its start on; `position` is how many were."""

    def __init__(self, file: CountedFile, name: str) -> None:
        self._chunks = chunks(file, name)
        self._chunk = b""
        self._at = 0
        self.position = 0

    def at_end(self) -> bool:
        """Return whether all bytes have been taken."""
        return self._at == len(self._chunk) and not self._next_chunk()

    def message(self, limit: int) -> bytes:
        """Return the next message, whose length precedes it and is at most `limit`."""
        size = shift = 0
        while True:
            byte = self._take(1, "the length of a message")[0]
            size |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 63:
                raise WireError("a number has more than ten bytes")
        if size > limit:
            raise WireError(f"a message of {size:,} bytes; at most {limit:,} are expected")
        return self._take(size, f"a message of {size:,} bytes")

    def _take(self, count: int, what: str) -> bytes:
        stop = self._at + count
        if stop <= len(self._chunk):
            data = self._chunk[self._at : stop]
            self._at = stop
        else:
            parts, found = [self._chunk[self._at :]], len(self._chunk) - self._at
            self._at = len(self._chunk)
            while found < count:
                if not self._next_chunk():
                    raise WireError(f"the file ends inside {what}, {count - found:,} bytes early")
                self._at = min(count - found, len(self._chunk))
                parts.append(self._chunk[: self._at])
                found += self._at
            data = b"".join(parts)
        self.position += count
        return data

    def _next_chunk(self) -> bool:
        try:
            self._chunk, self._at = next(self._chunks, b""), 0
        except Damaged as error:
            raise WireError(str(error)) from error
        return bool(self._chunk)


def read_header(data: bytes) -> Header:
    """Return the header that a message holds.

    >>> read_header(write_header(Header(1, 2, 3))[1:]).n_documents
    3
    """
    names = dict(enumerate(Header._fields, 1))
    found: dict[str, int | float | str] = {}
    for number, kind, value in _fields(data):
        if number == 7 and kind == _FIXED64:
            found[names[number]] = struct.unpack("<d", _as_bytes(value))[0]
        elif number == 8 and kind == _BYTES:
            found[names[number]] = _as_bytes(value).decode("utf-8", "replace")
        elif number < 7 and kind == _VARINT:
            found[names[number]] = _signed(value)
    return Header(**found)  # type: ignore[arg-type]


def read_record(data: bytes) -> DocumentRecord:
    """Return the document record that a message holds; its id may be any bytes.

    >>> read_record(write_record(DocumentRecord(3, b"d3", 9))[1:])
    DocumentRecord(number=3, id=b'd3', length=9)
    """
    numbers, identity = {1: 0, 3: 0}, b""
    for number, kind, value in _fields(data):
        if number == 2 and kind == _BYTES:
            identity = _as_bytes(value)
        elif number in numbers and kind == _VARINT:
            numbers[number] = _signed(value)
    return DocumentRecord(numbers[1], identity, numbers[3])


def read_list(data: bytes) -> PostingsList:
    """Return the postings list that a message holds, gaps added up.

    Raises WireError when the documents do not ascend, or a frequency is negative.

    >>> parts = write_list("cat", np.array([0, 7]), np.array([5, 2]))
    >>> [part.tolist() for part in read_list(b"".join(parts)[1:])[1:]]
    [[0, 7], [5, 2]]
    """
    term = b""
    gaps: list[Integers] = []
    frequencies: list[Integers] = []
    array = np.frombuffer(data, np.uint8)
    at, piece, slowly = 0, _FEW, 3
    while at < len(data):
        taken, some, counts = _run(array[at : at + piece])
        if taken:
            gaps.append(some)
            frequencies.append(counts)
        # Runs that break off early are looked for in short pieces, so that none costs much.
        piece = min(2 * piece, _MANY) if 2 * taken > piece else _FEW
        at += taken
        for _ in range(0 if taken else slowly):
            number, kind, value, at = _field(data, at)
            if number == 4 and kind == _BYTES:
                one = read_posting(_as_bytes(value))
                gaps.append(np.array([one[0]], np.int64))
                frequencies.append(np.array([one[1]], np.int64))
            elif number == 1 and kind == _BYTES:
                term = _as_bytes(value)
            if at == len(data):
                break
        slowly = 1 if taken else min(2 * slowly, 1024)
    return _checked(term, _joined(gaps), _joined(frequencies))


def read_posting(data: bytes) -> tuple[int, int]:
    """Return the gap and the frequency of one posting in any encoding."""
    found = [0, 0]
    for number, kind, value in _fields(data):
        if number in (1, 2) and kind == _VARINT:
            found[number - 1] = _signed(value)
    return found[0], found[1]


def write_header(header: Header) -> bytes:
    """Return the header as a message with its length before it."""
    parts = [
        bytes([number << 3]) + _varint(value)
        for number, value in enumerate(header[:6], 1)
        if isinstance(value, int) and value
    ]
    if header.average_length:
        parts.append(b"\x39" + struct.pack("<d", header.average_length))
    if header.description:
        parts.append(_string(0x42, header.description.encode()))
    return _delimited(b"".join(parts))


def write_record(record: DocumentRecord) -> bytes:
    """Return a document record as a message with its length before it."""
    parts = [_number(0x08, record.number), _string(0x12, record.id), _number(0x18, record.length)]
    return _delimited(b"".join(parts))


def write_list(term: str, documents: Integers, frequencies: Integers) -> Iterator[bytes]:
    """Yield a postings list as a message with its length before it, some megabytes at a time.

    documents (n,) ascend; frequencies (n,) are above 0; both below 2^31.
    """
    gaps = np.diff(documents, prepend=0)
    head = _string(0x0A, term.encode()) + _number(0x10, len(documents))
    head += _number(0x18, int(frequencies.sum()))
    if len(gaps) and gaps[0] == 0:
        # Only the first gap can be 0, which protobuf leaves out.
        inner = _number(_FREQUENCY, int(frequencies[0]))
        head += _string(_POSTING, inner)
        gaps, frequencies = gaps[1:], frequencies[1:]
    pieces = [slice(at, at + _AT_ONCE) for at in range(0, len(gaps), _AT_ONCE)]
    size = sum(
        int((4 + _width(gaps[piece]) + _width(frequencies[piece])).sum()) for piece in pieces
    )
    yield _varint(len(head) + size) + head
    for piece in pieces:
        yield _written(gaps[piece], frequencies[piece])


def _run(piece: npt.NDArray[np.uint8]) -> tuple[int, Integers, Integers]:
    """Read postings as nearly every writer writes them, up to the first that is not so.

    Returns the bytes read, gaps and frequencies. Such a posting is six numbers: tag, length, tag,
    gap, tag, frequency; all of them varints, so they are found at the bytes below 0x80.
    """
    ends = np.flatnonzero(piece < 0x80)
    count = len(ends) // 6
    starts = np.empty(6 * count, np.int64)
    if not count:
        return 0, starts, starts
    starts[0], starts[1:] = 0, ends[: 6 * count - 1] + 1
    first, last = starts.reshape(count, 6), ends[: 6 * count].reshape(count, 6)
    good = last[:, 5] - last[:, 1] == piece[first[:, 1]]
    for column, tag in ((0, _POSTING), (2, _DOCUMENT), (4, _FREQUENCY)):
        good &= (piece[first[:, column]] == tag) & (first[:, column] == last[:, column])
    good &= (first[:, 1] == last[:, 1]) & (last[:, 3] - first[:, 3] < 5)
    good &= last[:, 5] - first[:, 5] < 5
    if not good.all():
        count = int(np.argmin(good))
    if not count:
        return 0, starts[:0], starts[:0]
    gaps = _numbers(piece, first[:count, 3], last[:count, 3])
    frequencies = _numbers(piece, first[:count, 5], last[:count, 5])
    return int(last[count - 1, 5]) + 1, gaps, frequencies


def _numbers(piece: npt.NDArray[np.uint8], starts: Integers, ends: Integers) -> Integers:
    """Return varints of at most five bytes, by their first and last byte."""
    found = (piece[starts] & 0x7F).astype(np.int64)
    for more in range(1, 5):
        longer = np.flatnonzero(ends - starts >= more)
        if not len(longer):
            break
        found[longer] |= (piece[starts[longer] + more].astype(np.int64) & 0x7F) << (7 * more)
    return found


def _checked(term: bytes, gaps: Integers, frequencies: Integers) -> PostingsList:
    try:
        name = term.decode("utf-8")
    except UnicodeDecodeError as error:
        raise WireError(f"the term {term[:40]!r} is not UTF-8") from error
    documents = np.cumsum(gaps)
    bad = (gaps < 1) | (documents > LARGEST) | (frequencies < 0) | (frequencies > LARGEST)
    if len(bad) and gaps[0] == 0:
        bad[0] = frequencies[0] < 0 or frequencies[0] > LARGEST
    if bad.any():
        at = int(np.argmax(bad))
        raise WireError(
            f"posting {at + 1} of term {name!a} has gap {gaps[at]} and frequency "
            f"{frequencies[at]}; documents must ascend, and both fit 31 bits"
        )
    return PostingsList(name, documents, frequencies)


def _joined(parts: list[Integers]) -> Integers:
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def _fields(data: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    at = 0
    while at < len(data):
        number, kind, value, at = _field(data, at)
        yield number, kind, value


def _field(data: bytes, at: int) -> tuple[int, int, int | bytes, int]:
    """Return number, wire type and value of the field at `at`, and where the next one is."""
    start = at
    tag, at = _read_varint(data, at)
    if at - start > _TAG_BYTES or tag >= 2**32:
        raise WireError("a field's number is larger than protobuf allows")
    number, kind = tag >> 3, tag & 7
    if number == 0:
        raise WireError("a field has number 0")
    if kind == _VARINT:
        value, at = _read_varint(data, at)
        return number, kind, value, at
    if kind == _BYTES:
        size, at = _read_varint(data, at)
    elif kind in (_FIXED64, _FIXED32):
        size = 8 if kind == _FIXED64 else 4
    else:
        raise WireError(f"field {number} has wire type {kind}, which no message here has")
    if at + size > len(data):
        raise WireError(f"field {number} runs {at + size - len(data):,} bytes beyond its message")
    return number, kind, data[at : at + size], at + size


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    found = shift = 0
    while True:
        if at == len(data):
            raise WireError("a number runs beyond its message")
        byte = data[at]
        at += 1
        found |= (byte & 0x7F) << shift
        if byte < 0x80:
            return found, at
        shift += 7
        if shift > 63:
            raise WireError("a number has more than ten bytes")


def _signed(value: int | bytes) -> int:
    """Return a varint as the signed 64-bit number it stands for."""
    number = int(value) & (2**64 - 1)
    return number - 2**64 if number >= 2**63 else number


def _as_bytes(value: int | bytes) -> bytes:
    return value if isinstance(value, bytes) else b""


def _varint(number: int) -> bytes:
    found = bytearray()
    number &= 2**64 - 1  # a negative number is that of its 64 bits
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def _number(tag: int, number: int) -> bytes:
    return bytes([tag]) + _varint(number) if number else b""


def _string(tag: int, text: bytes) -> bytes:
    return bytes([tag]) + _varint(len(text)) + text if text else b""


def _delimited(message: bytes) -> bytes:
    return _varint(len(message)) + message


def _width(numbers: Integers) -> Integers:
    """Return how many bytes each number takes as a varint."""
    width = np.ones(len(numbers), np.int64)
    for bits in (7, 14, 21, 28):
        width += numbers >= 1 << bits
    return width


def _written(gaps: Integers, frequencies: Integers) -> bytes:
    """Return postings as bytes; all gaps and frequencies are above 0."""
    widths = _width(gaps), _width(frequencies)
    sizes = 4 + widths[0] + widths[1]
    ends = np.cumsum(sizes)
    out = np.empty(int(ends[-1]) if len(ends) else 0, np.uint8)
    at = ends - sizes
    out[at], out[at + 1], out[at + 2] = _POSTING, sizes - 2, _DOCUMENT
    _put(out, at + 3, gaps, widths[0])
    out[at + 3 + widths[0]] = _FREQUENCY
    _put(out, at + 4 + widths[0], frequencies, widths[1])
    return out.tobytes()


def _put(out: npt.NDArray[np.uint8], at: Integers, numbers: Integers, widths: Integers) -> None:
    for byte in range(5):
        some = np.flatnonzero(widths > byte)
        if not len(some):
            break
        more = (widths[some] > byte + 1).astype(np.int64) << 7
        out[at[some] + byte] = (numbers[some] >> (7 * byte) & 0x7F) | more
