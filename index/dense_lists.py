"""Lists of a dense part: an inverted file of product-quantised vectors (IVF-PQ, by faiss)."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import numpy.typing as npt

#: The name of the file that holds the lists, as faiss serialises them.
LISTS = "lists"

Vectors = npt.NDArray[np.float32]

#: Numbers of a vector that share one byte, and points to learn from for each list.
_PER_BYTE, _POINTS = 4, 64
_CHUNK = 16_384


def build_lists(
    read: Callable[[int, int], Vectors], n_rows: int, dim: int
) -> npt.NDArray[np.uint8]:
    """Return the serialised lists of `n_rows` vectors, which `read(start, stop)` gives.

    About 4 sqrt(n) lists; a vector takes dim / 4 bytes and 8 for its row. The centroids are
    learned from rows taken at even distances, with a fixed seed: same vectors, same bytes.
    """
    import faiss

    n_lists = max(1, min(round(4 * math.sqrt(n_rows)), n_rows // 40))
    n_codes = max(part for part in range(1, max(2, dim // _PER_BYTE + 1)) if dim % part == 0)
    index = faiss.IndexIVFPQ(
        faiss.IndexFlatIP(dim), dim, n_lists, n_codes, 8, faiss.METRIC_INNER_PRODUCT
    )
    index.cp.seed = 1
    index.cp.max_points_per_centroid = _POINTS
    index.train(_sample(read, n_rows, min(n_rows, max(_POINTS * n_lists, 65_536))))
    for start in range(0, n_rows, _CHUNK):
        index.add(read(start, min(start + _CHUNK, n_rows)))
    found: npt.NDArray[np.uint8] = faiss.serialize_index(index)
    return found


def _sample(read: Callable[[int, int], Vectors], n_rows: int, count: int) -> Vectors:
    rows = np.linspace(0, n_rows - 1, count).astype(np.int64)
    taken = []
    for start in range(0, n_rows, _CHUNK):
        mine = rows[(rows >= start) & (rows < start + _CHUNK)] - start
        taken.append(read(start, min(start + _CHUNK, n_rows))[mine])
    return np.concatenate(taken)


class DenseLists:
    """The lists of one part, loaded into memory when they are first searched."""

    def __init__(self, stored: npt.NDArray[np.uint8]) -> None:
        self._stored = stored
        self._lock = threading.Lock()
        self._index: Any = None

    @property
    def n_rows(self) -> int:
        """The number of vectors in the lists."""
        return int(self._load().ntotal)

    def search(
        self, query: Vectors, count: int, share: float, rows: npt.NDArray[np.bool_] | None
    ) -> npt.NDArray[np.int64]:
        """Return about `count` rows that are likely the best for a query (dim,), in no order.

        `share` of the lists is looked into; of `rows`, bool, only those that are True come back.
        """
        import faiss

        index, library = self._load(), cast(Any, faiss)  # its stubs know not its Python side
        probes = max(1, math.ceil(share * index.nlist))
        # faiss keeps pointers only, so the bits and the selector live as long as the search.
        bits = None if rows is None else np.packbits(rows, bitorder="little")
        selector = None if bits is None else library.IDSelectorBitmap(bits)
        options = library.SearchParametersIVF(nprobe=probes, sel=selector)
        found = index.search(query[None], count, params=options)[1][0]
        return np.unique(found[found >= 0]).astype(np.int64)

    def _load(self) -> Any:
        with self._lock:
            if self._index is None:
                import faiss

                self._index = faiss.deserialize_index(np.array(self._stored))
            return self._index
