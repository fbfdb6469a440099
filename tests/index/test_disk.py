from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from store_cases import add, contents, expected, fast_folder, files, in_child, made, name

from lsr.errors import StorageError
from lsr.index import disk
from lsr.index.check import check_folder
from lsr.index.store import Store

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


@pytest.mark.parametrize(
    ("number", "says", "hint"),
    [
        (errno.ENOSPC, "the disk is full", "free some space"),
        (errno.EDQUOT, "quota", "free some space"),
        (errno.EFBIG, "limit for one file", "ulimit -f"),
        (errno.EROFS, "read-only", "writable"),
        (errno.EACCES, "permission denied", "writable"),
        (errno.EPERM, "not permitted", "writable"),
        (errno.EMFILE, "too many files open", "ulimit -n"),
        (errno.EXDEV, "device", None),
    ],
)
def test_what_the_system_refuses_is_told_with_path_and_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, says: str, hint: str | None
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    store = made(tmp_path / "index", range(4))
    for primitive in ("write", "fsync", "open"):
        transaction = store.begin()
        with monkeypatch.context() as patch:
            patch.setattr(disk.os, primitive, refuse)
            with pytest.raises(StorageError) as caught:
                add(transaction, [9])
                transaction.commit()
            transaction.rollback()
        message = caught.value.message
        assert str(store.path) in message and says in message
        assert (caught.value.hint is None) == (hint is None) and (hint or "") in (
            caught.value.hint or ""
        )
        assert contents(store.snapshot()) == expected(range(4))
        assert Store.open(store.path).check() == []
    with store.begin() as again:
        add(again, [9])
        again.commit()
    assert check_folder(store.path).notes == []


def fill(path: Path) -> None:
    """Commit a large change; a full disk must be told as such."""
    store = Store.open(path)
    before = contents(store.snapshot())
    try:
        with store.begin() as transaction:
            transaction.delete([name(1)])
            add(transaction, range(100, 400))
            transaction.merge("all")
            transaction.commit()
    except StorageError as error:
        if not error.hint or str(path) not in error.message:
            raise SystemExit(f"{error.message} ({error.hint})") from error
        if contents(Store.open(path).snapshot()) != before:
            raise SystemExit("the index changed") from error
        raise SystemExit(9) from error


@forks
def test_a_file_size_limit_is_a_clean_error_and_harms_nothing() -> None:
    resource = pytest.importorskip("resource")
    with fast_folder() as folder:
        template = made(folder / "template", range(6), range(6, 9)).path
        before = files(template)
        refused = 0
        for limit in (0, 100, 500, 1000, 2000, 5000, 10_000, 20_000, 10_000_000):
            path = folder / str(limit)
            shutil.copytree(template, path)

            def child(path: Path = path, limit: int = limit) -> None:
                try:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
                    fill(path)
                except SystemExit as left:
                    os._exit(9 if left.code == 9 else 1)

            status = in_child(child)
            assert status in (0, 9)
            refused += status == 9
            if status == 9:
                assert files(path) == before
                assert contents(Store.open(path).snapshot()) == expected(range(9))
            with Store.open(path).begin() as transaction:
                add(transaction, [50])
                transaction.commit()
            report = check_folder(path)
            assert (report.problems, report.notes) == ([], [])
        assert 4 <= refused < 9


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mount = tmp_path / "small"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(mount)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


@forks
def test_a_full_disk_is_a_clean_error_and_harms_nothing(small_disk: Path) -> None:
    path = small_disk / "index"
    made(path, range(6), range(6, 9))
    before = files(path)
    free = shutil.disk_usage(small_disk).free
    for left in (0, 4096, 20_000, 50_000):
        ballast = small_disk / "ballast"
        ballast.write_bytes(b"x" * max(0, free - left))

        def child() -> None:
            try:
                fill(path)
            except SystemExit as stopped:
                os._exit(9 if stopped.code == 9 else 1)

        assert in_child(child) == 9
        assert files(path) == before
        assert contents(Store.open(path).snapshot()) == expected(range(9))
        ballast.unlink()
    with Store.open(path).begin() as transaction:
        add(transaction, [50])
        assert contents(transaction.commit()) == expected([*range(9), 50])
    report = check_folder(path)
    assert (report.problems, report.notes) == ([], [])


def test_a_written_file_has_the_size_and_checksum_told(tmp_path: Path) -> None:
    parts = [b"", b"abc", bytes(1 << 20), b"x" * 700_000, b"y" * 700_000, b"end"]
    writer = disk.FileWriter(tmp_path / "file")
    for part in parts:
        assert writer.write(part) == len(part)
    assert writer.tell() == sum(map(len, parts))
    written = writer.finish()
    assert (tmp_path / "file").read_bytes() == b"".join(parts)
    assert written == disk.checksum(tmp_path / "file")
    with pytest.raises(StorageError, match="exists"):
        disk.FileWriter(tmp_path / "file")


def test_a_replaced_file_is_old_or_new_and_leaves_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "manifest.json"
    disk.replace(path, b"old")

    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(disk.os, "write", refuse)
        with pytest.raises(StorageError):
            disk.replace(path, b"new")
    assert files(tmp_path) == {"manifest.json": b"old"}
    disk.replace(path, b"new")
    assert files(tmp_path) == {"manifest.json": b"new"}


def test_a_mapped_array_outlives_its_file_and_holds_no_file_open(tmp_path: Path) -> None:
    path = tmp_path / "array"
    np.arange(1000, dtype="<i8").tofile(path)
    array = disk.map_array(path, np.dtype("<i8"), (1000,))
    path.unlink()
    assert array.tolist() == list(range(1000)) and not array.flags.writeable
    assert disk.map_array(path, np.dtype("<f4"), (0,)).shape == (0,)
    with pytest.raises(FileNotFoundError):
        disk.map_array(path, np.dtype("<i8"), (1000,))
