from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from leg_cases import ToyLeg, ToyWriter, toy_legs
from store_cases import (
    FIELDS,
    PASSAGES,
    SETTINGS,
    add,
    contents,
    document,
    documents,
    expected,
    fast_folder,
    files,
    killed_at,
    made,
    name,
    vectors,
)

from lsr.errors import ConfigError, DataError, IndexFormatError, StorageError
from lsr.index.check import check_folder
from lsr.index.legs import MAKERS
from lsr.index.manifest import FORMAT, LEGS, LEGS_FORMAT, Manifest, read_manifest
from lsr.index.store import Snapshot, Store

WITH_TOY = {**SETTINGS, LEGS: {"sparse": {}, "toy": {"letter": "e"}}}


@pytest.fixture(autouse=True)
def toy() -> Iterator[None]:
    with toy_legs():
        yield


@pytest.fixture
def folder() -> Iterator[Path]:
    with fast_folder() as path:
        yield path


def counts(snapshot: Snapshot, letter: str = "e") -> dict[str, int]:
    """Return what the leg keeps of each live document, after comparing it with the text."""
    found = {}
    for live in snapshot.segments:
        part: Any = live.legs["toy"]
        assert part.n_documents == live.segment.n_documents
        for ordinal in range(live.segment.n_documents):
            if live.deleted is None or not live.deleted[ordinal]:
                kept = live.segment.document(ordinal)
                assert part.counts[ordinal] == kept.full_text().count(letter)
                found[kept.id] = int(part.counts[ordinal])
    return found


def parts_of(path: Path) -> list[str]:
    return sorted(entry.name for entry in (path / LEGS).iterdir())


def test_documents_go_into_every_leg_and_stay_together_through_deletes_and_merges(
    folder: Path,
) -> None:
    store = made(folder / "index", range(10), range(10, 16), settings=WITH_TOY)
    with store.begin() as transaction:
        transaction.delete([name(2), name(11)])
        add(transaction, [2], version=1)
        transaction.commit()
    before = counts(store.snapshot())
    assert len(before) == 15
    with store.begin() as transaction:
        transaction.merge("all")
        transaction.commit()
    assert counts(store.snapshot()) == counts(Store.open(folder / "index").snapshot()) == before
    assert len(parts_of(folder / "index")) == 1
    assert check_folder(folder / "index").ok


def test_ten_adds_merged_are_byte_for_byte_one_add(folder: Path) -> None:
    made(folder / "one", range(20), settings=WITH_TOY)
    store = made(folder / "ten", *([at, at + 1] for at in range(0, 20, 2)), settings=WITH_TOY)
    with store.begin() as transaction:
        transaction.merge("all")
        transaction.commit()
    [one], [ten] = parts_of(folder / "one"), parts_of(folder / "ten")
    assert files(folder / "one" / LEGS / one) == files(folder / "ten" / LEGS / ten)


def test_a_leg_is_added_to_an_index_that_was_made_without_and_removed_again(folder: Path) -> None:
    path = folder / "index"
    store = made(path, range(6), range(6, 9))
    with store.begin() as transaction:
        transaction.delete([name(7)])
        transaction.commit()
    before, plain = files(path), read_manifest(path)
    with store.begin() as transaction:
        add(transaction, [9])
        transaction.add_leg(ToyLeg("t"))
        add(transaction, [10])
        transaction.commit()
    assert sorted(counts(store.snapshot(), "t")) == sorted(name(n) for n in range(11) if n != 7)
    now = files(path)
    assert {key: now[key] for key in before if key != "manifest.json"} == {
        key: data for key, data in before.items() if key != "manifest.json"
    }
    assert b'"format":4' in read_manifest(path) and b'"format":3' in plain
    with store.begin() as transaction:
        transaction.remove_leg("toy")
        transaction.commit()
    assert parts_of(path) == [] and b'"format":3' in read_manifest(path)
    assert check_folder(path).notes == []


