"""Expectations: figures that a report must reproduce."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lsr.errors import ConfigError, DataError

from .measures import parse_measures
from .results import DatasetResult, Report
from .settings import FAMILIES

Verdict = Literal["OK", "OKish", "FAIL"]

#: The expectations that come with the package, under this name.
BUNDLED = "bundled"
#: Equal at four digits; and the difference up to which a figure is nearly right.
TOLERANCE, OKISH = 0.00005, 0.0005

_SHAPE = '[datasets.scifact."sparse exact"] with lines such as "nDCG@10" = 0.6466'


@dataclass(frozen=True, slots=True)
class Expectation:
    """One figure that is expected, and how far off it may be."""

    dataset: str
    system: str
    measure: str
    value: float
    tolerance: float = TOLERANCE
    okish: float = OKISH


@dataclass(frozen=True, slots=True)
class Checked:
    """An expectation and what was found; `found` is None where a system or measure is missing."""

    expected: Expectation
    found: float | None
    verdict: Verdict

    def __str__(self) -> str:
        """Return the line of a check: verdict, where, what was found and expected."""
        one = self.expected
        where = f"[{self.verdict}] {one.dataset}, {one.system}, {one.measure}:"
        if self.found is None:
            return f"{where} expected {one.value:.4f}, but it was not measured"
        if self.verdict == "OK":
            return f"{where} {self.found:.4f}"
        return f"{where} {self.found:.4f}, expected {one.value:.4f}"


@dataclass(frozen=True, slots=True)
class Expectations:
    """A file of expectations; `encoder` is the fingerprint that they hold for, if it says."""

    source: str
    entries: tuple[Expectation, ...]
    encoder: str | None = None


def read_expectations(path: str | Path) -> Expectations:
    """Return the expectations in a TOML file, or those that come with the package (`bundled`).

    A table for each dataset and system holds measures and values; `tolerance` and `okish`, at
    the top or in such a table, say how far a figure may be off to be OK, and to be OKish.
    Raises ConfigError for a file of another shape, with what is wrong in it.
    """
    file = Path(__file__).parent / "expectations" / "bundled.toml"
    file = file if path == BUNDLED else Path(path)
    try:
        found = tomllib.loads(file.read_text("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not TOML: {error}") from error
    entries = tuple(_entries(found, str(file)))
    if not entries:
        raise ConfigError(f"{file} expects nothing; write {_SHAPE}")
    encoder = found.get("encoder")
    return Expectations(str(file), entries, None if encoder is None else str(encoder))


def check(report: Report, expectations: Expectations) -> list[Checked]:
    """Return the verdict on each expectation about a dataset of the report.

    Those about datasets that the report has not, and systems and measures that were not asked
    for or were skipped, are passed over; those about a dataset that failed and a system that
    there is not FAIL. Raises DataError when the expectations are
    for another encoder, or when none of them is about this report: a check of nothing is none.
    """
    by_name = {one.name: one for one in report.datasets}
    failed = {Path(name).name for name in report.failed}
    encoders = {str(one.encoder["fingerprint"]) for one in report.datasets if one.encoder}
    if expectations.encoder is not None and encoders - {expectations.encoder}:
        raise DataError(
            f"{expectations.source} is for the encoder {expectations.encoder}; this report is of "
            f"{', '.join(sorted(encoders))}",
            hint="evaluate with the model that the expectations are for",
        )
    verdicts = []
    for one in expectations.entries:
        if one.dataset in by_name and not _was_left_out(one, by_name[one.dataset], report):
            systems = {system.name: system for system in by_name[one.dataset].systems}
            means = systems[one.system].means if one.system in systems else {}
            found = means.get(one.measure)
            verdicts.append(Checked(one, found, _verdict(one, found)))
        elif one.dataset in failed:
            verdicts.append(Checked(one, None, "FAIL"))
    if not verdicts:
        names = ", ".join(sorted({one.dataset for one in expectations.entries}))
        raise DataError(
            f"{expectations.source} expects nothing of {', '.join(by_name) or 'this report'}; "
            f"it is about {names}"
        )
    return verdicts


def _was_left_out(one: Expectation, result: DatasetResult, report: Report) -> bool:
    """Return whether nobody asked for the figure, or the system could not be run here."""
    families = report.provenance.get("settings", {}).get("families")
    family = one.system.split()[0].lower()
    unasked = families is not None and family in FAMILIES and family not in families
    return unasked or one.system in result.skipped or one.measure not in report.measures


def _verdict(expected: Expectation, found: float | None) -> Verdict:
    if found is None:
        return "FAIL"
    # A little slack, for a tolerance is a decimal and a figure is not.
    off = abs(round(found, 4) - expected.value) - 1e-9
    if off <= expected.tolerance:
        return "OK"
    return "OKish" if off <= expected.okish else "FAIL"


def _entries(found: Mapping[str, Any], source: str) -> Iterator[Expectation]:
    unknown = set(found) - {"datasets", "tolerance", "okish", "encoder"}
    if unknown:
        raise ConfigError(f"{source} has an unknown key {min(unknown)!r}; expected {_SHAPE}")
    for dataset, systems in _tables(found.get("datasets", {}), source):
        for system, values in _tables(systems, f"{source}, datasets.{dataset}"):
            where = f"{source}, datasets.{dataset}.{system}"
            limits = {
                name: _number(values.get(name, found.get(name, default)), f"{where}.{name}")
                for name, default in (("tolerance", TOLERANCE), ("okish", OKISH))
            }
            for name, value in values.items():
                if name not in limits:
                    [measure] = parse_measures([name])
                    expected = _number(value, f"{where}.{name}")
                    yield Expectation(dataset, system, measure, expected, **limits)


def _tables(found: Any, where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if not isinstance(found, dict):
        raise ConfigError(f"{where} is {found!r}; a table is expected, {_SHAPE}")
    for name, inner in found.items():
        if not isinstance(inner, dict):
            raise ConfigError(f"{where}.{name} is {inner!r}; a table is expected, {_SHAPE}")
        yield name, inner


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise ConfigError(f"{where} is {value!r}; a number is expected, 0 or more")
    return float(value)
