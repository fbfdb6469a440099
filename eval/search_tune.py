"""Which settings of an engine deserve to be measured with care: all are tried on a sample first."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .search_curves import Point, contenders, latency_at
from .search_engines import Build, Engine, Setting

#: How often the promising settings are tried; the fastest time of each query counts.
PASSES = 3
_LEVELS = (0.90, 0.95, 0.97, 0.98, 0.99)
#: Settings kept for each statistic.
_KEPT = 12
#: Times the front: beyond that, a setting is not tried a second time.
_HOPELESS = 1.6
#: An engine can be best at the median by one setting and in the tail by another.
_STATISTICS: tuple[Literal["p50", "p90"], ...] = ("p50", "p90")


@dataclass(slots=True, eq=False)
class Subject:
    """One index of one engine."""

    name: str
    engine: Engine
    build: Build
    folder: Path
    figures: dict[str, Any] = field(default_factory=dict)
    kept: dict[int, list[Setting]] = field(default_factory=dict)
    #: Megabytes of its process just before the index was opened.
    opened_at: float = 0.0

    @property
    def memory(self) -> float:
        """A guess at its megabytes once open: its files, and what Python and libraries take."""
        return 250 + 1.3 * float(self.figures.get("bytes", 0)) / 1e6


@dataclass(slots=True, eq=False)
class Tried:
    """A setting of an index and how it did on the sample, in microseconds of CPU time."""

    subject: Subject
    setting: Setting
    recall: float = 0.0
    p50: float = 0.0
    p90: float = 0.0
    cpu: npt.NDArray[np.float64] | None = None

    def take(self, answer: Mapping[str, Any]) -> None:
        """Count one more pass: noise only ever adds time, so the least of each query stays."""
        now = np.array(answer["cpu"])
        self.cpu = now if self.cpu is None else np.minimum(self.cpu, now)
        self.recall = float(np.mean(answer["recall"]))
        self.p50, self.p90 = np.percentile(self.cpu, (50, 90)).tolist()


def worth_another_look(places: Sequence[Tried]) -> list[Tried]:
    """Return the settings that more passes could bring to the front."""
    kept: dict[int, Tried] = {}
    tried = [one for one in places if one.cpu is not None]
    for statistic in _STATISTICS:
        points = _points(tried, statistic)
        for point in points:
            best = latency_at(points, point.recall)
            if best is not None and point.latency <= _HOPELESS * best:
                kept[point.at] = tried[point.at]
    return [kept[at] for at in sorted(kept)]


def chosen(places: Sequence[Tried], *, keep_all: bool) -> list[int]:
    """Return which settings to measure: those near the front, and the fastest exact one."""
    if keep_all:
        return list(range(len(places)))
    kept: set[int] = set()
    for statistic in _STATISTICS:
        kept |= {point.at for point in contenders(_points(places, statistic), _LEVELS, most=_KEPT)}
    exact = [at for at, one in enumerate(places) if one.setting.exact]
    if exact:
        kept.add(min(exact, key=lambda at: places[at].p50))
    return sorted(kept)


def _points(places: Sequence[Tried], statistic: Literal["p50", "p90"]) -> list[Point]:
    return [Point(one.recall, float(getattr(one, statistic)), at) for at, one in enumerate(places)]


def note(places: Sequence[Tried], k: int, queries: int) -> None:
    """Leave in the folder of each index how its settings did, for the next run."""
    for folder in {one.subject.folder for one in places}:
        found = [
            {"options": one.setting.options, "recall": one.recall, "p50": one.p50, "p90": one.p90}
            for one in places
            if one.subject.folder == folder
        ]
        text = json.dumps({"queries": queries, "found": found}, indent=1)
        _path(folder, k).write_text(text, "utf-8")


def remember(places: Sequence[Tried], k: int, queries: int) -> bool:
    """Fill in what earlier runs noted; return whether they noted the same settings, all of them."""
    for folder in {one.subject.folder for one in places}:
        mine = [one for one in places if one.subject.folder == folder]
        if not _path(folder, k).is_file():
            return False
        told = json.loads(_path(folder, k).read_text("utf-8"))
        asked = [dict(one.setting.options) for one in mine]
        if told["queries"] != queries or [one["options"] for one in told["found"]] != asked:
            return False
        for one, found in zip(mine, told["found"], strict=True):
            one.recall, one.p50, one.p90 = found["recall"], found["p50"], found["p90"]
    return True


def _path(folder: Path, k: int) -> Path:
    return folder / f"swept-{k}.json"
