"""Rejects: the one policy for bad input, stop or skip."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from lsr.errors import ConfigError, DataError, StorageError

if TYPE_CHECKING:
    from io import TextIOWrapper

OnError = Literal["stop", "skip"]

#: Characters of a rejected line that the file of rejects keeps.
RAW_LIMIT = 2000


class Rejects:
    """What becomes of a bad record: an error that stops the work, or a line in a file.

    With "stop", `reject` raises DataError. With "skip" it counts, and appends one JSON line
    `{"source", "line", "reason", "raw"}` to `path` when there is one. An older file at `path` is
    replaced, unless `append` is true (a resumed build). Close it, or use it in a `with`.

    >>> with Rejects("skip") as rejects:
    ...     rejects.reject("docs.jsonl", 3, "empty text", "{}")
    >>> rejects.count
    1
    """

    def __init__(
        self, on_error: OnError = "stop", path: Path | None = None, *, append: bool = False
    ) -> None:
        if on_error not in ("stop", "skip"):
            raise ConfigError(f"on_error is {on_error!r}; it must be 'stop' or 'skip'")
        self.on_error: OnError = on_error
        self.path = path
        self.count = 0
        self._file: TextIOWrapper | None = None
        if path is not None and on_error == "skip" and not append:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise StorageError(f"{path}: cannot be replaced: {error.strerror}") from error

    def reject(self, source: str, line: int, reason: str, raw: str | bytes = "") -> None:
        """Raise DataError "SOURCE:LINE: REASON", or count and write the record down.

        Bytes of `raw` that are not UTF-8 are shown as `\\xNN`; only its first 2,000 characters
        are kept.
        """
        if self.on_error == "stop":
            raise DataError(
                f"{source}:{line}: {reason}",
                hint="mend that record, or pass over such records with --on-error skip",
            )
        self.count += 1
        if self.path is not None:
            self._write(
                {"source": source, "line": line, "reason": _shown(reason), "raw": _shown(raw)}
            )

    def close(self) -> None:
        """Close the file; `count` stays."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Rejects:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _write(self, entry: dict[str, str | int]) -> None:
        if self.path is None:
            return
        try:
            if self._file is None:
                self._file = self.path.open("a", encoding="utf-8", buffering=1)
            self._file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        except OSError as error:
            raise StorageError(
                f"{self.path}: rejected records cannot be written: {error.strerror}"
            ) from error


def _shown(raw: str | bytes) -> str:
    if isinstance(raw, bytes):
        # Cut before decoding, so that a huge line is never decoded whole.
        text = raw[: 4 * RAW_LIMIT].decode("utf-8", "backslashreplace")
    else:
        text = raw[:RAW_LIMIT].encode("utf-8", "backslashreplace").decode("utf-8")
    return text if len(text) <= RAW_LIMIT else text[:RAW_LIMIT] + "…"
