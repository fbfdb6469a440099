"""Steers a regulariser so that vectors get the number of terms that was asked for."""

from __future__ import annotations

import math

#: How much of the newest batch goes into the running average of terms.
_NEW = 0.1
#: By how much the logarithm of the factor moves in a step, for each factor of e that is missing.
_GAIN = 0.02
#: The factor stays within e to the power of this, either way.
_FARTHEST = 12.0


class TermsController:
    """Multiplies lambda by a factor that moves until vectors have `target` terms on average.

    The logarithm of the factor is the integral of log(terms / target): too many terms raise it,
    too few lower it. While lambda is still on its ramp it moves by the share that lambda has, so
    that the long vectors of the beginning do not wind it up.

    >>> controller = TermsController(100)
    >>> controller.update(200, share=1.0)
    >>> controller.factor > 1
    True
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.terms: float | None = None
        self.log_factor = 0.0

    @property
    def factor(self) -> float:
        """What lambda is multiplied by."""
        return math.exp(self.log_factor)

    def update(self, terms: float, *, share: float) -> None:
        """Take note of a batch whose vectors have `terms` terms; `share` is that of the ramp."""
        self.terms = terms if self.terms is None else self.terms + _NEW * (terms - self.terms)
        error = math.log(max(self.terms, 0.5) / self.target)
        moved = self.log_factor + _GAIN * share * max(-2.0, min(2.0, error))
        self.log_factor = max(-_FARTHEST, min(_FARTHEST, moved))
