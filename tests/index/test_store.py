from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from store_cases import (
    PASSAGES,
    SETTINGS,
    Contents,
    add,
    contents,
    expected,
    fast_folder,
    files,
    in_child,
    made,
    name,
)

from lsr.errors import ConfigError, LockedError
from lsr.index.store import Store
from lsr.index.transaction import Transaction


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with fast_folder() as folder:
        yield folder


def test_an_index_is_empty_when_made_and_keeps_its_settings(tmp_path: Path) -> None:
    settings = {"vocab_size": 7, "passages": None, "encoder": {"name": "ü", "at": 1.5}}
    store = Store.create(tmp_path / "new" / "index", settings)
    snapshot = store.snapshot()
    assert (snapshot.generation, snapshot.segments, snapshot.n_live) == (0, (), 0)
    assert Store.open(store.path).snapshot().manifest.settings == settings
    assert store.check() == []


@pytest.mark.parametrize("passages", [False, True])
def test_what_was_committed_is_there_when_opened_again(tmp_path: Path, passages: bool) -> None:
    settings = PASSAGES if passages else SETTINGS
    store = made(tmp_path / "index", range(30), range(30, 33), settings=settings)
    wanted = expected(range(33), passages=passages)
    for found in (store, Store.open(store.path), Store.open(store.path, verify=False)):
        snapshot = found.snapshot()
        assert snapshot.generation == 2 and snapshot.n_live == 33
        assert contents(snapshot) == wanted
        assert list(contents(snapshot)) == list(wanted)


def test_a_folder_in_use_is_not_made_an_index(tmp_path: Path) -> None:
    made(tmp_path / "index", [1])
    before = files(tmp_path)
    with pytest.raises(ConfigError, match="already holds an index"):
        Store.create(tmp_path / "index", SETTINGS)
    with pytest.raises(ConfigError, match="it holds 'index'"):
        Store.create(tmp_path, SETTINGS)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="is a file"):
        Store.create(tmp_path / "file", SETTINGS)
    assert files(tmp_path) == before | {"file": b"x"}


def test_settings_that_cannot_be_kept_are_refused(tmp_path: Path) -> None:
    for settings in (
        {},
        {"vocab_size": "9"},
        {"vocab_size": 9, "x": object()},
        {"x": float("nan")},
    ):
        with pytest.raises(ConfigError):
            Store.create(tmp_path / "index", settings)
    assert not (tmp_path / "index").exists()


def test_an_old_snapshot_reads_on_while_commits_and_merges_remove_its_files(
    tmp_path: Path,
) -> None:
    store = made(tmp_path / "index", range(20), range(20, 25))
    old, before = store.snapshot(), contents(store.snapshot())
    with store.begin() as transaction:
        transaction.delete([name(at) for at in range(0, 20, 2)])
        add(transaction, [4], version=1)
        transaction.commit()
    with store.begin() as transaction:
        transaction.merge("all")
        new = transaction.commit()
    assert not (store.path / "segments" / "seg-00000001").exists()
    assert contents(old) == before
    assert old.generation == 2 and new.generation == 4
    kept = {key: before[key] for key in before if key not in {name(a) for a in range(0, 20, 2)}}
    assert contents(new) == kept | expected([4], version=1)


def test_one_snapshot_serves_until_the_next_commit_and_segments_stay_open(tmp_path: Path) -> None:
    store = made(tmp_path / "index", range(5))
    reader = Store.open(store.path)
    first = reader.snapshot()
    assert reader.snapshot() is first
    with store.begin() as transaction:
        transaction.delete([name(1)])
        add(transaction, [9])
        transaction.commit()
    second = reader.snapshot()
    assert second.generation == 2 and first.segments[0].deleted is None
    assert second.segments[0].segment is first.segments[0].segment
    assert second.segments[0].n_live == 4


