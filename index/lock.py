"""The writer's lock: one process, and in it one transaction, writes to an index at a time."""

from __future__ import annotations

import os
from pathlib import Path

from filelock import FileLock, Timeout

from lsr.errors import LockedError, StorageError

from . import disk

LOCK = "lock"
#: Beside the lock, so that whoever finds it taken can say by whom. The lock itself is the
#: operating system's and goes with its process, so a killed writer leaves nothing to clear.
HOLDER = "lock.pid"


class WriterLock:
    """The lock of an index folder, held from `acquire` to `release` or the process's end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = FileLock(str(folder / LOCK), thread_local=False)

    def acquire(self) -> None:
        """Take the lock at once, or raise LockedError that names the process that has it."""
        try:
            with disk.reported(self._folder / LOCK, "lock"):
                # Timeout is an OSError, too; it is no fault of the file system.
                try:
                    self._lock.acquire(timeout=0)
                except Timeout:
                    raise self._taken() from None
            disk.overwrite(self._folder / HOLDER, f"{os.getpid()}\n".encode())
        except BaseException:
            self._lock.release()
            raise

    def release(self) -> None:
        """Give the lock back. May be called more than once."""
        self._lock.release()

    def _taken(self) -> LockedError:
        try:
            holder = disk.read_bytes(self._folder / HOLDER).decode("ascii", "replace").strip()
        except (FileNotFoundError, StorageError):
            holder = ""
        who = f"process {holder}" if holder.isdigit() else "another process"
        if holder == str(os.getpid()):
            who = f"this process ({holder})"
        return LockedError(
            f"{self._folder} is being written by {who}",
            hint="wait until it has committed, or stop it, then try again",
        )
