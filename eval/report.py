"""The report: one web page that needs nothing else, Markdown, JSON, MTEB's files, runs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lsr.errors import StorageError

from . import figures, report_tables
from .expectations import Checked
from .measures import TIES
from .mteb import write_mteb
from .report_markdown import to_markdown
from .report_tables import Table
from .results import DatasetResult, Report, Shown

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing and the sentence below it."""

    svg: str
    caption: str


@dataclass(frozen=True, slots=True)
class Section:
    """What the page shows of one dataset."""

    result: DatasetResult
    key: str
    measures: Table
    tests: Table | None
    more_tests: Table | None
    loss: Table | None
    speed: Table
    size: Table
    references: Table | None
    figures: Sequence[Figure]
    examples: Mapping[str, Sequence[Shown]]


def write_report(report: Report, folder: Path, checks: Sequence[Checked] = ()) -> list[Path]:
    """Write report.html, report.md, report.json, mteb/ and queries/ into a folder; return files."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        texts = {
            "report.html": to_html(report, checks),
            "report.md": to_markdown(report, checks),
            "report.json": to_json(report, checks),
        }
        for result in report.datasets:
            slug = f"{result.name}-{result.split}".replace("/", "-").replace(":", "-")
            texts[f"queries/{slug}.csv"] = per_query_csv(result)
        (folder / "queries").mkdir(exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, "utf-8")
        return [*(folder / name for name in texts), *write_mteb(report, folder / "mteb")]
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written: {error.strerror}") from error


def to_html(report: Report, checks: Sequence[Checked] = ()) -> str:
    """Return the report as one web page with style, figures and data inside."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    many = len(report.datasets) > 1
    first = report.measures[0]
    page = environment.get_template("report.html").render(
        report=report,
        checks=checks,
        style=(_TEMPLATES / "report.css").read_text("utf-8"),
        main=first,
        overview=report_tables.overview(report, first),
        average=report_tables.average_table(report) if many else None,
        flops=_flops_figure(report) if many else None,
        sections=[_section(report, at, result) for at, result in enumerate(report.datasets)],
        ties=TIES,
        marks=report_tables.MARKS,
        about=flatten(report.provenance),
    )
    return page + "\n"


def to_json(report: Report, checks: Sequence[Checked] = ()) -> str:
    """Return everything that was measured, per query, with provenance."""
    return json.dumps({**asdict(report), "checks": [asdict(one) for one in checks]}, indent=1)


def per_query_csv(result: DatasetResult) -> str:
    """Return query, system, measure and value, a line each."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["query", "system", "measure", "value"])
    for system in result.systems:
        for measure, values in system.per_query.items():
            rows.writerows([query, system.name, measure, f"{value:.6g}"]
                           for query, value in values.items())  # fmt: skip
    return text.getvalue()


def flatten(found: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return nested values as pairs of a dotted name and a text.

    >>> flatten({"a": {"b": 1}, "c": [1, 2]})
    [('a.b', '1'), ('c', '1, 2')]
    """
    pairs: list[tuple[str, str]] = []
    for name, value in found.items():
        if isinstance(value, Mapping):
            pairs += flatten(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            pairs.append((prefix + name, ", ".join(map(str, value))))
        else:
            pairs.append((prefix + name, "–" if value is None else str(value)))
    return pairs


def _section(report: Report, at: int, result: DatasetResult) -> Section:
    main = [one for one in result.comparisons if one.measure == report.measures[0]]
    rest = [one for one in result.comparisons if one.measure != report.measures[0]]
    return Section(
        result=result,
        key=f"d{at}",
        measures=report_tables.measures_table(result),
        tests=report_tables.tests_table(main) if main else None,
        more_tests=report_tables.tests_table(rest) if rest else None,
        loss=report_tables.loss_table(result),
        speed=report_tables.speed_table(result),
        size=report_tables.size_table(result),
        references=report_tables.reference_table(result),
        figures=_figures(report.measures[0], result, f"d{at}"),
        examples=result.examples,
    )


def _figures(measure: str, result: DatasetResult, key: str) -> list[Figure]:
    found = []
    if len(result.curve) > 1:
        found.append(
            Figure(
                figures.recall_latency(result.curve, f"{key}a"),
                "Recall of the true 10 best and the median time of a search, over settings of the "
                "index's knobs; encoding is not counted.",
            )
        )
    if any(one.shape for one in result.systems):
        found.append(
            Figure(
                figures.quality_flops([result], measure, f"{key}b"),
                f"{measure} and the products that an exhaustive search adds up for a pair.",
            )
        )
    base = result.system(result.baseline)
    for number, one in enumerate(result.systems):
        if one.loss is None and one.name != result.baseline:
            svg = figures.difference_bars(
                one.per_query[measure],
                base.per_query[measure],
                (one.name, base.name, measure),
                f"{key}c{number}",
            )
            caption = f"Each query's difference in {measure}, {one.name} − {base.name}."
            found.append(Figure(svg, caption))
    if any(one.shape for one in result.systems):
        caption = (
            "How many documents the inverted lists have, from the longest list to the shortest."
        )
        found.append(Figure(figures.list_lengths(result, f"{key}d"), caption))
    return found


def _flops_figure(report: Report) -> Figure | None:
    if not any(one.shape for result in report.datasets for one in result.systems):
        return None
    first = report.measures[0]
    svg = figures.quality_flops(report.datasets, first, "all")
    return Figure(svg, f"{first} against FLOPS, a point for each system and dataset.")
