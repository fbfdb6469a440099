"""SearchKnobs: how much work a search may leave undone, for experts."""

from __future__ import annotations

from dataclasses import dataclass

from lsr.errors import ConfigError


@dataclass(frozen=True, slots=True)
class SearchKnobs:
    """How a search of the accumulating kind saves work; the defaults are rank-safe.

    `skip`: how much of the k-th best score the postings left out may add up to. More: fewer
    postings are read, more documents scored. `credit`: the part of that which a document is
    given when it is decided whether to score it in full. 1: none of the k best is missed. Less:
    fewer documents are scored, and some of the best may be missed. Their product stays below 1.

    >>> SearchKnobs().exact, SearchKnobs(skip=0.8, credit=0.5).exact
    (True, False)
    """

    skip: float = 0.25
    credit: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.skip <= 4:
            raise ConfigError(f"skip is {self.skip}; it must be from 0 to 4")
        if not 0 <= self.credit <= 1:
            raise ConfigError(f"credit is {self.credit}; it must be from 0 to 1")
        if self.skip * self.credit > 0.75:
            raise ConfigError(
                f"skip {self.skip} times credit {self.credit} is {self.skip * self.credit:.2f}; "
                "it must be at most 0.75"
            )

    @property
    def exact(self) -> bool:
        """Whether the k best are found for certain."""
        return self.credit >= 1


EXACT = SearchKnobs()
