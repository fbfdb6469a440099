"""The kernel that gathers strings from all over a segment."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .jit import kernel, prefetch
from .tables import bytes_at, numbers_at


@kernel
def gather(
    batches: npt.NDArray[np.int64],
    starts: npt.NDArray[np.int64],
    ordinals: npt.NDArray[np.int64],
    places: npt.NDArray[np.int64],
    out: npt.NDArray[np.uint8],
) -> Any:
    """Copy strings one after another into `out`, a zero byte after each.

    batches int64 (3 * n,): the addresses of each batch's offsets (int32) and of its bytes, and
    how many bytes these are.
    starts int64 (n + 1,): the first ordinal of each batch, and the end. ordinals int64 (m,), below
    the end. places int64 (2 * m,): for work. The answer is how many bytes were written; or, with
    nothing to be used, how many were needed, as a negative number; or 0 when a string has a zero
    byte in it, or lies outside of its batch.
    """
    count = ordinals.shape[0]
    for number in range(count):
        batch = np.searchsorted(starts, ordinals[number], side="right") - 1
        places[2 * number] = batch
        places[2 * number + 1] = ordinals[number] - starts[batch]
        prefetch(numbers_at(batches[3 * batch]), places[2 * number + 1])
    needed = np.int64(0)
    for number in range(count):
        batch, row = places[2 * number], places[2 * number + 1]
        offsets = numbers_at(batches[3 * batch])
        start, stop = np.int64(offsets[row]), np.int64(offsets[row + 1])
        if not 0 <= start <= stop <= batches[3 * batch + 2]:
            return np.int64(0)
        places[2 * number] = batches[3 * batch + 1] + start
        places[2 * number + 1] = stop - start
        prefetch(bytes_at(places[2 * number]), 0)
        needed += stop - start + 1
    if needed > out.shape[0]:
        return -needed
    at = np.int64(0)
    for number in range(count):
        data = bytes_at(places[2 * number])
        for byte in range(places[2 * number + 1]):
            value = data[byte]
            if value == 0:
                return np.int64(0)
            out[at] = value
            at += 1
        out[at] = 0
        at += 1
    return at
