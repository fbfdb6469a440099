from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
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
    made,
    name,
    vectors,
)

from lsr.errors import ConfigError, DataError, IndexFormatError, StorageError
from lsr.index import disk
from lsr.index.check import check_folder
from lsr.index.columns import Fields
from lsr.index.store import Store
from lsr.index.transaction import Place
from lsr.types import Document


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with fast_folder() as folder:
        yield folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return made(tmp_path / "index", range(10), range(10, 14))


def names(*numbers: int) -> list[str]:
    return [name(number) for number in numbers]


def test_find_says_where_a_document_is(store: Store) -> None:
    with store.begin() as transaction:
        add(transaction, [20])
        transaction.seal()
        add(transaction, [21])
        transaction.delete(names(3))
        assert transaction.find(names(1, 3, 20, 21, 22)) == [
            Place.COMMITTED,
            None,
            Place.STAGED,
            Place.OPEN,
            None,
        ]
        assert transaction.contains(names(3, 21)) == [False, True]
        assert transaction.n_live == 15


def test_delete_counts_documents_wherever_they_are_and_once(store: Store) -> None:
    with store.begin() as transaction:
        add(transaction, [20, 21])
        transaction.seal()
        add(transaction, [22, 23])
        assert transaction.delete([*names(1, 1, 11, 20, 22), "absent"]) == 4
        assert transaction.delete(names(1, 20, 22)) == 0
        snapshot = transaction.commit()
    wanted = expected([at for at in [*range(14), 21, 23] if at not in (1, 11)])
    assert contents(snapshot) == wanted
    assert contents(Store.open(store.path).snapshot()) == wanted


def test_an_upsert_replaces_within_one_commit_and_again_and_again(store: Store) -> None:
    with store.begin() as transaction:
        for version in (1, 2, 3):
            transaction.delete(names(2, 3))
            add(transaction, [2, 3], version=version)
        snapshot = transaction.commit()
    rest = [at for at in range(14) if at not in (2, 3)]
    assert contents(snapshot) == expected(rest) | expected([2, 3], version=3)


def test_an_id_that_is_there_is_refused_and_the_rest_stays(store: Store) -> None:
    with store.begin() as transaction:
        add(transaction, [20])
        for taken in ([1], [20], [30, 30]):
            with pytest.raises(DataError, match="document"):
                add(transaction, taken)
        transaction.delete(names(1))
        add(transaction, [1], version=1)
        snapshot = transaction.commit()
    rest = [at for at in [*range(14), 20] if at != 1]
    assert contents(snapshot) == expected(rest) | expected([1], version=1)


def test_a_commit_without_changes_makes_no_generation(store: Store) -> None:
    before = files(store.path)
    for undo in (False, True):
        with store.begin() as transaction:
            if undo:
                add(transaction, [20, 21])
                transaction.delete(names(20, 21))
            transaction.fields = FIELDS
            transaction.append([], vectors([]))
            transaction.merge("auto")
            assert transaction.commit() is store.snapshot()
        assert files(store.path) == before


def test_a_refused_first_append_leaves_nothing_behind(store: Store) -> None:
    before = files(store.path)
    with store.begin() as transaction:
        with pytest.raises(DataError):
            transaction.append([Document("")], vectors([1]))
        assert transaction.commit().generation == 2
    assert files(store.path) == before


def test_deleting_everything_leaves_an_empty_index(store: Store) -> None:
    with store.begin() as transaction:
        transaction.delete(names(*range(14)))
        snapshot = transaction.commit()
    assert (snapshot.segments, snapshot.n_live, snapshot.generation) == ((), 0, 3)
    assert list((store.path / "segments").iterdir()) == []
    with store.begin() as transaction:
        add(transaction, [1])
        assert contents(transaction.commit()) == expected([1])


def test_rollback_and_leaving_the_block_undo_everything(store: Store) -> None:
    before = files(store.path)
    for leave in (False, True):
        try:
            with store.begin() as transaction:
                transaction.delete(names(1))
                add(transaction, [20])
                transaction.seal()
                add(transaction, [21])
                transaction.merge("all")
                add(transaction, [22])
                if leave:
                    raise KeyboardInterrupt
                transaction.rollback()
                transaction.rollback()
        except KeyboardInterrupt:
            assert leave
        assert files(store.path) == before
        with pytest.raises(ConfigError, match="is over"):
            transaction.delete(names(1))


