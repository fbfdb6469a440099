"""The compiled kernels: arrays and scalars in, arrays filled; no object, no file, no string."""

from .accumulate import accumulate
from .best_first import best_first
from .gathering import gather
from .inversion import invert
from .scoring import is_sound, score_rows
from .shortlist import shortlist
from .topk import best_rows

__all__ = [
    "accumulate",
    "best_first",
    "best_rows",
    "gather",
    "invert",
    "is_sound",
    "score_rows",
    "shortlist",
]
