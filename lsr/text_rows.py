"""Lines of white-space separated columns: runs and judgements, plain or compressed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lsr.corpus_bytes import Broken, lines, opened
from lsr.errors import DataError


def rows(path: Path, kind: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number from 1, columns) of each line that is not blank.

    gzip, zstd, bzip2 and xz are told by their first bytes; a mark of byte order and carriage
    returns are dropped. Columns are cut at tabs where a line has two or more, at white space
    otherwise. `kind` names the file in errors. Raises DataError with the line that cannot be read.
    """
    if not path.is_file():
        raise DataError(f"{path}: there is no such {kind} file")
    with opened(path) as file:
        for number, line in lines(file, path.name):
            if isinstance(line, Broken):
                raise DataError(f"{path}:{number}: {line.reason}")
            try:
                text = line.decode("utf-8").strip()
            except UnicodeDecodeError as error:
                found = f"byte {error.start} of the line is 0x{line[error.start]:02x}"
                raise DataError(f"{path}:{number}: invalid UTF-8: {found}") from error
            if text:
                by_tabs = text.count("\t") >= 2
                yield number, [c.strip() for c in text.split("\t")] if by_tabs else text.split()
