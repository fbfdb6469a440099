"""What a search benchmark found out: rows of figures, from the times of single queries."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .search_curves import Point
from .search_engines import Build, Setting

Statistic = Literal["mean", "p50", "p90", "p99"]


@dataclass(frozen=True, slots=True)
class Built:
    """One index: seconds to build, save and open it; bytes on disk; megabytes of memory.

    `peak` is the largest resident size while building, `before` that of the process with its
    input ready; `peak_anonymous` and `before_anonymous` leave out views of files. `open_mb` and
    `used_mb` are what opening the index, and all queries after that, added to the resident size.
    """

    engine: str
    build: str
    version: str
    cpu: float
    wall: float
    save_cpu: float
    save_wall: float
    before: float
    before_anonymous: float
    peak: float
    peak_anonymous: float
    bytes: int
    open_cpu: float = 0.0
    open_wall: float = 0.0
    open_mb: float = 0.0
    used_mb: float = 0.0
    used_anonymous_mb: float = 0.0


@dataclass(frozen=True, slots=True)
class Measured:
    """One setting: recall, and microseconds of CPU time of a query.

    A query's time is the median of its rounds; mean and percentiles are over the queries. `low`
    and `high` are the means of the fastest and the slowest round. `stats` are means over queries
    of what the engine counts.
    """

    engine: str
    build: str
    setting: str
    options: Mapping[str, Any]
    exact: bool
    k: int
    recall: float
    mean: float
    p50: float
    p90: float
    p99: float
    low: float
    high: float
    wall_mean: float
    wall_p50: float
    stats: Mapping[str, float] = field(default_factory=dict)

    def point(self, statistic: Statistic) -> Point:
        """Return its place on the curve of a statistic."""
        return Point(self.recall, float(getattr(self, statistic)))


@dataclass(frozen=True, slots=True)
class Batch:
    """Our batch search: queries a second, median of the rounds, and the least and the most."""

    setting: str
    k: int
    threads: int
    per_second: float
    low: float
    high: float
    cpu_us: float


@dataclass(frozen=True, slots=True)
class Refused:
    """What could not be measured, and why."""

    engine: str
    build: str
    stage: str
    reason: str


@dataclass(frozen=True, slots=True)
class SearchReport:
    """Everything a search benchmark found, ours and the peers'."""

    set: Mapping[str, Any]
    ks: tuple[int, ...]
    levels: tuple[float, ...]
    rounds: int
    sample: int
    builds: tuple[Built, ...]
    measured: tuple[Measured, ...]
    batch: tuple[Batch, ...]
    refused: tuple[Refused, ...]
    machine: Mapping[str, Any] = field(default_factory=lambda: machine())

    def engines(self, k: int) -> list[str]:
        """Return the engines that were measured at k, in the order of the run."""
        return list(dict.fromkeys(row.engine for row in self.measured if row.k == k))

    def curve(self, engine: str, k: int, statistic: Statistic) -> list[Point]:
        """Return all points of an engine."""
        rows = [row for row in self.measured if row.engine == engine and row.k == k]
        return [row.point(statistic) for row in rows]

    def exact(self, engine: str, k: int, statistic: Statistic) -> float | None:
        """Return the latency of an engine's exact search, None where it has none."""
        rows = [row for row in self.measured if row.engine == engine and row.k == k and row.exact]
        return min((float(getattr(row, statistic)) for row in rows), default=None)


def measured_row(
    engine: str, build: Build, setting: Setting, k: int, rounds: Sequence[Mapping[str, Any]]
) -> Measured:
    """Return the row of a setting from its rounds: figures of all queries, and summed stats."""
    cpu = np.array([one["cpu"] for one in rounds])
    wall = np.array([one["wall"] for one in rounds])
    each = np.median(cpu, axis=0)
    p50, p90, p99 = np.percentile(each, (50, 90, 99)).tolist()
    means = cpu.mean(axis=1)
    return Measured(
        engine=engine,
        build=build.name,
        setting=str(setting),
        options=dict(setting.options),
        exact=setting.exact,
        k=k,
        recall=float(np.mean([one["recall"] for one in rounds])),
        mean=float(each.mean()),
        p50=p50,
        p90=p90,
        p99=p99,
        low=float(means.min()),
        high=float(means.max()),
        wall_mean=float(np.median(wall, axis=0).mean()),
        wall_p50=float(np.median(np.median(wall, axis=0))),
        stats={name: value / len(each) for name, value in rounds[-1]["stats"].items()},
    )


def joined(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return one round from the answers to its slices of queries."""
    stats: dict[str, float] = {}
    for part in parts:
        for name, value in part["stats"].items():
            stats[name] = stats.get(name, 0.0) + value
    lists = {name: [x for part in parts for x in part[name]] for name in ("cpu", "wall", "recall")}
    return {**lists, "stats": stats}


def batch_row(setting: Setting, k: int, threads: int, rounds: Sequence[Mapping[str, Any]]) -> Batch:
    """Return the row of a number of threads from the answers of its rounds."""
    rates = [one["queries"] / one["wall"] for one in rounds]
    cpu = [1e6 * one["cpu"] / one["queries"] for one in rounds]
    return Batch(
        setting=str(setting),
        k=k,
        threads=threads,
        per_second=float(np.median(rates)),
        low=min(rates),
        high=max(rates),
        cpu_us=float(np.median(cpu)),
    )


def machine() -> dict[str, Any]:
    """Return what the figures depend on besides the engines."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "numba": version("numba"),
    }