def test_an_index_without_other_legs_is_written_as_before(folder: Path) -> None:
    made(folder / "index", range(3))
    assert (FORMAT, LEGS_FORMAT) == (3, 4)
    assert b"legs" not in read_manifest(folder / "index")
    assert not (folder / "index" / LEGS).exists()


def test_a_leg_that_is_there_or_not_there_is_not_added_or_removed(folder: Path) -> None:
    store = made(folder / "index", range(3), settings=WITH_TOY)
    only = Store.create(folder / "only", {**SETTINGS, LEGS: {"toy": {"letter": "e"}}})
    with store.begin() as transaction:
        with pytest.raises(ConfigError, match="has the leg 'toy' already"):
            transaction.add_leg(ToyLeg())
        with pytest.raises(ConfigError, match=r"'bm25' is not a leg .* there is toy"):
            transaction.remove_leg("bm25")
        with pytest.raises(ConfigError, match="'sparse' is not a leg"):
            transaction.remove_leg("sparse")
        with pytest.raises(ConfigError, match="'legs' of an index cannot be changed"):
            transaction.settings = SETTINGS
    with only.begin() as transaction, pytest.raises(ConfigError, match="only leg"):
        transaction.remove_leg("toy")


def test_what_the_caller_brings_for_a_leg_is_taken_whole_or_not_at_all(folder: Path) -> None:
    store = Store.create(folder / "index", WITH_TOY)
    with store.begin() as transaction:
        transaction.fields = FIELDS
        batch = documents([1, 2])
        with pytest.raises(DataError, match="2 documents but 1 counts"):
            transaction.append(batch, vectors([1, 2]), given={"toy": [7]})
        with pytest.raises(ConfigError, match="leg 'dense', which this index lacks"):
            transaction.append(batch, vectors([1, 2]), given={"dense": [7]})
        assert transaction.n_live == 0
        transaction.append(batch, vectors([1, 2]), given={"toy": [7, 9]})
        with pytest.raises(DataError, match="already"):
            transaction.append([document(1)], vectors([1]))
        snapshot = transaction.commit()
    part: Any = snapshot.segments[0].legs["toy"]
    assert part.counts.tolist() == [7, 9]


def test_documents_that_a_leg_did_not_get_are_never_committed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StorageError("the disk is full")

    store = made(folder / "index", range(3), settings=WITH_TOY)
    transaction = store.begin()
    monkeypatch.setattr(ToyWriter, "append", full)
    with pytest.raises(StorageError, match="full"):
        add(transaction, [9])
    with pytest.raises(StorageError, match="cannot be written to"):
        transaction.commit()
    assert len(counts(store.snapshot())) == 3
    assert check_folder(folder / "index").notes == []


def test_a_resumed_build_has_the_parts_of_its_checkpoints(folder: Path) -> None:
    store = made(folder / "index", range(4), settings=WITH_TOY)
    with store.begin() as transaction:
        add(transaction, [10, 11])
        transaction.seal({"at": 1})
        add(transaction, [12])
        transaction.rollback(keep_journal=True)
    with Store.open(folder / "index").begin() as transaction:
        transaction.resume()
        add(transaction, [13])
        snapshot = transaction.commit()
    assert sorted(counts(snapshot)) == sorted(name(n) for n in [*range(4), 10, 11, 13])


def test_damage_to_a_part_is_named_and_never_served(folder: Path) -> None:
    path = folder / "index"
    made(path, range(5), settings=WITH_TOY)
    [part] = parts_of(path)
    file = path / LEGS / part / "counts.bin"
    data = file.read_bytes()
    file.write_bytes(data[:-1] + b"\x07")
    [problem] = check_folder(path).problems
    assert "counts.bin is damaged: its checksum is" in problem
    with pytest.raises(IndexFormatError, match=r"counts\.bin is damaged"):
        Store.open(path)
    file.write_bytes(data[:-4])
    with pytest.raises(IndexFormatError, match="it has 16 bytes; expected 20"):
        Store.open(path, verify=False).snapshot()
    file.unlink()
    with pytest.raises(IndexFormatError, match=r"counts\.bin is missing"):
        Store.open(path)
    shutil.rmtree(path / LEGS)
    assert "is missing" in check_folder(path).problems[0]


