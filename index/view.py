"""View: one commit as a reader sees it, with the filters already worked out for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lsr.types import Document

from .calibration import SETTING, Calibration, have_blocks
from .legs import Leg, LegSearcher, leg_settings
from .planner import choose
from .store import LiveSegment, Snapshot

if TYPE_CHECKING:
    from .filters import Filter

_MASKS_KEPT = 32


class View:
    """A snapshot and what depends on it alone; an Index holds one and swaps it whole.

    A search that began on a view ends on it, whatever commits or refreshes meanwhile.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        stored = snapshot.manifest.settings.get(SETTING)
        self.calibration = None if stored is None else Calibration.from_json(stored)
        self.has_blocks = have_blocks(snapshot.segments)
        # What was chosen is remembered: most searches ask for the same as the one before.
        self.choose = lru_cache(partial(choose, self.calibration, blocks=self.has_blocks))
        self.legs = tuple(leg_settings(snapshot.manifest.settings))
        self._searchers: dict[str, LegSearcher] = {}
        self._guard = Lock()
        self._masks: dict[Filter, list[npt.NDArray[np.bool_]]] = {}

    def searcher(self, name: str, legs: Callable[[], Mapping[str, Leg]]) -> LegSearcher:
        """Return what searches a leg of this commit, made when first asked for."""
        found = self._searchers.get(name)
        if found is None:
            with self._guard:
                found = self._searchers.get(name)
                if found is None:
                    found = legs()[name].searcher(self.snapshot.segments)
                    self._searchers[name] = found
        return found

    def __len__(self) -> int:
        return sum(live.n_live for live in self.snapshot.segments)

    def __iter__(self) -> Iterator[Document]:
        for live in self.snapshot.segments:
            for ordinal in range(live.segment.n_documents):
                if live.deleted is None or not live.deleted[ordinal]:
                    yield live.segment.document(ordinal)

    def locate(self, document_id: str) -> tuple[LiveSegment, int] | None:
        """Return where the live document with this id is: its segment and its ordinal there."""
        for live in self.snapshot.segments:
            ordinal = int(live.segment.find([document_id])[0])
            if ordinal >= 0 and (live.deleted is None or not live.deleted[ordinal]):
                return live, ordinal
        return None

    def allowed(
        self, filter: str | Mapping[str, object] | Filter | None
    ) -> list[npt.NDArray[np.bool_]] | None:
        """Return for each segment which documents pass the filter; None when there is none.

        The last few filters are remembered, since pages and batches ask with the same one.
        """
        if filter is None:
            return None
        from .filters import bind, parse_filter  # Arrow's functions take a tenth of a second

        parsed = parse_filter(filter) if isinstance(filter, str | Mapping) else filter
        found = self._masks.get(parsed)
        if found is None:
            bound = bind(parsed, self.snapshot.manifest.fields)
            found = [bound.mask(live.segment.table) for live in self.snapshot.segments]
            if len(self._masks) >= _MASKS_KEPT:
                self._masks.pop(next(iter(self._masks)), None)
            self._masks[parsed] = found
        return found
