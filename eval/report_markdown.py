"""The report as Markdown, for a README or an issue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from . import report_tables
from .expectations import Checked
from .measures import TIES
from .report_tables import Table
from .results import DatasetResult, Report


def to_markdown(report: Report, checks: Sequence[Checked] = ()) -> str:
    """Return all tables of a report, with notes and provenance."""
    return "\n".join(_lines(report, checks)) + "\n"


def table_lines(table: Table) -> Iterator[str]:
    """Yield a table as lines of Markdown, its note below."""
    yield "| " + " | ".join(map(_escaped, table.head)) + " |"
    yield "|---|" + "---:|" * (len(table.head) - 1)
    for row in table.rows:
        cells = []
        for cell in row:
            text = _escaped(cell.text)
            cells.append((f"**{text}**" if cell.is_best else text) + cell.mark)
        yield "| " + " | ".join(cells) + " |"
    if table.note:
        yield ""
        yield table.note


def _lines(report: Report, checks: Sequence[Checked]) -> Iterator[str]:
    yield f"# Evaluation: {', '.join(one.name for one in report.datasets)}"
    yield ""
    if checks:
        yield from ("## Expectations", "", "```", *map(str, checks), "```", "")
    for name, why in report.failed.items():
        yield from (f"**{name} failed:** {why}", "")
    if len(report.datasets) > 1:
        yield from (f"## {report.measures[0]}", "")
        yield from table_lines(report_tables.overview(report, report.measures[0]))
        yield from ("", "## Averages", "")
        yield from table_lines(report_tables.average_table(report))
        yield ""
    for result in report.datasets:
        yield from _dataset(result)
    yield from ("## Provenance", "", TIES, "")
    from .report import flatten

    yield from (f"- {name}: `{text}`" for name, text in flatten(report.provenance))


def _dataset(result: DatasetResult) -> Iterator[str]:
    yield f"## {result.name} ({result.split})"
    yield ""
    yield (
        f"{result.n_documents:,} documents, {result.n_queries:,} queries, "
        f"{result.n_judgements:,} judgements; hash `{result.hash}`."
    )
    yield ""
    for note in result.notes:
        yield f"- {note}"
    for name, why in result.skipped.items():
        yield f"- {name} was left out: {why}"
    for system in result.systems:
        for note in system.notes:
            yield f"- {system.name}: {note}"
    yield ""
    parts: list[tuple[str, Table | None]] = [
        ("Measures", report_tables.measures_table(result)),
        ("Index loss", report_tables.loss_table(result)),
        ("Speed", report_tables.speed_table(result)),
        ("Size", report_tables.size_table(result)),
        ("Published figures", report_tables.reference_table(result)),
    ]
    if result.comparisons:
        parts.insert(1, ("Tests", report_tables.tests_table(result.comparisons)))
    for title, table in parts:
        if table is not None:
            yield from (f"### {title}", "", *table_lines(table), "")


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
