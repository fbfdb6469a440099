from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from lsr.corpus_bytes import Broken, CountedFile, lines, opened
from lsr.errors import DataError

COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


def read(data: bytes, name: str = "", limit: int = 2**20) -> list[tuple[int, bytes | Broken]]:
    return list(lines(CountedFile(io.BytesIO(data)), name, limit=limit))


@given(st.binary(max_size=300))
def test_lines_are_what_splitting_at_line_feeds_gives(data: bytes) -> None:
    data = data.lstrip(b"\x1f\x28BZ\xfd\xef")
    expected = data.split(b"\n")
    if not expected[-1]:
        expected.pop()
    assert read(data) == list(enumerate(expected, start=1))


def test_a_byte_order_mark_is_dropped_at_the_start_only() -> None:
    assert read(b"\xef\xbb\xbfa\n\xef\xbb\xbfb") == [(1, b"a"), (2, b"\xef\xbb\xbfb")]


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_compression_is_told_by_the_first_bytes(suffix: str) -> None:
    data = b"\n".join(b"line %d" % number for number in range(20_000))
    found = read(COMPRESSORS[suffix](data), "whatever.txt")
    assert [line for _, line in found] == data.split(b"\n")


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_members_one_after_another_are_read_as_one_file(suffix: str) -> None:
    compress = COMPRESSORS[suffix]
    assert read(compress(b"a\nb") + compress(b"c\nd\n")) == [(1, b"a"), (2, b"bc"), (3, b"d")]


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_a_file_that_is_cut_off_gives_its_lines_and_says_where_they_end(suffix: str) -> None:
    rows = [b"%d %d" % (number, random.Random(number).getrandbits(900)) for number in range(4000)]
    data = COMPRESSORS[suffix](b"\n".join(rows) + b"\n")
    found = read(data[: len(data) * 2 // 3], "docs" + suffix)
    last, broken = found.pop()
    assert isinstance(broken, Broken)
    assert "cut off" in broken.reason
    assert f"what could be read ends at line {last - 1}" in broken.reason
    assert [line for _, line in found] == rows[: last - 1]
    assert suffix == ".bz2" or last > 1000


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".xz"])
def test_damaged_data_are_told_from_a_file_that_is_cut_off(suffix: str) -> None:
    data = bytearray(COMPRESSORS[suffix](bytes(range(256)) * 4000))
    for at in range(len(data) // 2, len(data) // 2 + 40):
        data[at] ^= 0x5A
    broken = read(bytes(data))[-1][1]
    assert isinstance(broken, Broken)
    assert "damaged" in broken.reason or "cut off" in broken.reason


def test_an_empty_file_with_the_name_of_a_compressed_one_is_broken() -> None:
    [(number, broken)] = read(b"", "docs.jsonl.gz")
    assert number == 1
    assert isinstance(broken, Broken)
    assert "empty" in broken.reason
    assert read(b"", "docs.jsonl") == []


@pytest.mark.parametrize("length", [11, 3000, 2_000_000])
def test_a_line_above_the_limit_is_passed_over_and_the_next_one_read(length: int) -> None:
    found = read(b"a\n" + b"x" * length + b"\nb\n", limit=10)
    assert found[0] == (1, b"a")
    assert found[2] == (3, b"b")
    broken = found[1][1]
    assert isinstance(broken, Broken)
    assert broken.reason == f"the line has {length:,} bytes; at most 10 are read"
    assert 0 < len(broken.raw) <= 8000


def test_a_huge_line_is_never_held_whole() -> None:
    data = gzip.compress(b"x" * 60_000_000 + b"\nlast\n", 1)
    tracemalloc.start()
    found = read(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found[1] == (2, b"last")
    assert peak < 5_000_000


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "big.gz"
    with gzip.open(path, "wb", 1) as out:
        for _ in range(40):
            out.write((b"y" * 999 + b"\n") * 1000)
    tracemalloc.start()
    with opened(path) as file:
        count = sum(1 for _ in lines(file, path.name))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (count, file.taken) == (40_000, path.stat().st_size)
    assert peak < 4_000_000


def test_a_file_that_cannot_be_opened_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"), opened(tmp_path / "none"):
        pass
