"""Weights as integers, for formats that take nothing else, and what that loses."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.errors import ConfigError, DataError

#: What Anserini's own encodings use; weights of SPLADE, mostly between 0 and 4, become 0 to 400.
USUAL_SCALE = 100.0
_LARGEST = 2**31 - 1


class Rounding:
    """Rounds `weight * scale` to integers, and keeps count of what was lost on the way.

    Halves go to the even neighbour. A weight below 0.5 / `scale` becomes 0: its term is lost.

    >>> rounding = Rounding(100)
    >>> rounding(np.array([0.5, 1.256, 0.004], np.float32)).tolist(), rounding.zeros
    ([50, 126, 0], 1)
    """

    def __init__(self, scale: float) -> None:
        self.scale = checked_scale(scale)
        self.weights = 0
        self.zeros = 0
        self._sum = 0.0
        self._off = 0.0

    def __call__(self, weights: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Return the rounded weights; raises DataError for one that 32 bits do not hold."""
        wide = weights.astype(np.float64)
        scaled = np.rint(wide * self.scale)
        if scaled.size and scaled.max() > _LARGEST:
            raise DataError(
                f"weight {wide.max()} times {self.scale:g} does not fit 32 bits",
                hint=f"give a scale of at most {_LARGEST / float(wide.max()):.6g}",
            )
        self.weights += scaled.size
        self.zeros += int(np.count_nonzero(scaled == 0))
        self._sum += float(wide.sum())
        self._off += float(np.abs(wide - scaled / self.scale).sum())
        return scaled.astype(np.int64)

    @property
    def error(self) -> float:
        """The sum of the weights' errors as a share of the sum of the weights, so far."""
        return self._off / self._sum if self._sum else 0.0

    def summary(self) -> str:
        """Return what was done and lost, in words.

        >>> Rounding(100).summary()
        'weights x 100, rounded: 0.00% of them became 0, and their sum is off by 0.00%'
        """
        zeros = self.zeros / self.weights if self.weights else 0.0
        return (
            f"weights x {self.scale:g}, rounded: {zeros:.2%} of them became 0, "
            f"and their sum is off by {self.error:.2%}"
        )


def checked_scale(scale: float) -> float:
    """Return a scale that is a finite number above 0; anything else is a ConfigError."""
    if not (np.isfinite(scale) and scale > 0):
        raise ConfigError(f"scale is {scale}; a finite number above 0 is expected")
    return float(scale)
