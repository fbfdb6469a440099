"""Places: a document of a snapshot as one number, and documents in the order of their scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from .store import LiveSegment

Ints = npt.NDArray[np.int64]

#: From keys to what orders them when their scores are equal (their ids).
Names = Callable[[Ints], Sequence[Any]]

_BITS = 32


def to_keys(segments: npt.ArrayLike, documents: npt.ArrayLike) -> Ints:
    """Return a number for each place: the segment in the snapshot, the document in the segment.

    >>> to_places(to_keys([0, 2], [5, 7]))[1].tolist()
    [5, 7]
    """
    return (np.asarray(segments, np.int64) << _BITS) | np.asarray(documents, np.int64)


def to_places(keys: Ints) -> tuple[Ints, Ints]:
    """Return the segment and the document of each key."""
    return keys >> _BITS, keys & ((1 << _BITS) - 1)


def names_in(segments: Sequence[LiveSegment]) -> Names:
    """Return the function that gives the ids of keys in these segments, as UTF-8."""

    def names(keys: Ints) -> list[bytes]:
        owners, documents = to_places(keys)
        found = [b""] * len(keys)
        for number in np.unique(owners).tolist():
            mine = np.flatnonzero(owners == number)
            ids = segments[number].segment.ids(documents[mine])
            for at, name in zip(mine.tolist(), ids, strict=True):
                found[at] = name.encode()
        return found

    return names


def best_first(keys: Ints, scores: npt.NDArray[Any], names: Names, k: int | None = None) -> Ints:
    """Return the places of the k best scores (all for None), best first; `names` orders equal ones.

    >>> best_first(np.array([4, 3]), np.array([1.0, 1.0]), lambda keys: keys.tolist()).tolist()
    [1, 0]
    """
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
    stops = np.concatenate([starts[1:], [len(order)]])
    wanted = len(order) if k is None else k
    for start, stop in zip(starts, stops, strict=True):
        if start >= wanted:
            break
        if stop - start > 1:
            run = order[start:stop]
            named = names(keys[run])
            order[start:stop] = run[sorted(range(len(run)), key=named.__getitem__)]
    return order[:wanted]
