from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

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
    killed_at,
    made,
    name,
)

from lsr.errors import ConfigError
from lsr.index import disk
from lsr.index.check import check_folder
from lsr.index.store import Store

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


@pytest.fixture
def folder() -> Iterator[Path]:
    with fast_folder() as path:
        yield path


def change(path: Path, acknowledged: Path) -> None:
    """Add, upsert and delete in one commit."""
    with Store.open(path).begin() as transaction:
        add(transaction, [20, 21, 22])
        transaction.delete([name(2), name(3)])
        add(transaction, [2], version=1)
        transaction.delete([name(21), name(7)])
        transaction.commit()
    acknowledged.touch()


def merge(path: Path, acknowledged: Path) -> None:
    with Store.open(path).begin() as transaction:
        transaction.merge("all")
        transaction.commit()
    acknowledged.touch()


def after_change() -> Contents:
    old = expected([*range(10), *range(10, 14)])
    new = {key: old[key] for key in old if key not in {name(2), name(3), name(7)}}
    return new | expected([20, 22]) | expected([2], version=1)


@pytest.mark.parametrize("work", [change, merge], ids=["commit", "merge"])
def test_a_writer_killed_at_any_step_leaves_the_last_commit_and_no_trouble(
    folder: Path, work: Callable[[Path, Path], None]
) -> None:
    template = folder / "template"
    made(template, range(10), range(10, 14))
    if work is merge:
        with Store.open(template).begin() as transaction:
            transaction.delete([name(4), name(11)])
            transaction.commit()
    before = contents(Store.open(template).snapshot())
    after = after_change() if work is change else before
    old_files = files(template)
    old_generation = Store.open(template).snapshot().generation
    step, alive, switched = 0, True, False
    while alive:
        path, acknowledged = folder / "index", folder / "acknowledged"
        shutil.copytree(template, path)
        alive = killed_at(step, partial(work, path, acknowledged))
        store = Store.open(path)
        snapshot = store.snapshot()
        committed = snapshot.generation > old_generation
        assert committed or not acknowledged.exists()
        assert committed or not switched, "a later step may not see an earlier commit"
        switched = committed
        assert contents(snapshot, arrays=False) == (after if committed else before)
        if not committed:
            now = files(path)
            assert {key: now[key] for key in old_files} == old_files
        with store.begin() as transaction:
            add(transaction, [30])
            snapshot = transaction.commit()
        report = check_folder(path)
        assert (report.problems, report.notes) == ([], [])
        wanted = (after if committed else before) | expected([30])
        assert contents(snapshot, arrays=False) == wanted
        shutil.rmtree(path)
        acknowledged.unlink(missing_ok=True)
        step += 1
    assert switched and step > 50


def test_a_build_killed_at_any_step_can_be_resumed_to_the_same_end(folder: Path) -> None:
    template = folder / "template"
    made(template, range(6), settings=PASSAGES)
    plan = [[20, 21], [22, 1], [23]]

    def build(path: Path) -> None:
        with Store.open(path).begin() as transaction:
            at = 0
            if transaction.journal is not None:
                at = transaction.journal["at"]
                transaction.resume()
            for number in range(at, len(plan)):
                transaction.delete([name(n) for n in plan[number]])
                add(transaction, plan[number], version=1)
                transaction.seal({"at": number + 1})
            transaction.merge("all")
            transaction.commit()

    numbers = [0, 2, 3, 4, 5]
    wanted = expected(numbers, passages=True) | expected(
        [20, 21, 22, 1, 23], version=1, passages=True
    )
    resumed, step, alive = 0, 0, True
    while alive:
        path = folder / "index"
        shutil.copytree(template, path)
        alive = killed_at(step, partial(build, path))
        store = Store.open(path)
        if store.snapshot().generation == 1:
            resumed += check_folder(path).notes != []
            build(path)
        else:
            store.begin().rollback()
        assert contents(store.snapshot(), arrays=False) == wanted
        report = check_folder(path)
        assert (report.problems, report.notes) == ([], [])
        shutil.rmtree(path)
        step += 6  # not each one: the steps of a commit are all tried above
    assert resumed > 8


def test_a_create_killed_at_any_step_can_be_done_again(folder: Path) -> None:
    step, alive = 0, True
    while alive:
        path = folder / f"index-{step}"
        alive = killed_at(step, partial(Store.create, path, SETTINGS))
        try:
            store = Store.create(path, SETTINGS)
        except ConfigError:
            store = Store.open(path)
        assert store.snapshot().generation == 0
        assert check_folder(path).notes == []
        step += 1
    assert step > 10


def test_a_killed_writer_leaves_no_stale_lock(folder: Path) -> None:
    made(folder / "index", range(3))

    def die_writing() -> None:
        transaction = Store.open(folder / "index").begin()
        add(transaction, [9])
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(die_writing) == -signal.SIGKILL
    with Store.open(folder / "index").begin() as transaction:
        assert transaction.contains([name(9), name(1)]) == [False, True]


def test_everything_is_synced_before_the_manifest_names_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = made(folder / "index", range(5))
    steps: list[str] = []
    monkeypatch.setattr(disk, "on_step", steps.append)
    with store.begin() as transaction:
        transaction.delete([name(1)])
        add(transaction, [7, 8])
        transaction.commit()
    renamed = steps.index("before rename manifest.json")
    created = {step.removeprefix("after create ") for step in steps if "after create" in step}
    assert {"header.json", "seg-00000001.00000002.bits", "manifest.json.tmp"} <= created
    synced = {step.removeprefix("after fsync ") for step in steps[:renamed] if "fsync" in step}
    removed = {step.removeprefix("after remove ") for step in steps[:renamed] if "remove" in step}
    # Only what the new segment turned out not to need.
    assert removed == {"before remove forward.weights", "forward.weights"}
    assert (created - removed) | {"seg-00000002", "segments", "tombstones"} <= synced
    assert steps[renamed + 1 : renamed + 4] == [
        "after rename manifest.json",
        "before fsync index",
        "after fsync index",
    ]
