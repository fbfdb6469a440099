"""Halves: weights as float16, where that holds them exactly or where an index asks for it.

Rows are scored from memory, and what is read of a row decides how long that takes: with weights of
two bytes a row takes 0.7 of the time. Rounding to float16 changes a weight by 1/2,048 of it at most
(by 2**-25 below 2**-14).
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lsr.errors import ConfigError

#: The types that an index can keep weights in, and the name of that among its settings.
Dtype = Literal["float32", "float16"]
DTYPES: tuple[Dtype, ...] = ("float32", "float16")
SETTING = "dtype"

#: The largest float16, and the smallest above 0.
LARGEST, SMALLEST = np.float32(65_504), np.float32(2.0**-24)


def checked_dtype(name: Any) -> Dtype:
    """Return the type of that name, or raise ConfigError.

    >>> checked_dtype("float16")
    'float16'
    """
    for known in DTYPES:
        if name == known:
            return known
    raise ConfigError(f"dtype is {name!r}; it can be {' or '.join(DTYPES)}")


def as_halves(weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float16] | None:
    """Return weights as float16, or None if that does not hold all of them exactly.

    >>> as_halves(np.array([0.5, 1.25], np.float32)).dtype, as_halves(np.array([0.1], np.float32))
    (dtype('float16'), None)
    """
    with np.errstate(over="ignore", under="ignore"):
        halves = weights.astype(np.float16)
    return halves if np.array_equal(halves, weights) else None


def rounded(weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the nearest float16 of each weight, above 0, as float32; all at most `LARGEST`.

    >>> rounded(np.array([0.1, 1e-9], np.float32)).tolist()
    [0.0999755859375, 5.960464477539063e-08]
    """
    with np.errstate(under="ignore"):
        nearest = np.minimum(weights, LARGEST).astype(np.float16).astype(np.float32)
    return np.maximum(nearest, SMALLEST)
