"""Checkpoints: folders that are whole or not there, the newest few of them."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from lsr.errors import StorageError
from lsr.index.disk import remove_folder, reported, sync_folder

_NAME = re.compile(r"checkpoint-(\d+)")


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, oldest first; what was not finished is none."""
    if not folder.is_dir():
        return []
    found = [(int(match[1]), path) for path in folder.iterdir() if (match := _of(path))]
    return [path for _, path in sorted(found)]


def step_of(checkpoint: Path) -> int:
    """Return the number of steps after which a checkpoint was written.

    >>> step_of(Path("run/checkpoints/checkpoint-120"))
    120
    """
    match = _of(checkpoint)
    if match is None:
        raise StorageError(f"{checkpoint} is not a checkpoint")
    return int(match[1])


def write_folder(target: Path, fill: Callable[[Path], None]) -> None:
    """Make a folder that is there, whole and durable, once this returns.

    `fill` writes into a folder beside it, which is fsynced and renamed. What was at `target` is
    replaced. When the disk is full, or anything else goes wrong, nothing is left of the new
    folder, the old one is as it was, and a StorageError says why.
    """
    partial = target.with_name(f".{target.name}.partial")
    replaced = target.with_name(f".{target.name}.old")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with reported(target, "write"):
            partial.mkdir(parents=True)
            try:
                fill(partial)
            except RuntimeError as error:  # what torch and safetensors make of a full disk
                raise _as_os_error(error) from error
            _sync(partial)
            shutil.rmtree(replaced, ignore_errors=True)
            if target.exists():
                target.rename(replaced)
            partial.rename(target)
            sync_folder(target.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        if replaced.exists() and not target.exists():
            replaced.rename(target)
        raise
    shutil.rmtree(replaced, ignore_errors=True)


def keep_newest(folder: Path, count: int) -> None:
    """Remove all checkpoints but the newest `count`, and what unfinished ones have left."""
    for path in checkpoints(folder)[:-count]:
        shutil.rmtree(path, ignore_errors=True)
        remove_folder(path)
    for path in folder.glob(".checkpoint-*"):
        shutil.rmtree(path, ignore_errors=True)


def _of(path: Path) -> re.Match[str] | None:
    return _NAME.fullmatch(path.name)


def _sync(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        else:
            sync_folder(path)
    sync_folder(folder)


def _as_os_error(error: RuntimeError) -> BaseException:
    """Return an OSError for what a library says about a full disk, else the error itself."""
    import errno

    text = str(error)
    full = "No space left" in text or "os error 28" in text
    # torch's zip writer only says that fewer bytes were written than it wanted.
    short = "unexpected pos" in text or "PytorchStreamWriter failed" in text
    if full or short:
        return OSError(errno.ENOSPC, "No space left on device")
    return error
