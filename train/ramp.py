"""How the weight of a regulariser grows."""

from __future__ import annotations


def ramp(step: int, steps: float) -> float:
    """Return the share of its weight that a regulariser has: min(step / steps, 1) squared.

    `step` is the number of updates that the optimiser has made, so that the ramp goes on where
    it was when training resumes. (SPLADE v2, arXiv:2109.10086.)

    >>> ramp(5, 10), ramp(10, 10), ramp(0, 0)
    (0.25, 1.0, 1.0)
    """
    if step >= steps:
        return 1.0
    return (step / steps) ** 2
