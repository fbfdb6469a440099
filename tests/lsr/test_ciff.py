"""CIFF, held to ciff-toolkit and to protobuf's own parser."""

from __future__ import annotations

import gzip
import tracemalloc
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lsr import ciff, spill
from lsr.ciff_wire import (
    DocumentRecord,
    Header,
    WireError,
    read_header,
    read_list,
    read_record,
    write_header,
    write_list,
    write_record,
)
from lsr.errors import ConfigError, DataError
from lsr.rejects import Rejects
from lsr.rounding import Rounding
from lsr.sparse import SparseVectors
from lsr.vector_files import read_vectors, write_vectors

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    toolkit_read = pytest.importorskip("ciff_toolkit.read", reason="pip install ciff-toolkit")
    from ciff_toolkit import ciff_pb2
    from ciff_toolkit import write as toolkit_write
    from ciff_toolkit.merge import merge_ciff_files

SIZE = 40
TOKENS = [f"{'wörd' if at % 3 else '##'}{(at * 7) % SIZE}" for at in range(SIZE)]
VOCABULARY = {token: at for at, token in enumerate(TOKENS)}
Rows = list[dict[int, float]]
ROWS = st.lists(
    st.dictionaries(st.integers(0, SIZE - 1), st.sampled_from([0.004, 0.5, 1.0, 3.25, 70_000.0])),
    min_size=1,
    max_size=30,
)
#: Gaps and frequencies of a list; sums stay below 2^31.
NUMBERS = st.one_of(st.integers(1, 300), st.sampled_from([127, 128, 2**14, 2**21, 2**28 - 1]))
LISTS = st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=6)


def ids_of(rows: Rows) -> list[str]:
    return [f"dök-{at}" for at in range(len(rows))]


def write(
    path: Path, rows: Rows, scale: float = 100, tokens: Sequence[str] | None = TOKENS
) -> Path:
    vectors = SparseVectors.from_dicts(rows, vocab_size=SIZE)
    half = len(rows) // 2
    ids = ids_of(rows)
    batches = [(ids[:half], vectors.slice(0, half)), (ids[half:], vectors.slice(half, len(rows)))]
    write_vectors(path, "ciff", batches, tokens=tokens, scale=scale)
    return path


def read(path: Path, **options: Any) -> dict[str, dict[int, float]]:
    options.setdefault("vocabulary", VOCABULARY)
    return {
        identity: row
        for found in read_vectors(path, **options)
        for identity, row in zip(found.ids, found.vectors.to_dicts(), strict=True)
    }


def rounded(rows: Rows, scale: float = 100) -> list[dict[int, int]]:
    return [
        {term: round(weight * scale) for term, weight in row.items() if round(weight * scale)}
        for row in rows
    ]


