"""Document ids: their hash tables on disk and in an open segment, looked up in bulk."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_64_intdigest

Hashes = npt.NDArray[np.uint64]
Ordinals = npt.NDArray[np.uint32]


def hash_id(document_id: str) -> int:
    """Return the XXH3-64 of an id's UTF-8 bytes; half surrogates hash too, and match nothing.

    >>> hash_id("d1") == hash_id("d1"), hash_id("d1") == hash_id("d2")
    (True, False)
    """
    return xxh3_64_intdigest(document_id.encode("utf-8", "surrogatepass"))


def hash_ids(ids: Sequence[str]) -> Hashes:
    """Return the hash of each id.

    >>> hash_ids(["d1", "d2"]).dtype.name
    'uint64'
    """
    return np.fromiter(map(hash_id, ids), np.uint64, len(ids))


def build_table(hashes: Hashes) -> tuple[Hashes, Ordinals]:
    """Return the hashes of ordinals 0, 1, … ascending, and the ordinal of each.

    >>> [part.tolist() for part in build_table(np.array([7, 3], np.uint64))]
    [[3, 7], [1, 0]]
    """
    # Stable, so that equal hashes come in order of ordinal and the bytes are always the same.
    order = np.argsort(hashes, kind="stable")
    return hashes[order], order.astype(np.uint32)


def find_in_table(
    table: Hashes,
    ordinals: Ordinals,
    hashes: Hashes,
    matches: Callable[[npt.NDArray[np.int64], npt.NDArray[np.int64]], npt.NDArray[np.bool_]],
) -> npt.NDArray[np.int64]:
    """Return the ordinal of each wanted hash, -1 where there is none.

    `table` ascends. `matches(wanted, found)` says for pairs of a position in `hashes` and an
    ordinal with the same hash whether the ids are the same, too.
    """
    found = np.full(len(hashes), -1, np.int64)
    if not len(table) or not len(hashes):
        return found
    at = np.searchsorted(table, hashes)
    wanted = np.arange(len(hashes))
    while len(wanted):
        inside = at < len(table)
        wanted, at = wanted[inside], at[inside]
        equal = table[at] == hashes[wanted]
        wanted, at = wanted[equal], at[equal]
        if not len(wanted):
            break
        same = matches(wanted, ordinals[at].astype(np.int64))
        found[wanted[same]] = ordinals[at[same]]
        # The rest share a hash with another id; theirs may be the next entry.
        wanted, at = wanted[~same], at[~same] + 1
    return found


class GrowingIds:
    """The ids of a segment being written, about 35 bytes each beside the ids themselves.

    Hashes are kept in a few sorted runs, merged as they grow, so that lookups stay in numpy.
    """

    def __init__(self) -> None:
        self._text = bytearray()
        self._bounds = np.zeros(1024, np.int64)
        self._count = 0
        self._runs: list[tuple[Hashes, Ordinals]] = []

    def __len__(self) -> int:
        return self._count

    def append(self, ids: Sequence[str], hashes: Hashes) -> None:
        """Add ids that are not there yet; they get the next ordinals."""
        encoded = [document_id.encode() for document_id in ids]
        need = self._count + len(ids) + 1
        if need > len(self._bounds):
            self._bounds = np.resize(self._bounds, max(need, len(self._bounds) * 3 // 2))
        lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
        self._bounds[self._count + 1 : need] = len(self._text) + np.cumsum(lengths)
        self._text += b"".join(encoded)
        order = np.argsort(hashes, kind="stable")
        self._runs.append((hashes[order], (order + self._count).astype(np.uint32)))
        self._count += len(ids)
        while len(self._runs) > 1 and len(self._runs[-2][0]) < 2 * len(self._runs[-1][0]):
            self._runs.append(_merged(self._runs.pop(-2), self._runs.pop()))

    def find(self, ids: Sequence[str], hashes: Hashes) -> npt.NDArray[np.int64]:
        """Return the ordinal of each id, -1 where it is not there."""

        def matches(
            wanted: npt.NDArray[np.int64], found: npt.NDArray[np.int64]
        ) -> npt.NDArray[np.bool_]:
            pairs = zip(wanted.tolist(), found.tolist(), strict=True)
            return np.array([ids[w] == self._id(f) for w, f in pairs], np.bool_)

        answer = np.full(len(ids), -1, np.int64)
        for table, ordinals in self._runs:
            answer = np.maximum(answer, find_in_table(table, ordinals, hashes, matches))
        return answer

    def table(self) -> tuple[Hashes, Ordinals]:
        """Return the hash table as `build_table` would make it."""
        while len(self._runs) > 1:
            self._runs.append(_merged(self._runs.pop(-2), self._runs.pop()))
        return self._runs[0] if self._runs else build_table(np.empty(0, np.uint64))

    def ranks(self) -> Ordinals:
        """Return the rank of each id among all, in the order of their UTF-8 bytes."""
        import pyarrow as pa
        import pyarrow.compute as pc

        buffers = [
            None,
            pa.py_buffer(self._bounds[: self._count + 1].data),
            pa.py_buffer(self._text),
        ]
        ids = pa.LargeBinaryArray.from_buffers(pa.large_binary(), self._count, buffers)
        order = pc.array_sort_indices(ids).to_numpy(zero_copy_only=False)
        ranks = np.empty(self._count, np.uint32)
        ranks[order] = np.arange(self._count, dtype=np.uint32)
        return ranks

    def _id(self, ordinal: int) -> str:
        return self._text[self._bounds[ordinal] : self._bounds[ordinal + 1]].decode()


def _merged(
    older: tuple[Hashes, Ordinals], newer: tuple[Hashes, Ordinals]
) -> tuple[Hashes, Ordinals]:
    # A stable sort keeps the older, smaller ordinals first among equal hashes.
    hashes = np.concatenate([older[0], newer[0]])
    order = np.argsort(hashes, kind="stable")
    return hashes[order], np.concatenate([older[1], newer[1]])[order]
