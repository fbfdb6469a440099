"""The dense leg, fusions and feedback as systems: one row of a report for each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .systems import Footprint, Lists, Ranking

if TYPE_CHECKING:
    from lsr.index.feedback import Feedback, When
    from lsr.index.fusion import Fusion, Method
    from lsr.index.index import Index

DENSE, HYBRID = "dense", "hybrid"


class LegsSystem:
    """An index searched in one mode, with a fusion and feedback where they are given.

    Each row is a family of its own: it is what the legs and their fusion make of a query, and the
    loss of a leg's approximate search is told by that leg's own rows.
    """

    is_exact = True

    def __init__(
        self,
        index: Index,
        mode: str,
        *,
        fusion: Fusion | None = None,
        feedback: Feedback | None = None,
    ) -> None:
        self.index = index
        self._mode, self._fusion, self._feedback = mode, fusion, feedback
        method = "" if fusion is None else f" {fusion.to_json()['method']}"
        when = "" if feedback is None else " + feedback"
        if feedback is not None and mode == HYBRID:
            when = f" + feedback {feedback.when}"
        self.name = self.family = f"{mode}{method}{when}"
        self.title = self._title()
        self.settings: dict[str, object] = {"mode": mode}
        if fusion is not None:
            self.settings["fusion"] = fusion.to_json()
        if feedback is not None:
            self.settings["feedback"] = feedback.to_json()
        if mode != HYBRID:
            self.settings |= index.settings.legs.get(mode, {})

    def search(self, query: str, k: int) -> Ranking:
        """Return the k best documents for one text; its encoding is part of the time."""
        started = time.perf_counter()
        result = self.index.search(
            query,
            k=k,
            mode=self._mode,
            fusion=self._fusion,
            feedback=self._feedback or False,
            depth=self._depth(k),
        )
        return Ranking(result.ids, result.scores, time.perf_counter() - started)

    def search_many(self, queries: Sequence[str], k: int, threads: int) -> list[Ranking]:
        """Return the k best documents for each text, in order."""
        found = self.index.search_batch(
            list(queries),
            k=k,
            mode=self._mode,
            fusion=self._fusion,
            feedback=self._feedback or False,
            depth=self._depth(k),
            threads=threads,
        )
        return [Ranking(one.ids, one.scores) for one in found]

    def footprint(self) -> Footprint:
        """Return what the leg takes, or all legs for a fusion of them."""
        info = self.index.info()
        if self._mode == HYBRID:
            return Footprint(info.bytes, info.n_documents)
        if self._mode in info.legs and "bytes" in info.legs[self._mode]:
            return Footprint(info.legs[self._mode]["bytes"], info.n_documents)
        return Footprint(None, info.n_documents)

    def lists(self, queries: Sequence[str]) -> Lists | None:
        """Return nothing: the legs with lists have rows of their own."""
        return None

    def _depth(self, k: int) -> int | None:
        from lsr.index.hybrid import DEPTH

        return max(k, DEPTH) if self._mode == HYBRID else None

    def _title(self) -> str:
        legs = ", ".join(self.index.legs) if self._mode == HYBRID else self._mode
        title = f"{legs} fused" if self._mode == HYBRID else f"the leg {legs}"
        if self._feedback is None:
            return title
        chosen = self._feedback.chosen(list(self.index.legs) if self._mode == HYBRID else [legs])
        return f"{title}, feedback on {', '.join(chosen)}"


def hybrid_rows(
    legs: Sequence[str], fusions: Sequence[Method], feedback: Sequence[When], families: set[str]
) -> list[tuple[str, Fusion | None, Feedback | None]]:
    """Return mode, fusion and feedback of each row that is asked for.

    Feedback comes on each leg alone, and, for each time of fusion, on the first fusion.
    """
    from lsr.index.feedback import Feedback
    from lsr.index.fusion import Fusion

    rows: list[tuple[str, Fusion | None, Feedback | None]] = []
    if DENSE in families and DENSE in legs:
        rows.append((DENSE, None, None))
    for leg in legs if feedback else ():
        if leg in families:
            rows.append((leg, None, Feedback()))
    if HYBRID in families and len(legs) > 1:
        rows += [(HYBRID, Fusion(method), None) for method in fusions]
        rows += [(HYBRID, Fusion(fusions[0]), Feedback(when=when)) for when in feedback]
    return rows