def test_a_field_seen_later_reads_as_absent_before(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "index", SETTINGS)
    old, new = Document("a", fields={"year": 1}), Document("b", fields={"kind": "x"})
    with store.begin() as transaction:
        for each in (old, new):
            transaction.fields = transaction.fields.learn(each)
            transaction.append([each], vectors([1]))
        snapshot = transaction.commit()
    assert dict(snapshot.manifest.fields) == {"year": "number", "kind": "string"}
    assert [live.segment.document(0) for live in snapshot.segments] == [old, new]
    with store.begin() as transaction:
        transaction.merge("all")
        snapshot = transaction.commit()
    (live,) = snapshot.segments
    assert [live.segment.document(at) for at in range(2)] == [old, new]
    assert live.segment.table.column("kind").to_pylist() == [None, "x"]


def test_the_type_of_a_field_cannot_change(store: Store) -> None:
    with store.begin() as transaction:
        for fields in (Fields(), Fields({**FIELDS, "year": "string"})):
            with pytest.raises(ConfigError, match="cannot be changed"):
                transaction.fields = fields


def unfinished(path: Path) -> Store:
    """Return an index in which a build was stopped after its second checkpoint."""
    store = made(path, range(10))
    with store.begin() as transaction:
        add(transaction, [20, 21])
        transaction.seal({"at": 2})
        transaction.delete(names(4, 20))
        add(transaction, [4], version=1)
        transaction.seal({"at": 3, "name": "ü"})
        transaction.delete(names(21, 5))
        add(transaction, [23])
        transaction.rollback(keep_journal=True)
    return store


AFTER_RESUME = expected([*(at for at in range(10) if at != 4), 21]) | expected([4], version=1)


def test_an_unfinished_build_is_taken_over_where_it_was(tmp_path: Path) -> None:
    store = unfinished(tmp_path / "index")
    assert contents(store.snapshot()) == expected(range(10))
    assert len(check_folder(store.path).notes) == 1
    with Store.open(store.path).begin() as transaction:
        assert transaction.journal == {"at": 3, "name": "ü"}
        transaction.resume()
        assert transaction.journal is None
        assert transaction.find(names(4, 20, 21, 23)) == [Place.STAGED, None, Place.STAGED, None]
        add(transaction, [24])
        assert contents(transaction.commit()) == AFTER_RESUME | expected([24])
    assert check_folder(store.path).notes == []
    with store.begin() as transaction:
        with pytest.raises(ConfigError, match="no unfinished build"):
            transaction.resume()
        add(transaction, [25])
        transaction.seal()
        transaction.discard()
        assert contents(transaction.commit()) == AFTER_RESUME | expected([24, 25])


def test_an_unfinished_build_can_be_thrown_away(tmp_path: Path) -> None:
    store = unfinished(tmp_path / "index")
    with store.begin() as transaction:
        transaction.discard()
        assert transaction.journal is None
        add(transaction, [20])
        assert contents(transaction.commit()) == expected([*range(10), 20])
    assert check_folder(store.path).notes == []


def test_an_unfinished_build_survives_writers_that_do_not_decide(tmp_path: Path) -> None:
    store = unfinished(tmp_path / "index")
    before = files(store.path)
    for refused in ("delete", "commit", "merge", "seal", "append"):
        with store.begin() as transaction:
            arguments = {"delete": [names(1)], "append": [documents([1]), vectors([1])]}
            with pytest.raises(ConfigError, match="unfinished build"):
                getattr(transaction, refused)(*arguments.get(refused, []))
            transaction.rollback()
    with store.begin() as transaction:
        transaction.resume()
    assert files(store.path) == before
    with store.begin() as transaction:
        transaction.resume()
        transaction.rollback()
    assert contents(store.snapshot()) == expected(range(10))
    assert check_folder(store.path).notes == []


def test_a_damaged_build_is_refused_and_can_be_thrown_away(tmp_path: Path) -> None:
    for file in ("build.json", "segments/seg-00000002/forward.halves"):
        store = unfinished(tmp_path / file)
        damaged = store.path / file
        damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")
        with store.begin() as transaction:
            with pytest.raises(IndexFormatError, match=damaged.name) as caught:
                if transaction.journal:
                    transaction.resume()
            assert "--restart" in (caught.value.hint or "")
            with pytest.raises(ConfigError, match="unfinished build"):
                transaction.delete(names(1))
            transaction.discard()
            transaction.delete(names(1))
            transaction.commit()
        report = check_folder(store.path)
        assert (report.problems, report.notes) == ([], [])


