"""Documents, vectors and questions for the tests of the store."""

from __future__ import annotations

import os
import signal
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from lsr.index.columns import Fields
from lsr.index.segment import Segment
from lsr.index.store import Snapshot, Store
from lsr.index.transaction import Transaction
from lsr.index.windows import RECORD, TIERS, tier_of
from lsr.sparse import SparseVectors
from lsr.types import Document, Span

VOCAB = 40
SETTINGS = {"vocab_size": VOCAB, "passages": None}
PASSAGES = {"vocab_size": VOCAB, "passages": {"length": 3}}
FIELDS = Fields(
    {"year": "number", "kind": "string", "tags": "strings", "seen": "date", "open": "boolean"}
)

#: id -> (document, one dict of term to weight for each row, spans)
Contents = dict[str, tuple[Document, list[dict[int, float]], list[Span] | None]]


def document(number: int, version: int = 0) -> Document:
    """Return a document with a name and fields that depend on its number."""
    name = ["d{}", "ü{}", "文{}", "🦊{}"][number % 4].format(number)
    fields: dict[str, Any] = {"year": 2000 + number % 9 + version}
    if number % 2:
        fields["kind"] = "odd" * (number % 5)
    if number % 3:
        fields["tags"] = [f"t{at}" for at in range(number % 4)]
    if number % 5 == 0:
        fields |= {"seen": datetime(2020, 1, 1 + number % 28, tzinfo=UTC), "open": number % 2 == 0}
    return Document(name, f"Title {number}", f"text {number} version {version} " * 3, fields)


def documents(numbers: Sequence[int], version: int = 0) -> list[Document]:
    return [document(number, version) for number in numbers]


def row(seed: int) -> dict[int, float]:
    """Return a vector that depends on `seed`; every ninth is empty."""
    rng = np.random.default_rng(seed)
    terms = rng.choice(VOCAB, size=seed % 9, replace=False)
    return {int(term): float(np.float32(rng.integers(1, 100) / 16)) for term in terms}


def vectors(numbers: Sequence[int], version: int = 0) -> SparseVectors:
    rows = [row(number + 1000 * version) for number in numbers]
    return SparseVectors.from_dicts(rows, vocab_size=VOCAB)


def spans(numbers: Sequence[int]) -> list[list[Span]]:
    return [[Span(at, at + 4) for at in range(1 + number % 4)] for number in numbers]


def passage_vectors(numbers: Sequence[int], version: int = 0) -> SparseVectors:
    rows = [
        row(number * 10 + at + 1000 * version) for number in numbers for at in range(1 + number % 4)
    ]
    return SparseVectors.from_dicts(rows, vocab_size=VOCAB)


def add(transaction: Transaction, numbers: Sequence[int], version: int = 0) -> None:
    """Append the documents with these numbers, with passages if the index has them."""
    if transaction.fields != FIELDS:
        transaction.fields = FIELDS
    if transaction.settings["passages"]:
        transaction.append(
            documents(numbers, version), passage_vectors(numbers, version), spans(numbers)
        )
    else:
        transaction.append(documents(numbers, version), vectors(numbers, version))


def expected(numbers: Sequence[int], version: int = 0, *, passages: bool = False) -> Contents:
    """Return the contents of an index to which `add` gave these numbers."""
    found: Contents = {}
    for number in numbers:
        wanted = document(number, version)
        rows = passage_vectors if passages else vectors
        parts = spans([number])[0] if passages else None
        found[wanted.id] = (wanted, rows([number], version).to_dicts(), parts)
    return found


def name(number: int) -> str:
    return document(number).id


def made(path: Path, *groups: Sequence[int], settings: dict[str, Any] | None = None) -> Store:
    """Return a new index to which each group of numbers was committed."""
    store = Store.create(path, settings or SETTINGS)
    for numbers in groups:
        with store.begin() as transaction:
            add(transaction, numbers)
            transaction.commit()
    return store


