from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from store_cases import PASSAGES, add, fast_folder, files, made, name

from lsr.errors import IndexFormatError, LsrError
from lsr.index.check import check_folder
from lsr.index.manifest import Manifest, read_manifest, seal, unseal
from lsr.index.segment import Segment
from lsr.index.store import Store


@pytest.fixture(scope="module")
def sound() -> Iterator[Path]:
    """An index with two segments, passages, all kinds of fields and a tombstone file."""
    with fast_folder() as folder:
        store = made(folder / "index", range(9), range(9, 12), settings=PASSAGES)
        with store.begin() as transaction:
            transaction.delete([name(3)])
            transaction.commit()
        yield folder / "index"


def opened(path: Path) -> IndexFormatError:
    with pytest.raises(IndexFormatError) as caught:
        Store.open(path)
    return caught.value


def positions(size: int) -> list[int]:
    return sorted({0, 1, size // 3, size // 2, size - 2, size - 1} & set(range(size)))


def test_a_flipped_byte_in_any_file_is_found_on_open_and_by_check(sound: Path) -> None:
    path = sound.parent / "flipped"
    shutil.copytree(sound, path)
    kinds = set()
    for file, good in files(path).items():
        for at in positions(len(good)):
            for flip in (0x01, 0x80, 0xFF):
                bad = bytearray(good)
                bad[at] ^= flip
                (path / file).write_bytes(bad)
                error = opened(path)
                assert str(path / file) in error.message, (file, at, flip)
                assert error.hint
        problems = check_folder(path).problems
        assert [file for problem in problems if str(path / file) in problem] == [file]
        (path / file).write_bytes(good)
        kinds.add(Path(file).name)
    assert len(kinds) == 13 + 3  # arrays, documents and header; manifest, and tombstones
    assert check_folder(path).problems == []
    shutil.rmtree(path)


def test_every_single_byte_of_manifest_and_header_counts(sound: Path) -> None:
    for file in (sound / "manifest.json", sound / "segments/seg-00000001/header.json"):
        good = file.read_bytes()
        content = unseal(good, file)
        assert seal(content) == good
        for at in range(len(good)):
            for flip in (0x01, 0x02, 0x20, 0x80):
                bad = bytearray(good)
                bad[at] ^= flip
                with pytest.raises(IndexFormatError, match=file.name):
                    unseal(bytes(bad), file)
        for wrong in (b"", good[:-1], good + b"\n", good + b"x", b"[1]", b"{}", b"\xff\xfe"):
            with pytest.raises(IndexFormatError, match=file.name):
                unseal(wrong, file)


@pytest.mark.parametrize("change", ["missing", "short", "empty", "long"])
def test_a_file_missing_cut_or_grown_is_named(sound: Path, change: str) -> None:
    path = sound.parent / "changed"
    shutil.copytree(sound, path)
    for file, good in files(path).items():
        if change == "missing":
            (path / file).unlink()
        else:
            (path / file).write_bytes(
                {"short": good[:-1], "empty": b"", "long": good + b"\0"}[change]
            )
        error = opened(path)
        assert file in error.message
        assert error.hint
        if file != "manifest.json":
            # Sizes and headers are looked at even when checksums are not.
            with pytest.raises(IndexFormatError, match=Path(file).name):
                Store.open(path, verify=False).snapshot()
            assert [file for problem in check_folder(path).problems if file in problem] == [file]
        else:
            assert len(check_folder(path).problems) == 1
        (path / file).write_bytes(good)
    shutil.rmtree(path)


def test_a_sound_segment_in_the_place_of_another_is_found(sound: Path) -> None:
    path = sound.parent / "swapped"
    shutil.copytree(sound, path)
    shutil.rmtree(path / "segments/seg-00000002")
    shutil.copytree(path / "segments/seg-00000001", path / "segments/seg-00000002")
    assert str(path / "segments/seg-00000002/header.json") in opened(path).message
    assert len(check_folder(path).problems) == 1
    shutil.rmtree(path)


def test_check_lists_all_damage_at_once(sound: Path) -> None:
    path = sound.parent / "several"
    shutil.copytree(sound, path)
    segments = path / "segments"
    (segments / "seg-00000001/forward.halves").write_bytes(b"")
    (segments / "seg-00000001/documents.arrow").unlink()
    (segments / "seg-00000002/header.json").write_bytes(b"{}")
    (path / "tombstones/seg-00000001.00000003.bits").write_bytes(b"\0\0")
    problems = Store.open(path, verify=False).check()
    assert len(problems) == 4
    for part in ("forward.halves", "documents.arrow", "header.json", ".bits"):
        assert sum(part in problem for problem in problems) == 1
    segment = Segment.open(sound / "segments/seg-00000001")
    assert segment.verify() == []
    shutil.rmtree(path)


def test_check_notes_what_is_left_over_and_sizes(sound: Path) -> None:
    path = sound.parent / "leftovers"
    shutil.copytree(sound, path)
    with Store.open(path).begin() as transaction:
        add(transaction, [20])
        transaction.seal({"at": 1})
    (path / "segments/seg-00000099").mkdir()
    (path / "tombstones/seg-00000001.00000001.bits").write_bytes(b"x")
    (path / "manifest.json.tmp").write_bytes(b"x")
    (path / "notes.txt").write_text("mine")
    report = check_folder(path)
    assert report.ok and report.generation == 3 and report.n_documents == 11
    for part in ("build.json", "seg-00000099", "00000001.bits", "manifest.json.tmp", "notes.txt"):
        assert sum(part in note for note in report.notes) == 1
    assert sum(report.bytes.values()) >= sum(
        len(data) for file, data in files(path).items() if file not in ("notes.txt",)
    ) - len("x")
    with Store.open(path).begin() as transaction:
        transaction.discard()
    assert [note for note in check_folder(path).notes if "notes.txt" not in note] == []
    assert (path / "notes.txt").read_text() == "mine"
    shutil.rmtree(path)


def test_files_of_others_are_never_removed(sound: Path) -> None:
    path = sound.parent / "strangers"
    shutil.copytree(sound, path)
    stranger = path / "segments/seg-00000001/README"
    others = [path / "segments/mine/header.json", path / "tombstones/mine.bits"]
    others[0].parent.mkdir()
    for file in (stranger, *others):
        file.write_text("mine")
    with Store.open(path).begin() as transaction:
        transaction.merge("all")
        transaction.commit()
    assert [file.name for file in stranger.parent.iterdir()] == ["README"]
    assert [file.read_text() for file in others] == ["mine", "mine"]
    assert len(check_folder(path).notes) == 3
    assert Store.open(path).check() == []
    shutil.rmtree(path)


def test_a_newer_format_says_which_is_read(sound: Path) -> None:
    path = sound.parent / "newer"
    shutil.copytree(sound, path)
    content = unseal((path / "manifest.json").read_bytes(), path)
    (path / "manifest.json").write_bytes(seal({**content, "format": 6}))
    assert "is format 6; this lsr reads 3 to 5" in opened(path).message
    (path / "manifest.json").write_bytes(seal({**content, "format": 2}))
    error = opened(path)
    assert "is format 2" in error.message and "lsr index" in (error.hint or "")
    shutil.rmtree(path)


def test_what_is_no_index_is_refused_with_the_command_that_makes_one(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        error = opened(path)
        assert str(path) in error.message and "lsr index SOURCE --out" in (error.hint or "")
        with pytest.raises(LsrError):
            Store(path, verify=True).begin()
        assert check_folder(path).problems == [error.message]
    (tmp_path / "file").write_text("x")
    assert "file" in opened(tmp_path / "file").message
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_well_sealed_json_of_the_wrong_shape_is_refused(sound: Path) -> None:
    path = sound / "manifest.json"
    content = unseal(read_manifest(sound), path)
    entry = content["segments"][0]
    for wrong in (
        {"segments": 3},
        {"segments": [{**entry, "name": "../elsewhere"}]},
        {"segments": [{**entry, "tombstones": {"file": "/etc/passwd", "count": 1, "xxh3": ""}}]},
        {"fields": [1]},
        {"generation": "x"},
    ):
        with pytest.raises(IndexFormatError):
            Manifest.from_bytes(seal({**content, **wrong}), path)
    content.pop("next_segment")
    with pytest.raises(IndexFormatError, match=r"manifest\.json"):
        Manifest.from_bytes(seal(content), path)