def test_a_build_with_passages_and_a_merge_inside_can_be_resumed(tmp_path: Path) -> None:
    store = made(tmp_path / "index", range(6), settings=PASSAGES)
    with store.begin() as transaction:
        transaction.delete(names(2))
        add(transaction, [8])
        transaction.merge("all")
        add(transaction, [9])
        transaction.seal({})
        transaction.rollback(keep_journal=True)
    with store.begin() as transaction:
        assert transaction.journal == {}
        transaction.resume()
        snapshot = transaction.commit()
    assert contents(snapshot) == expected([0, 1, 3, 4, 5, 8, 9], passages=True)


def fail_at(step: str, error: BaseException) -> Callable[[str], None]:
    def hook(name: str) -> None:
        if name == step:
            raise error

    return hook


@pytest.mark.parametrize(
    "step",
    [
        "before write forward.weights",
        "before fsync header.json",
        "after create seg-00000001.00000003.bits",
        "before fsync tombstones",
        "after create manifest.json.tmp",
        "before rename manifest.json",
    ],
)
@pytest.mark.parametrize("error", [KeyboardInterrupt(), StorageError("full")])
def test_a_commit_that_fails_before_the_rename_changes_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    before = files(store.path)
    transaction = store.begin()
    transaction.delete(names(1))
    add(transaction, [20])
    monkeypatch.setattr(disk, "on_step", fail_at(step, error))
    with pytest.raises(type(error)):
        transaction.commit()
    monkeypatch.setattr(disk, "on_step", None)
    assert files(store.path) == before
    with store.begin() as again:
        add(again, [20])
        assert contents(again.commit()) == expected([*range(14), 20])


@pytest.mark.parametrize(
    "step", ["after rename manifest.json", "before fsync index", "after fsync index"]
)
def test_a_commit_interrupted_after_the_rename_is_kept_whole(
    store: Store, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    transaction = store.begin()
    transaction.delete(names(1))
    add(transaction, [20])
    transaction.seal({"at": 1})
    monkeypatch.setattr(disk, "on_step", fail_at(step, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        transaction.commit()
    monkeypatch.setattr(disk, "on_step", None)
    wanted = expected([at for at in [*range(14), 20] if at != 1])
    assert contents(store.snapshot()) == contents(Store.open(store.path).snapshot()) == wanted
    with store.begin() as again:
        assert again.journal is None
        add(again, [21])
        again.commit()
    report = check_folder(store.path)
    assert (report.problems, report.notes) == ([], [])


def test_a_commit_stands_when_tidying_up_after_it_fails(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    transaction = store.begin()
    transaction.merge("all")
    monkeypatch.setattr(
        disk, "on_step", fail_at("before remove header.json", StorageError("no permission"))
    )
    with caplog.at_level(logging.WARNING):
        assert contents(transaction.commit()) == expected(range(14))
    assert "no permission" in caplog.text
    monkeypatch.setattr(disk, "on_step", None)
    store.begin().rollback()
    assert check_folder(store.path).notes == []


def test_an_append_that_failed_midway_is_never_committed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    transaction = store.begin()
    add(transaction, [20])
    monkeypatch.setattr(transaction._writer._segment, "_write_rows", _full)
    with pytest.raises(StorageError, match="full"):
        add(transaction, [21])
    with pytest.raises(StorageError, match="cannot be written to"):
        transaction.commit()
    assert contents(store.snapshot()) == expected(range(14))
    assert check_folder(store.path).notes == []


def _full(*_: object) -> None:
    raise StorageError("the disk is full")


def test_unicode_and_odd_ids_come_back(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "index", SETTINGS)
    ids = ["a b", "é", "e\u0301", "\0", "日本", "🦊" * 50, "../x", " ", "A", "a"]
    with store.begin() as transaction:
        transaction.append([Document(each) for each in ids], vectors(range(len(ids))))
        snapshot = transaction.commit()
    assert list(contents(snapshot)) == ids
    with store.begin() as transaction:
        assert transaction.delete(["e\u0301", "\0", "\ud800"]) == 2
        assert len(contents(transaction.commit())) == len(ids) - 2


def test_each_document_keeps_its_metadata(store: Store) -> None:
    kept = contents(store.snapshot())[name(5)][0]
    assert kept == document(5) and kept.fields["seen"] == document(5).fields["seen"]
