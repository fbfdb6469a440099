"""What an evaluation found, as plain values that go to JSON and come back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lsr.errors import DataError

from .speed import Shape, Speed
from .statistics import Comparison
from .systems import Sweep

#: Raised when what is written here changes its meaning.
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Loss:
    """How much an approximate search loses against the exact one on the same vectors.

    `recall`: share of the true 10 best that it found. `identical`: share of queries with the very
    same 10.
    """

    against: str
    recall: float
    identical: float


@dataclass(frozen=True, slots=True)
class SystemResult:
    """One system on one dataset. `per_query` is measure -> query -> value."""

    name: str
    family: str
    title: str
    settings: Mapping[str, Any]
    means: Mapping[str, float]
    per_query: Mapping[str, Mapping[str, float]]
    run: str | None = None
    speed: Speed | None = None
    shape: Shape | None = None
    loss: Loss | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shown:
    """A query whose value differs from the baseline's: its text and each one's first document."""

    query: str
    text: str
    value: float
    baseline: float
    first: str
    baseline_first: str


@dataclass(frozen=True, slots=True)
class DatasetResult:
    """All systems on one dataset."""

    name: str
    split: str
    source: str
    hash: str
    n_documents: int
    n_queries: int
    n_judgements: int
    encoder: Mapping[str, Any]
    baseline: str
    systems: tuple[SystemResult, ...]
    comparisons: tuple[Comparison, ...]
    examples: Mapping[str, tuple[Shown, ...]] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    curve: tuple[Sweep, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    def system(self, name: str) -> SystemResult:
        """Return the result of one system. Raises KeyError."""
        for one in self.systems:
            if one.name == name:
                return one
        raise KeyError(name)


@dataclass(frozen=True, slots=True)
class Report:
    """An evaluation: what was measured, on what, and what went wrong.

    `failed` maps a dataset to the reason; `provenance` is what is needed to do it again.
    """

    datasets: tuple[DatasetResult, ...]
    measures: tuple[str, ...]
    failed: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def table(self, measure: str) -> dict[str, dict[str, float]]:
        """Return system -> dataset -> mean of a measure."""
        found: dict[str, dict[str, float]] = {}
        for dataset in self.datasets:
            for system in dataset.systems:
                found.setdefault(system.name, {})[dataset.name] = system.means[measure]
        return found


def save(result: DatasetResult, path: Path) -> None:
    """Write the result of a dataset; it is there whole or not at all."""
    partial = path.with_suffix(".tmp")
    partial.write_text(json.dumps({"format": FORMAT, **asdict(result)}), "utf-8")
    partial.replace(path)


def load(path: Path) -> DatasetResult:
    """Return the result that `save` wrote. Raises DataError for anything else."""
    try:
        found = json.loads(path.read_text("utf-8"))
        if found.pop("format") != FORMAT:
            raise DataError(f"{path} was written by another version", hint="leave out --resume")
        found["systems"] = tuple(_system(one) for one in found["systems"])
        found["comparisons"] = tuple(Comparison(**one) for one in found["comparisons"])
        found["examples"] = {
            name: tuple(Shown(**one) for one in rows) for name, rows in found["examples"].items()
        }
        found["curve"] = tuple(Sweep(*point) for point in found["curve"])
        found["notes"] = tuple(found["notes"])
        return DatasetResult(**found)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is no result of lsr eval ({error!r})", hint="leave out --resume"
        ) from error


def _system(found: dict[str, Any]) -> SystemResult:
    for name, kind in (("speed", Speed), ("loss", Loss)):
        if found[name] is not None:
            found[name] = kind(**found[name])
    if found["shape"] is not None:
        lengths = tuple((rank, length) for rank, length in found["shape"]["lengths"])
        found["shape"] = Shape(**{**found["shape"], "lengths": lengths})
    found["notes"] = tuple(found["notes"])
    return SystemResult(**found)
