"""How many documents the sources of a build hold, about, so that time left can be shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lsr.errors import LsrError

_SAMPLE = 2**20


def estimate_documents(sources: Sequence[str], format: str | None = None) -> int | None:
    """Return about how many documents the sources hold together, None where one cannot tell.

    Parquet files and ir_datasets know; of a file of lines the first megabyte is read and its
    lines for each (compressed) byte are taken to go on.
    """
    total = 0
    for source in sources:
        found = _estimate(source, format)
        if found is None:
            return None
        total += found
    return total


def _estimate(source: str, format: str | None) -> int | None:
    from lsr.corpus import count_hint, format_of, shards

    path = Path(source)
    try:
        known = count_hint(source, format=format)
        if known is not None or not path.exists():
            return known
        files = shards(path) if path.is_dir() else [(path, format or format_of(path))]
    except LsrError:
        # The build itself will meet this, and say so with the place in front of it.
        return None
    return sum(_lines(file) for file, _ in files)


def _lines(path: Path) -> int:
    from lsr.corpus_bytes import lines, opened

    size = path.stat().st_size
    count = taken = 0
    with opened(path) as file:
        for number, _ in lines(file, path.name):
            if file.taken != taken:
                # A new piece of the file was read, so every line of the pieces before it is out.
                if taken >= _SAMPLE:
                    return round(count * size / taken)
                taken = file.taken
            count = number
    return count
