"""Saturation: weights of a row that are counts, and count less the longer the row is (BM25)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .windows import frozen


class Saturation(NamedTuple):
    """What makes a count c of a row a weight: c / (c + least + slope * length of the row).

    `lengths` float32 (n_rows,); `constants` float32 (3,) are least, slope and slack: how many
    times as large as in the postings, which were made for other constants, a weight may be.
    """

    lengths: npt.NDArray[np.float32]
    constants: npt.NDArray[np.float32]


#: For rows whose weights count as they are.
NONE = Saturation(frozen(np.zeros(0, np.float32)), frozen(np.array([0, 0, 1], np.float32)))