def body(message: bytes) -> bytes:
    """Return a message without the length before it."""
    at = next(at for at, byte in enumerate(message) if byte < 0x80) + 1
    assert len(message) > at or message == b"\0"
    return message[at:]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make every file go through many runs, buckets and pieces."""
    monkeypatch.setattr(ciff, "_WIDTH", 4)
    monkeypatch.setattr("lsr.ciff_wire._AT_ONCE", 3)
    monkeypatch.setattr(
        spill.Spill.__init__, "__kwdefaults__", {"width": 1, "folder": None, "room": 7}
    )
    yield


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", ["v.ciff", "v.ciff.gz", "v.ciff.zst"])
@settings(max_examples=25, deadline=None)
@given(rows=ROWS, named=st.booleans(), batch=st.integers(1, 7), skip=st.integers(0, 5))
def test_rows_come_back_with_their_rounded_weights(
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    rows: Rows,
    named: bool,
    batch: int,
    skip: int,
) -> None:
    path = tmp_path_factory.mktemp("v") / name
    write(path, rows, tokens=TOKENS if named else None)
    options: dict[str, Any] = {} if named else {"vocabulary": None, "vocab_size": SIZE}
    found = read(path, batch=batch, skip=skip, **options)
    expected = dict(zip(ids_of(rows)[skip:], rounded(rows)[skip:], strict=True))
    assert found == expected
    shrunk = read(path, scale=100, **options)
    assert shrunk == {
        id: {term: np.float32(weight / 100) for term, weight in row.items()}
        for id, row in zip(ids_of(rows), rounded(rows), strict=True)
    }
    assert [path.name for path in path.parent.iterdir()] == [name]


@settings(max_examples=40, deadline=None)
@given(rows=ROWS)
def test_ciff_toolkit_reads_what_is_written(
    tmp_path_factory: pytest.TempPathFactory, rows: Rows
) -> None:
    path = write(tmp_path_factory.mktemp("v") / "v.ciff", rows)
    wanted = rounded(rows)
    postings: dict[str, list[tuple[int, int]]] = {}
    for document, row in enumerate(wanted):
        for term, weight in row.items():
            postings.setdefault(TOKENS[term], []).append((document, weight))
    with toolkit_read.CiffReader(path) as reader:
        header = reader.header
        lists = list(reader.read_postings_lists())
        records = list(reader.read_documents())
        assert reader.fp.read() == b""
    assert [one.term for one in lists] == sorted(postings)
    for one in lists:
        documents = np.cumsum([posting.docid for posting in one.postings]).tolist()
        weights = [posting.tf for posting in one.postings]
        assert list(zip(documents, weights, strict=True)) == postings[one.term]
        assert (one.df, one.cf) == (len(weights), sum(weights))
    lengths = [sum(row.values()) for row in wanted]
    assert [(one.docid, one.collection_docid, one.doclength) for one in records] == list(
        zip(range(len(rows)), ids_of(rows), lengths, strict=True)
    )
    counts = header.version, header.num_postings_lists, header.num_docs
    assert counts == (1, len(lists), len(rows))
    assert (header.total_postings_lists, header.total_docs) == (len(lists), len(rows))
    assert header.total_terms_in_collection == sum(lengths)
    assert header.average_doclength == sum(lengths) / len(rows)
    assert "x 100, rounded" in header.description


def by_toolkit(path: Path, rows: Rows, first: int = 0, **header: int) -> Path:
    """Write rows with ciff-toolkit, documents numbered from `first`."""
    lists: dict[str, Any] = {}
    last: dict[str, int] = {}
    for document, row in enumerate(rows, first):
        for term, weight in row.items():
            token = TOKENS[term]
            one = lists.setdefault(token, ciff_pb2.PostingsList(term=token))
            gap = document - last.get(token, 0)
            one.postings.add(docid=gap, tf=int(weight))
            last[token] = document
    counts = {"num_postings_lists": len(lists), "num_docs": len(rows), "total_docs": len(rows)}
    with toolkit_write.CiffWriter(path) as writer:
        writer.write_header(ciff_pb2.Header(version=1, **(counts | header)))
        writer.write_postings_lists(lists[token] for token in sorted(lists))
        records = zip(range(first, first + len(rows)), ids_of(rows), strict=True)
        writer.write_documents(
            ciff_pb2.DocRecord(docid=docid, collection_docid=id) for docid, id in records
        )
    return path


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", ["v.ciff", "v.ciff.gz"])
@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(
        st.dictionaries(st.integers(0, SIZE - 1), st.sampled_from([1.0, 200.0, 2.0**31 - 1])),
        min_size=1,
        max_size=20,
    ),
    first=st.integers(0, 3),
)
def test_what_ciff_toolkit_writes_is_read(
    tmp_path_factory: pytest.TempPathFactory, name: str, rows: Rows, first: int
) -> None:
    path = by_toolkit(
        tmp_path_factory.mktemp("v") / name, rows, first, total_docs=first + len(rows)
    )
    assert read(path) == {
        id: {term: np.float32(weight) for term, weight in row.items()}
        for id, row in zip(ids_of(rows), rows, strict=True)
    }


def test_files_merged_by_ciff_toolkit_are_read(tmp_path: Path) -> None:
    write(tmp_path / "a.ciff", [{1: 0.5, 2: 1.0}, {2: 2.0}])
    vectors = SparseVectors.from_dicts([{2: 3.0}, {9: 1.0}], vocab_size=SIZE)
    write_vectors(tmp_path / "b.ciff", "ciff", [(["x", "y"], vectors)], tokens=TOKENS)
    inputs = [tmp_path / "a.ciff", tmp_path / "b.ciff"]
    merge_ciff_files(inputs, tmp_path / "c.ciff", show_progress=False)
    assert read(tmp_path / "c.ciff", scale=100) == {
        "dök-0": {1: 0.5, 2: 1.0}, "dök-1": {2: 2.0}, "x": {2: 3.0}, "y": {9: 1.0},
    }  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(postings=LISTS, zero=st.booleans(), term=st.text(max_size=5))
def test_messages_are_those_of_protobuf_byte_for_byte(
    postings: list[tuple[int, int]], zero: bool, term: str
) -> None:
    term = term.encode("utf-8", "ignore").decode()
    gaps = [gap for gap, _ in postings]
    gaps[0] -= gaps[0] if zero else 0
    weights = [weight for _, weight in postings]
    theirs = ciff_pb2.PostingsList(term=term, df=len(gaps), cf=sum(weights))
    for gap, weight in zip(gaps, weights, strict=True):
        theirs.postings.add(docid=gap, tf=weight)
    ours = body(b"".join(write_list(term, np.cumsum(gaps), np.array(weights))))
    assert ours == theirs.SerializeToString()
    found = read_list(ours)
    assert (found.term, found.frequencies.tolist()) == (term, weights)
    assert found.documents.tolist() == np.cumsum(gaps).tolist()
    record = DocumentRecord(gaps[0], term.encode(), weights[0])
    message = ciff_pb2.DocRecord(docid=gaps[0], collection_docid=term, doclength=weights[0])
    assert body(write_record(record)) == message.SerializeToString()
    assert read_record(body(write_record(record))) == record
    header = Header(1, 2, gaps[0], 4, 5, 2**40, 2.5, term)
    assert body(write_header(header)) == ciff_pb2.Header(
        version=1, num_postings_lists=2, num_docs=gaps[0], total_postings_lists=4, total_docs=5,
        total_terms_in_collection=2**40, average_doclength=2.5, description=term,
    ).SerializeToString()  # fmt: skip
    assert read_header(body(write_header(header))) == header


def posting(gap: bytes, weight: bytes) -> bytes:
    return b"\x22" + bytes([len(gap + weight)]) + gap + weight


#: The posting (5, 3) in encodings that no writer should use and every reader must take.
FIVE_THREE = [
    posting(b"\x08\x05", b"\x10\x03"),
    posting(b"\x10\x03", b"\x08\x05"),
    posting(b"\x08\x09\x08\x05", b"\x10\x03"),
    posting(b"\x08\x85\x00", b"\x10\x83\x80\x00"),
    posting(b"\x08\x05", b"\x10\x03\x1a\x01x\x25abcd\x29abcdefgh"),
    b"\xa2\x00\x04\x08\x05\x10\x03",
    b"\x22\x84\x00\x08\x05\x10\x03",
    b"\x32\x03abc" + posting(b"\x08\x05", b"\x10\x03") + b"\x30\x01",
]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(FIVE_THREE), max_size=40), st.booleans())
def test_any_encoding_that_protobuf_allows_is_read(parts: list[bytes], term_last: bool) -> None:
    data = b"".join(parts)
    data = data + b"\x0a\x03cat" if term_last else b"\x0a\x03dog\x0a\x03cat" + data
    theirs = ciff_pb2.PostingsList.FromString(data)
    assert [(one.docid, one.tf) for one in theirs.postings] == [(5, 3)] * len(parts)
    found = read_list(data)
    assert (found.term, found.frequencies.tolist()) == (theirs.term, [3] * len(parts))
    assert found.documents.tolist() == [5 * (at + 1) for at in range(len(parts))]


@settings(max_examples=300, deadline=None)
@given(postings=LISTS, changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255))))
@example(  # a tag of more than 32 bits
    postings=[(1, 16384), (128, 128), (128, 2097152), (128, 2097152)],
    changes=[(107, 128), (25637, 160)],
)
def test_damaged_lists_are_read_as_protobuf_does_or_refused(
    postings: list[tuple[int, int]], changes: list[tuple[int, int]]
) -> None:
    gaps, weights = zip(*postings, strict=True)
    good = body(b"".join(write_list("cat", np.cumsum(gaps), np.array(weights))))
    data = bytearray(good)
    for at, value in changes:
        data[at % len(data)] = value
    try:
        found = read_list(bytes(data))
    except WireError:
        return
    theirs = ciff_pb2.PostingsList.FromString(bytes(data))
    assert found.term == theirs.term
    assert found.frequencies.tolist() == [one.tf for one in theirs.postings]
    assert np.diff(found.documents, prepend=0).tolist() == [one.docid for one in theirs.postings]


def test_a_file_cut_anywhere_is_one_error_that_says_where(tmp_path: Path) -> None:
    path = write(tmp_path / "v.ciff", [{1: 0.5, 2: 1.0}, {}, {2: 2.0, 30: 9.0}])
    good = path.read_bytes()
    for size in range(len(good)):
        path.write_bytes(good[:size])
        with pytest.raises(DataError, match=r"v\.ciff: byte [0-9,]+: ") as caught:
            read(path, rejects=Rejects("skip"))
        assert "early" in caught.value.message, size
        assert int(caught.value.message.split("byte ")[1].split(":")[0]) <= size
    path.write_bytes(gzip.compress(good)[:-12])
    with pytest.raises(DataError, match="the gzip data are cut off"):
        read(path)
    path.write_bytes(good + b"\0")
    with pytest.raises(DataError, match="bytes behind the last document record"):
        read(path)


def test_a_flipped_byte_never_ends_in_anything_but_an_answer_or_a_data_error(
    tmp_path: Path,
) -> None:
    path = write(tmp_path / "v.ciff", [{1: 0.5, 2: 1.0}, {}, {2: 2.0, 30: 9.0}])
    good = path.read_bytes()
    refused = 0
    for at in range(len(good)):
        for flip in (0x01, 0x80, 0xFF):
            bad = bytearray(good)
            bad[at] ^= flip
            path.write_bytes(bad)
            try:
                read(path, rejects=Rejects("skip"))
            except DataError:
                refused += 1
    assert refused > len(good)  # what is left are weights, ids, counts and the description


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"hello, world", b"\x1f\x8b", b"\xff" * 40, bytes(2000), b"PK\x03\x04"]
)
def test_a_file_of_something_else_is_no_ciff(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "v.ciff").write_bytes(data)
    with pytest.raises(DataError, match=r"v\.ciff: byte 0: this is no CIFF file"):
        read(tmp_path / "v.ciff")


def parts(lists: list[tuple[str, list[int], list[int]]], ids: list[bytes], **more: Any) -> bytes:
    """Return a file of postings lists by (term, documents, frequencies)."""
    header = Header(1, len(lists), len(ids), total_documents=len(ids))._replace(**more)
    whole = [write_header(header)]
    for term, documents, weights in lists:
        whole += write_list(term, np.array(documents), np.array(weights))
    whole += [write_record(DocumentRecord(at, id, 1)) for at, id in enumerate(ids)]
    return b"".join(whole)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (parts([], [b"a"], version=2), r"no CIFF file of version 1: its header says \(2, 0, 1,"),
        (parts([], [b"a"], n_lists=-1), "its header says"),
        (parts([("zebra", [0], [1])], [b"a"]), "list 1 of 1: token 'zebra' is not in the voc"),
        (parts([(TOKENS[1], [0], [1])] * 2, [b"a"]), "list 2: term .* comes twice"),
        (parts([(TOKENS[1], [0, 5], [1, 1])], [b"a"]), "list 1: document 5; the header counts 1"),
        (parts([(TOKENS[1], [3, 3], [1, 1])], [b"a"] * 9), "posting 2 of term .* has gap 0 and f"),
        (parts([(TOKENS[1], [1], [1])], [b"a"], total_documents=2), "document 1 has postings, but"),
        (parts([], [b"a"]) + write_record(DocumentRecord(1, b"b", 1)), "bytes behind the last"),
        (parts([], [b"a"], n_documents=2), "document record 2 of 2: the file ends"),
        (
            parts([], [b"a"], n_documents=2) + write_record(DocumentRecord(0, b"b", 1)),
            "document record 2: document 0 comes twice",
        ),
        (
            parts([], [b"a"], n_documents=2) + write_record(DocumentRecord(7, b"b", 1)),
            "document record 2: document 7 is not below 2",
        ),
        (
            parts([], [], n_lists=1, total_documents=1) + b"\xff\xff\xff\xff\x0f",
            "4,294,967,295 bytes; at most 16,777,240 are expected",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_contents_that_do_not_fit_together_are_refused(
    tmp_path: Path, data: bytes, expected: str
) -> None:
    (tmp_path / "v.ciff").write_bytes(data)
    with pytest.raises(DataError, match=expected) as caught:
        read(tmp_path / "v.ciff", rejects=Rejects("skip"))
    assert caught.value.hint


def test_terms_are_numbers_without_a_vocabulary(tmp_path: Path) -> None:
    path = tmp_path / "v.ciff"
    path.write_bytes(parts([("39", [0], [2]), ("7", [0], [1])], [b"a"]))
    assert read(path, vocabulary=None, vocab_size=SIZE) == {"a": {7: 1.0, 39: 2.0}}
    with pytest.raises(ConfigError, match="does not say how many terms"):
        read(path, vocabulary=None)
    with pytest.raises(DataError, match="term '39' is outside the vocabulary of 10"):
        read(path, vocabulary=None, vocab_size=10)
    path.write_bytes(parts([("cat", [0], [2])], [b"a"]))
    no_number = "token 'cat' is not the id of a term, and no vocabulary"
    with pytest.raises(DataError, match=no_number) as caught:
        read(path, vocabulary=None, vocab_size=SIZE)
    assert "--vocabulary FILE" in str(caught.value.hint)


def test_documents_with_bad_ids_are_passed_over_by_number(tmp_path: Path) -> None:
    path = tmp_path / "v.ciff"
    path.write_bytes(parts([(TOKENS[1], [0, 1, 2, 3], [1, 2, 3, 4])], [b"a", b"", b"\xff", b"d"]))
    with pytest.raises(DataError, match=r"v\.ciff:2: the id, field '_id', is empty"):
        read(path)
    with Rejects("skip", tmp_path / "rejects.jsonl") as rejects:
        assert read(path, rejects=rejects) == {"a": {1: 1.0}, "d": {1: 4.0}}
    assert rejects.count == 2
    assert "invalid UTF-8 at byte 0 of the id" in (tmp_path / "rejects.jsonl").read_text()


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "v.ciff"
    with pytest.raises(ConfigError, match="no vectors to write"):
        write_vectors(path, "ciff", [])
    with pytest.raises(DataError, match="does not fit 32 bits"):
        write(path, [{1: 1e9}])
    with pytest.raises(DataError, match="of length 4,000,000,000"):
        write(path, [{1: 2e9, 2: 2e9}], scale=1)
    with pytest.raises(DataError, match="have the token 'twice'"):
        write(path, [{1: 1.0, 2: 1.0}], tokens=["twice"] * SIZE)
    assert list(tmp_path.iterdir()) == []


def test_what_rounding_loses_is_counted(tmp_path: Path) -> None:
    rounding = Rounding(10)
    vectors = SparseVectors.from_dicts([{1: 0.04, 2: 1.0}], vocab_size=SIZE)
    write_vectors(tmp_path / "v.ciff", "ciff", [(["a"], vectors)], scale=rounding)
    assert (rounding.zeros, rounding.weights) == (1, 2)


def test_memory_is_that_of_a_run_and_a_bucket_not_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ciff, "_WIDTH", 256)
    defaults = {"width": 1, "folder": None, "room": 20_000}
    monkeypatch.setattr(spill.Spill.__init__, "__kwdefaults__", defaults)
    rng = np.random.default_rng(3)
    peaks = []
    for n_batches in (4, 20):
        path = tmp_path / f"{n_batches}.ciff"
        tracemalloc.start()
        write_vectors(path, "ciff", (random_batch(rng, at) for at in range(n_batches)))
        for _ in read_vectors(path, vocab_size=200, batch=500):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # 160,000 weights more would be 1.9 MB; what grows are the longest list and the documents' bits.
    assert peaks[1] - peaks[0] < 1_000_000, peaks


def random_batch(rng: np.random.Generator, at: int) -> tuple[list[str], SparseVectors]:
    terms = (10 * np.arange(20) + rng.integers(0, 10, (500, 20))).ravel()
    indptr, weights = np.arange(501) * 20, rng.random(10_000) + 0.1
    vectors = SparseVectors.from_arrays(indptr, terms, weights, vocab_size=200)
    return [f"d{at}-{row}" for row in range(500)], vectors


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_spill_is_a_sort(data: st.DataObject) -> None:
    entry = st.tuples(st.integers(0, 19), st.integers(0, 2**32 - 1), st.integers(0, 2**31 - 1))
    entries = data.draw(st.lists(entry, max_size=60))
    width, room = data.draw(st.integers(1, 25)), data.draw(st.integers(1, 30))
    with spill.Spill(20, width=width, room=room) as found:
        at = 0
        while at < len(entries):
            some = entries[at : at + data.draw(st.integers(1, 20))]
            found.add(*(np.array(column, np.int64) for column in zip(*some, strict=True)))
            at += len(some)
        back = [
            row
            for bucket in range(-(-20 // width))
            for row in zip(*(part.tolist() for part in found.read(bucket)), strict=True)
        ]
    assert [row[:2] for row in back] == sorted(row[:2] for row in entries)
    assert sorted(back) == sorted(entries)