def contents(snapshot: Snapshot, *, arrays: bool = True) -> Contents:
    """Return all live documents of a snapshot, in order, after checking every array."""
    found: Contents = {}
    for live in snapshot.segments:
        segment = live.segment
        if arrays:
            check_arrays(segment)
        for ordinal in range(segment.n_documents):
            if live.deleted is not None and live.deleted[ordinal]:
                continue
            rows = segment.rows_of(ordinal)
            kept = segment.document(ordinal)
            assert kept.id not in found
            parts = segment.vectors(rows.start, rows.stop).to_dicts()
            found[kept.id] = (kept, parts, segment.spans(ordinal))
    return found


def check_arrays(segment: Segment) -> None:
    """Assert that the arrays of a segment say the same thing, each in its way."""
    forward, postings, size = segment.forward, segment.postings, segment.vocab_size
    lengths = np.diff(forward.indptr)
    entries: dict[tuple[int, int], float] = dict(
        zip(
            zip(
                np.repeat(np.arange(segment.n_rows), lengths).tolist(),
                forward.terms.tolist(),
                strict=True,
            ),
            forward.weights.tolist(),
            strict=True,
        )
    )
    assert postings.windows[0] == 0 and postings.windows[-1] == segment.n_rows
    assert (np.diff(postings.windows) > 0).all()
    assert len(postings.lists) == (len(postings.windows) - 1) * size
    numbers = postings.lists[postings.lists > 0]
    assert numbers.tolist() == list(range(1, len(postings.records) // RECORD + 1))
    assert len(postings.entries) == len(forward.terms)
    inverted = set()
    for window, start in enumerate(postings.windows[:-1].tolist()):
        for term in range(size):
            number = int(postings.lists[window * size + term]) - 1
            if number < 0:
                continue
            record = postings.records[number * RECORD : (number + 1) * RECORD].astype(np.int64)
            first = int(forward.indptr[start])
            part = postings.entries[first + record[1] : first + record[-1]].astype(np.int64)
            rows, codes = part >> 8, part & 255
            weights = np.array([entries[start + row, term] for row in rows.tolist()], np.float32)
            assert np.uint32(record[0]).view(np.float32) == weights.max()
            least = np.ceil(weights / weights.max() * np.float32(255))
            assert np.array_equal(codes, np.maximum(least, 1))
            tiers = tier_of(codes)
            assert (np.diff(tiers * 2**24 + rows) > 0).all()
            ends = record[1] + np.cumsum(np.bincount(tiers, minlength=TIERS))
            assert record[2:].tolist() == ends.tolist()
            inverted |= {(start + row, term) for row in rows.tolist()}
    assert inverted == set(entries)
    ids = segment.ids(np.arange(segment.n_documents))
    assert segment.find(ids).tolist() == list(range(segment.n_documents))
    ranked = [ids[at] for at in np.argsort(segment.id_rank)]
    assert ranked == sorted(ids, key=lambda text: text.encode())
    owners = [at for at in range(segment.n_documents) for _ in segment.rows_of(at)]
    assert segment.row_documents(np.arange(segment.n_rows)).tolist() == owners


def files(path: Path) -> dict[str, bytes]:
    """Return the bytes of every file of an index that a commit is made of."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file() and not file.name.startswith("lock")
    }


def in_child(work: Callable[[], object]) -> int:
    """Run `work` in a forked child; return its exit status: 0 if it came to its end.

    A child killed by a signal gives minus the signal's number.
    """
    with warnings.catch_warnings():
        # Newer Pythons warn of forks in a process with threads; ours are idle.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def killed_at(step: int, work: Callable[[], object]) -> bool:
    """Run `work` in a child that kills itself at a step; return false if it came to its end."""
    from lsr.index import disk

    def child() -> None:
        left = step

        def count(name: str) -> None:
            nonlocal left
            if name.startswith("after"):
                return  # the disk is as it will be before the next step
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

        disk.on_step = count
        work()

    status = in_child(child)
    assert status in (0, -signal.SIGKILL), f"the child failed at step {step}"
    return status != 0


@contextmanager
def fast_folder() -> Iterator[Path]:
    """Give a folder in memory where there is one, since the tests here sync a lot."""
    memory = Path("/dev/shm")
    usable = memory.is_dir() and os.access(memory, os.W_OK)
    with tempfile.TemporaryDirectory(dir=memory if usable else None) as folder:
        yield Path(folder)
