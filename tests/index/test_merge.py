from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_cases import (
    PASSAGES,
    SETTINGS,
    add,
    contents,
    expected,
    fast_folder,
    files,
    made,
    name,
    row,
    vectors,
)

from lsr.errors import IndexFormatError
from lsr.index import cold, segment_writer
from lsr.index import documents as documents_module
from lsr.index import merge as merge_module
from lsr.index.merge import Size, plan
from lsr.index.store import Snapshot, Store
from lsr.types import Document


@pytest.fixture
def folder() -> Iterator[Path]:
    with fast_folder() as path:
        yield path


def merged(store: Store) -> Snapshot:
    with store.begin() as transaction:
        transaction.merge("all")
        return transaction.commit()


def segment_files(store: Store) -> dict[str, bytes]:
    (live,) = store.snapshot().segments
    return files(live.segment.folder)


@pytest.mark.parametrize("shape", [SETTINGS, PASSAGES])
def test_ten_adds_merged_are_one_add_byte_for_byte(
    folder: Path, shape: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents_module, "BATCH_BYTES", 900)
    monkeypatch.setattr(merge_module, "_CHUNK", 5)
    at_once = made(folder / "once", range(100), settings=shape)
    groups = [range(at, at + 10) for at in range(0, 100, 10)]
    by_tens = made(folder / "tens", *groups, settings=shape)
    assert len(by_tens.snapshot().segments) == 10
    snapshot = merged(by_tens)
    assert contents(snapshot) == expected(range(100), passages=shape is PASSAGES)
    assert segment_files(by_tens) == segment_files(at_once)


def test_deleted_text_is_gone_from_the_disk_after_a_merge(folder: Path) -> None:
    store = Store.create(folder / "index", SETTINGS)
    secret = Document("secret-id", "secret-title", "secret-text", {"note": "secret-note"})
    plain = Document("plain", "title", "text", {"note": "open"})
    with store.begin() as transaction:
        transaction.fields = transaction.fields.learn(secret)
        transaction.append([plain, secret], vectors([1, 2]))
        transaction.commit()
    with store.begin() as transaction:
        transaction.delete(["secret-id"])
        transaction.commit()
    assert b"secret-text" in b"".join(files(store.path).values())
    snapshot = merged(store)
    assert b"secret" not in b"".join(files(store.path).values())
    assert [live.n_live for live in snapshot.segments] == [1]
    assert list((store.path / "tombstones").iterdir()) == []


def test_a_merge_of_nothing_to_merge_changes_nothing(folder: Path) -> None:
    empty = Store.create(folder / "empty", SETTINGS)
    assert merged(empty).generation == 0
    single = made(folder / "single", range(5))
    before = files(single.path)
    assert merged(single).generation == 1
    assert files(single.path) == before


def test_windows_are_cut_anew(folder: Path) -> None:
    store = Store.create(folder / "index", SETTINGS)
    with store.begin() as transaction:
        transaction.window_rows = 3
        add(transaction, range(10))
        transaction.commit()
    with store.begin() as transaction:
        add(transaction, range(10, 12))
        transaction.window_rows = 5
        transaction.merge("all")
        snapshot = transaction.commit()
    assert contents(snapshot) == expected(range(12))
    assert snapshot.segments[0].segment.postings.windows.tolist() == [0, 5, 10, 12]


@settings(max_examples=10, deadline=None)
@given(st.data())
def test_any_history_of_the_same_documents_merges_to_the_same_scores(data: st.DataObject) -> None:
    with fast_folder() as folder:
        one = made(folder / "one", [at for at in range(30) if at % 7])
        other = Store.create(folder / "other", SETTINGS)
        order = data.draw(st.permutations(range(30)))
        while order:
            size = data.draw(st.integers(1, 12))
            part, order = order[:size], order[size:]
            with other.begin() as transaction:
                add(transaction, part)
                transaction.delete([name(at) for at in part if at % 7 == 0])
                if data.draw(st.booleans()):
                    transaction.merge("auto")
                transaction.commit()
        query = row(data.draw(st.integers(3, 8)))
        assert scores(merged(one), query) == scores(merged(other), query)


def scores(snapshot: Snapshot, query: dict[int, float]) -> dict[str, float]:
    """Score all live documents by their rounded-up postings."""
    found: dict[str, float] = {}
    for live in snapshot.segments:
        segment = live.segment
        terms = np.array(list(query), np.int64)
        totals = cold._most(segment, terms, np.array(list(query.values()), np.float32))
        for ordinal, document_id in enumerate(segment.ids(np.arange(segment.n_documents))):
            if live.deleted is None or not live.deleted[ordinal]:
                found[document_id] = float(totals[ordinal])
    return found


def test_auto_merges_tiers_and_segments_with_many_deleted() -> None:
    small, big = Size(100, 100), Size(50_000, 50_000)
    assert plan([small] * 8 + [big], "auto") == []
    assert plan([small] * 4 + [big] + [small] * 5, "auto") == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert plan([Size(100, 80), big], "auto") == []
    assert plan([small, Size(100, 79), big], "auto") == [1]
    assert plan([Size(5, 0)], "auto") == [0]
    assert plan([], "auto") == plan([], "all") == plan([small], "all") == []
    assert plan([Size(100, 99)], "all") == [0]


def test_auto_does_not_make_segments_beyond_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge_module, "MOST_DOCUMENTS", 350)
    sizes = [Size(100, 100)] * 7 + [Size(90, 90)] * 3
    assert plan(sizes, "auto") == [7, 8, 9]
    assert plan([Size(200, 200)] * 9, "auto") == []
    assert plan(sizes, "all") == list(range(10))


def test_auto_keeps_the_number_of_segments_small(folder: Path) -> None:
    store = Store.create(folder / "index", SETTINGS)
    most = 0
    for at in range(40):
        with store.begin() as transaction:
            add(transaction, [at])
            transaction.merge("auto")
            most = max(most, len(transaction.commit().segments))
    assert most == merge_module.TIER_SEGMENTS
    assert contents(store.snapshot()) == expected(range(40))


def test_damage_is_not_merged_into_a_segment_with_good_checksums(folder: Path) -> None:
    path = made(folder / "index", range(5), range(5, 9)).path
    weights = path / "segments/seg-00000001/forward.halves"
    bad = bytearray(weights.read_bytes())
    bad[3] ^= 1
    weights.write_bytes(bad)
    with (
        Store.open(path, verify=False).begin() as transaction,
        pytest.raises(IndexFormatError, match=r"forward\.halves"),
    ):
        transaction.merge("all")


def test_a_merge_that_fails_leaves_no_segment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = made(folder / "index", range(5), range(5, 9))
    before = files(store.path)

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    with store.begin() as transaction:
        monkeypatch.setattr(segment_writer.SegmentWriter, "close", fail)
        with pytest.raises(KeyboardInterrupt):
            transaction.merge("all")
        assert files(store.path) == before
        monkeypatch.undo()
        transaction.merge("all")
        assert contents(transaction.commit()) == expected(range(9))