def test_a_merge_refuses_a_damaged_part(folder: Path) -> None:
    path = folder / "index"
    made(path, range(5), range(5, 9), settings=WITH_TOY)
    file = path / LEGS / parts_of(path)[1] / "counts.bin"
    file.write_bytes(file.read_bytes()[:-1] + b"\x07")
    store = Store.open(path, verify=False)
    with store.begin() as transaction, pytest.raises(IndexFormatError, match="damaged"):
        transaction.merge("all")


def test_a_kind_of_leg_that_this_version_does_not_know_is_an_error(folder: Path) -> None:
    made(folder / "index", range(3), settings=WITH_TOY)
    maker = MAKERS.pop("toy")
    try:
        with pytest.raises(IndexFormatError, match="a leg 'toy'; this lsr knows sparse"):
            Store.open(folder / "index")
        assert not check_folder(folder / "index").ok
    finally:
        MAKERS["toy"] = maker


def test_a_segment_without_its_part_is_an_error(folder: Path) -> None:
    path = folder / "index"
    made(path, range(3))
    manifest = Manifest.from_bytes(read_manifest(path), path)
    changed = manifest.with_settings({**manifest.settings, **WITH_TOY})
    (path / "manifest.json").write_bytes(changed.to_bytes())
    with pytest.raises(IndexFormatError, match="has no part of the leg 'toy'"):
        Store.open(path)
    assert "has no part of the leg 'toy'" in check_folder(path).problems[0]


def test_a_searcher_keeps_out_what_is_deleted_or_not_allowed(folder: Path) -> None:
    store = made(folder / "index", range(8), range(8, 12), settings=WITH_TOY)
    with store.begin() as transaction:
        transaction.delete([name(3)])
        snapshot = transaction.commit()
    leg = store.legs(snapshot.manifest.settings)["toy"]
    searcher = leg.searcher(snapshot.segments)
    mask = [np.ones(8, np.bool_), np.zeros(4, np.bool_)]
    found = searcher.search("", 20, mask)
    assert set(found.segments.tolist()) == {0} and 3 not in found.documents.tolist()
    assert len(found.documents) == 7
    scores = searcher.score("", found.segments, found.documents)
    assert scores.tolist() == found.scores.tolist()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_writer_killed_at_any_step_leaves_every_leg_of_the_last_commit(folder: Path) -> None:
    template = folder / "template"
    made(template, range(4), [4, 5], settings=PASSAGES)
    old = files(template)

    def change(path: Path) -> None:
        with Store.open(path).begin() as transaction:
            add(transaction, [20])
            transaction.add_leg(ToyLeg())
            transaction.delete([name(2)])
            transaction.commit()
        with Store.open(path).begin() as transaction:
            transaction.merge("all")
            transaction.remove_leg("toy")
            transaction.add_leg(ToyLeg("t"))
            transaction.commit()

    before = expected(range(6), passages=True)
    after = expected([0, 1, 3, 4, 5, 20], passages=True)
    step, alive, seen = 0, True, set()
    while alive:
        path = folder / "index"
        shutil.copytree(template, path)
        alive = killed_at(step, partial(change, path))
        snapshot = Store.open(path).snapshot()
        done = snapshot.generation - 2
        seen.add(done)
        assert contents(snapshot, arrays=False) == (after if done else before)
        if done:
            assert len(counts(snapshot, "et"[done - 1])) == 6
        else:
            assert {key: data for key, data in files(path).items() if key in old} == old
        Store.open(path).begin().rollback()
        report = check_folder(path)
        assert (report.problems, report.notes) == ([], [])
        shutil.rmtree(path)
        step += 8
    assert seen == {0, 1, 2} and step > 100