def test_a_second_writer_is_told_who_writes(tmp_path: Path) -> None:
    store = made(tmp_path / "index", range(3))
    with store.begin():
        with pytest.raises(LockedError, match=f"this process .{os.getpid()}."):
            store.begin()
        caught: list[BaseException] = []

        def other_thread() -> None:
            try:
                Store.open(store.path).begin()
            except LockedError as error:
                caught.append(error)

        thread = threading.Thread(target=other_thread)
        thread.start()
        thread.join()
        assert len(caught) == 1
    store.begin().rollback()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_writer_in_another_process_is_named(tmp_path: Path) -> None:
    store = made(tmp_path / "index", range(3))

    def other_process() -> None:
        try:
            Store.open(store.path).begin()
        except LockedError as error:
            if f"written by process {os.getppid()}" in error.message:
                return
        raise SystemExit("the lock was not seen")

    with store.begin():
        assert in_child(other_process) == 0
    store.begin().rollback()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_readers_open_and_read_while_another_process_commits_and_merges() -> None:
    with fast_folder() as folder:
        store = made(folder / "index", range(6))
        stop = folder / "stop"

        def write() -> None:
            version = 0
            writer = Store.open(store.path)
            while not stop.exists():
                version += 1
                with writer.begin() as transaction:
                    transaction.delete([name(at) for at in range(6)])
                    add(transaction, range(6), version=version)
                    if version % 2:
                        transaction.merge("all")
                    transaction.commit()

        _while_child(write, stop, lambda: _read_whole(Store.open(store.path)))
        assert store.check() == []


def _read_whole(store: Store) -> int:
    """Return the version that all documents have."""
    found: Contents = contents(store.snapshot(), arrays=False)
    version = next(iter(found.values()))[0].text.split()[3]
    assert found == expected(range(6), version=int(version))
    return int(version)


def _while_child(work: Callable[[], None], stop: Path, check: Callable[[], int]) -> None:
    pid_done = threading.Event()
    status: list[int] = []

    def wait() -> None:
        status.append(in_child(work))
        pid_done.set()

    thread = threading.Thread(target=wait)
    thread.start()
    seen: set[int] = set()
    until = time.monotonic() + 1.5
    try:
        while time.monotonic() < until and not pid_done.is_set():
            seen.add(check())
    finally:
        stop.touch()
        thread.join()
    assert status == [0]
    assert len(seen) > 3


def test_threads_take_snapshots_while_one_writes(tmp_path: Path) -> None:
    with fast_folder() as folder:
        store = made(folder / "index", range(6))
        wrong: list[str] = []
        stop = threading.Event()

        def read() -> None:
            last = -1
            while not stop.is_set():
                snapshot = store.snapshot()
                texts = {
                    live.segment.document(at).text.split()[3]
                    for live in snapshot.segments
                    for at in range(live.segment.n_documents)
                    if live.deleted is None or not live.deleted[at]
                }
                if len(texts) != 1 or snapshot.generation < last or snapshot.n_live != 6:
                    wrong.append(f"{texts} at {snapshot.generation} after {last}")
                last = snapshot.generation

        readers = [threading.Thread(target=read) for _ in range(3)]
        for reader in readers:
            reader.start()
        for version in range(1, 15):
            with store.begin() as transaction:
                transaction.delete([name(at) for at in range(6)])
                add(transaction, range(6), version=version)
                transaction.merge("all" if version % 3 == 0 else "auto")
                transaction.commit()
        stop.set()
        for reader in readers:
            reader.join()
        assert wrong == []


@pytest.fixture
def transaction(tmp_path: Path) -> Iterator[Transaction]:
    with made(tmp_path / "index", range(5)).begin() as begun:
        yield begun


def test_the_settings_of_an_index_can_change_but_not_its_shape(
    transaction: Transaction, tmp_path: Path
) -> None:
    changed: dict[str, Any] = {**SETTINGS, "note": "calibrated"}
    transaction.settings = changed
    for name_, value in (("vocab_size", 9), ("passages", {})):
        with pytest.raises(ConfigError, match=name_):
            transaction.settings = {**changed, name_: value}
    assert transaction.commit().generation == 2
    assert Store.open(tmp_path / "index").snapshot().manifest.settings == changed
