"""A dense leg whose encoding is stopped: what was encoded is taken up, and nothing half-written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
from dense_cases import ToyDense, Vectors
from store_cases import fast_folder, files, killed_at
from toy_encoder import ToyEncoder

from lsr.index import open_segment
from lsr.index.check import check_folder
from lsr.index.dense import DenseLeg
from lsr.index.index import Index
from lsr.index.work_files import WORK
from lsr.passages import PassageSettings

WORDS = ["cats", "purr", "dogs", "bark", "cows", "moo", "birds", "sing", "fish", "swim"]


class Stopped(ToyDense):
    """Stops, as by Ctrl-C, instead of encoding a batch after so many."""

    def __init__(self, batches: int, *, fingerprint: str = "toy-dense-1") -> None:
        super().__init__()
        self.fingerprint = fingerprint
        self._left = batches

    def encode_documents(
        self,
        texts: Sequence[str],
        *,
        threads: int | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> Vectors:
        if not self._left:
            raise KeyboardInterrupt
        self._left -= 1
        return super().encode_documents(texts, threads=threads, on_progress=on_progress)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_segment, "_BATCH", 4)


def made(path: Path, *sizes: int, passages: bool = False) -> Path:
    """Make an index with a segment for each size, of which one document is deleted."""
    split = PassageSettings(max_tokens=3, overlap=0) if passages else None
    with Index.create(path, encoder=ToyEncoder(), passages=split) as index:
        for part, size in enumerate(sizes):
            index.add(
                {
                    "_id": f"{part}-{at}",
                    "text": f"{WORDS[at % 10]} and {WORDS[part]}. " * (at % 3 + 1),
                }
                for at in range(size)
            )
            index.commit()
        index.delete(["0-1"])
    return path


def add_dense(path: Path, encoder: ToyDense, **more: str) -> DenseLeg:
    leg = DenseLeg(encoder)
    index = Index.open(path)
    try:
        index.change_legs(add=leg, **more)
    finally:
        index.close()
    return leg


def stop(path: Path, batches: int, fingerprint: str = "toy-dense-1") -> None:
    with pytest.raises(KeyboardInterrupt):
        add_dense(path, Stopped(batches, fingerprint=fingerprint))


def work(path: Path) -> list[Path]:
    return sorted((path / WORK).iterdir()) if (path / WORK).is_dir() else []


@pytest.mark.parametrize("passages", [False, True])
def test_what_was_encoded_before_the_interrupt_is_not_encoded_again(
    tmp_path: Path, passages: bool
) -> None:
    path = made(tmp_path / "i", 10, 6, passages=passages)
    whole = tmp_path / "whole"
    shutil.copytree(path, whole)
    before = files(path)
    plain = ToyDense()
    add_dense(whole, plain)
    stop(path, 4)  # three batches of the first segment, one of the second
    assert {key: files(path)[key] for key in before} == before
    assert len(work(path)) == 4 and Index.open(path).legs == ("sparse",)
    stop(path, 0)  # and again, at once: nothing is lost
    again, told = ToyDense(), list[int]()
    leg = DenseLeg(again)
    leg.on_progress = told.append
    index = Index.open(path)
    index.add_leg(leg)
    assert again.encoded + leg.n_taken_up == plain.encoded and leg.n_taken_up >= 14
    assert len(told) == 4 and sum(told) == leg.n_taken_up
    assert files(path) == files(whole) and not (path / WORK).exists()
    assert check_folder(path).notes == [] and index.search("cats", mode="dense").ids


def test_the_vectors_of_another_model_are_not_taken_up(tmp_path: Path) -> None:
    path = made(tmp_path / "i", 10)
    stop(path, 2, "another")
    leg = add_dense(path, ToyDense())
    assert leg.n_taken_up == 0
    # Those of the other model stay, until its leg is made.
    assert len(work(path)) == 2
    other = ToyDense()
    other.fingerprint = "another"
    assert add_dense(path, other, remove="dense").n_taken_up == 8
    assert not (path / WORK).exists() and check_folder(path).ok


def test_a_leg_made_anew_with_another_model_can_be_stopped_too(tmp_path: Path) -> None:
    path = made(tmp_path / "i", 10)
    add_dense(path, ToyDense())
    with pytest.raises(KeyboardInterrupt):
        add_dense(path, Stopped(1, fingerprint="new"), remove="dense")
    assert len(work(path)) == 1
    new = ToyDense()
    new.fingerprint = "new"
    assert add_dense(path, new, remove="dense").n_taken_up == 4 and new.encoded == 6


@pytest.mark.parametrize("damage", ["cut", "empty", "flip a number", "flip the header", "rename"])
def test_a_file_that_is_not_as_it_was_written_counts_as_none(tmp_path: Path, damage: str) -> None:
    path = made(tmp_path / "i", 10)
    shutil.copytree(path, tmp_path / "whole")
    add_dense(tmp_path / "whole", ToyDense())
    stop(path, 2)
    first, second = work(path)
    data = bytearray(first.read_bytes())
    if damage == "rename":  # whole, but of other documents
        second.replace(first)
    elif damage == "cut":
        first.write_bytes(data[:-1])
    elif damage == "empty":
        first.write_bytes(b"")
    else:
        data[-7 if damage == "flip a number" else 30] ^= 1
        first.write_bytes(data)
    leg = add_dense(path, ToyDense())
    assert leg.n_taken_up == (0 if damage == "rename" else 4)
    assert files(path) == files(tmp_path / "whole")


def test_commits_in_between_leave_what_still_fits(tmp_path: Path) -> None:
    path = made(tmp_path / "i", 10, 6)
    stop(path, 3)
    [note] = check_folder(path).notes
    assert "bytes of a leg whose encoding was stopped" in note and check_folder(path).ok
    with Index.open(path, encoder=ToyEncoder()) as index:
        index.add([{"_id": "new", "text": "cows moo"}])
        index.delete(["1-2"])
    leg = add_dense(path, ToyDense())
    assert leg.n_taken_up == 10
    assert len(Index.open(path, dense=ToyDense()).search("cows moo", k=40, mode="dense")) == 15


def test_a_merge_removes_what_fits_no_more(tmp_path: Path) -> None:
    path = made(tmp_path / "i", 10, 6)
    stop(path, 3)
    (path / WORK / "notes.txt").write_text("not ours")
    with Index.open(path, encoder=ToyEncoder()) as index:
        index.merge()
    assert [one.name for one in work(path)] == ["notes.txt"]
    assert any("not a file of lsr" in note for note in check_folder(path).notes)
    assert add_dense(path, ToyDense()).n_taken_up == 0
    assert (path / WORK / "notes.txt").exists()


@pytest.fixture
def folder() -> Iterator[Path]:
    with fast_folder() as path:
        yield path


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_an_encoding_killed_at_any_step_is_taken_up(folder: Path) -> None:
    template = made(folder / "template", 6, 3)
    shutil.copytree(template, folder / "whole")
    add_dense(folder / "whole", ToyDense())
    wanted, before = files(folder / "whole"), files(template)
    step, alive, most, taken = 0, True, 0, list[int]()
    while alive:
        path = folder / "i"
        shutil.copytree(template, path)
        alive = killed_at(step, partial(add_dense, path, ToyDense()))
        if Index.open(path).legs == ("sparse",):
            now = files(path)
            assert {key: now[key] for key in before} == before
            taken.append(add_dense(path, ToyDense()).n_taken_up)
        else:  # killed after the commit: the next writer tidies up
            Index.open(path).transaction().rollback()
        assert files(path) == wanted and not (path / WORK).exists()
        assert check_folder(path).notes == []
        shutil.rmtree(path)
        step += 1
        most = max([most, *taken])
    assert step > 40 and most == 9 and taken == sorted(taken)
