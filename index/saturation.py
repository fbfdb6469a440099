"""Saturation: weights of a row that are counts, and count less the longer the row is (BM25)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .windows import frozen


class Saturation(NamedTuple):
    """What makes a count c of a row a weight: c / (c + least + slope * length of the row).

    `lengths` float32 (n_rows,); `constants` float32 (4,) are least, slope, slack (how many times as
    large as in the postings, which were made for other constants, a weight may be) and skip: how
    much the postings that a search leaves out may add, as a share of the k-th score.
    """

    lengths: npt.NDArray[np.float32]
    constants: npt.NDArray[np.float32]


#: How much that is, where weights count as they are and where they saturate; measured.
SKIP, SKIP_COUNTS = 0.3, 0.15

#: For rows whose weights count as they are.
NONE = Saturation(frozen(np.zeros(0, np.float32)), frozen(np.array([0, 0, 1, SKIP], np.float32)))
