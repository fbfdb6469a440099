"""Tables of a report, the same for the web page, Markdown and the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from lsr.output import duration, size

from .averages import average_name, averages
from .references import published, source
from .results import DatasetResult, Report, SystemResult
from .statistics import Comparison

#: Below this a difference is marked.
ALPHA = 0.05
BETTER, WORSE = "▲", "▼"

MARKS = (
    f"Bold is the best value (of those that print the same, all). {BETTER} better and {WORSE} "
    f"worse than the baseline, p < {ALPHA} in the randomisation test after Holm's correction over "
    "the systems of the table."
)


@dataclass(frozen=True, slots=True)
class Cell:
    """A value as text; `mark` stands behind it, `is_best` makes it bold."""

    text: str
    mark: str = ""
    is_best: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under a head; the first column names the row."""

    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


def overview(report: Report, measure: str) -> Table:
    """Return a measure of every system: the average of those run on all datasets, then each one's.

    The average stands first, where many datasets do not push it out of sight.
    """
    results = report.datasets
    names = list(dict.fromkeys(one.name for result in results for one in result.systems))
    columns: list[dict[str, Cell]] = []
    for result in results:
        tests = _tests(result, measure)
        values = {one.name: one.means[measure] for one in result.systems}
        columns.append({name: _marked(values, name, tests) for name in values})
    head = [one.name for one in results]
    if len(results) > 1:
        head.insert(0, average_name(results))
        columns.insert(0, _average_cells(report, measure))
    rows = tuple(
        (Cell(name), *(column.get(name, Cell("–")) for column in columns)) for name in names
    )
    return Table(("system", *head), rows)


def measures_table(result: DatasetResult) -> Table:
    """Return every measure of every system on one dataset."""
    columns = []
    measures = list(result.systems[0].means)
    for measure in measures:
        tests = _tests(result, measure)
        values = {one.name: one.means[measure] for one in result.systems}
        columns.append([_marked(values, name, tests) for name in values])
    names = [Cell(one.name) for one in result.systems]
    rows = tuple(zip(names, *columns, strict=True))
    return Table(("system", *measures), rows, f"Baseline: {result.baseline}. {MARKS}")


def means_table(means: Mapping[str, Mapping[str, float]]) -> Table:
    """Return run -> measure -> mean as a table, the best of several in bold."""
    measures = list(next(iter(means.values())))
    columns = []
    for measure in measures:
        values = {name: one[measure] for name, one in means.items()}
        columns.append([_marked(values, name, {}) for name in values])
    rows = tuple(zip(map(Cell, means), *columns, strict=True))
    return Table(("run", *measures), rows)


def average_table(report: Report) -> Table:
    """Return the averages over all datasets of every measure."""
    columns = {measure: _average_cells(report, measure) for measure in report.measures}
    names = list(next(iter(columns.values())))
    rows = tuple(
        (Cell(name), *(columns[measure][name] for measure in report.measures)) for name in names
    )
    note = (
        "Each dataset counts the same; systems that were not run on all are left out. Signs are "
        "flipped within datasets. " + MARKS
    )
    return Table(("system", *report.measures), rows, note)


def tests_table(comparisons: Sequence[Comparison], against: str | None = None) -> Table:
    """Return the tests of the differences between systems and their baseline.

    Where all have the one baseline `against`, the head names it and the rows need not.
    """
    first = f"against {against}" if against else "system − baseline"
    head = (first, "measure", "difference", "95 % interval", "p (t)", "p (rand.)", "Holm (t)",
            "Holm (rand.)", "d", "win / tie / loss")  # fmt: skip
    rows = tuple(
        (
            Cell(one.system if against else f"{one.system} − {one.baseline}"),
            Cell(one.measure),
            Cell(f"{one.difference:+.4f}"),
            Cell(f"{one.low:+.4f} {one.high:+.4f}"),
            Cell(p_value(one.t_p)),
            Cell(p_value(one.r_p)),
            Cell(p_value(one.t_holm)),
            Cell(p_value(one.r_holm), mark(one)),
            Cell("–" if one.effect is None else f"{one.effect:+.2f}"),
            Cell(f"{one.wins}/{one.ties}/{one.losses}"),
        )
        for one in comparisons
    )
    note = (
        "Paired t-test and randomisation test, two-sided; Holm's correction over the systems that "
        "share a baseline and a measure; d is Cohen's for paired differences."
    )
    return Table(head, rows, note)


def short_tests_table(comparisons: Sequence[Comparison], against: str) -> Table:
    """Return the tests against one baseline in few columns, for a terminal."""
    head = (f"against {against}", "measure", "diff.", "p (t)", "p (rand.)", "d", "win/tie/loss")
    rows = tuple(
        (
            Cell(one.system),
            Cell(one.measure),
            Cell(f"{one.difference:+.4f}"),
            Cell(p_value(one.t_holm)),
            Cell(p_value(one.r_holm), mark(one)),
            Cell("–" if one.effect is None else f"{one.effect:+.2f}"),
            Cell(f"{one.wins}/{one.ties}/{one.losses}"),
        )
        for one in comparisons
    )
    return Table(head, rows, "p-values with Holm's correction; --json has the intervals, too.")


def loss_table(result: DatasetResult) -> Table | None:
    """Return what approximate search loses against exact search; None where there is none."""
    rows = []
    forced = False
    measure = next(iter(result.systems[0].means))
    for one in result.systems:
        if one.loss is None:
            continue
        tests = {
            test.system: test
            for test in result.comparisons
            if test.measure == measure and test.baseline == one.loss.against
        }
        exact = result.system(one.loss.against)
        difference = one.means[measure] - exact.means[measure]
        forced = forced or "forced" in one.settings
        rows.append(
            (
                Cell(one.name),
                Cell(f"{one.loss.recall:.4f}"),
                Cell(f"{one.loss.identical:.1%}"),
                Cell(f"{difference:+.4f}"),
                Cell(p_value(tests[one.name].r_p) if one.name in tests else "–"),
                Cell(_ratio(one, exact)),
            )
        )
    if not rows:
        return None
    head = ("system", "recall@10", "same 10", measure, "p (rand.)", "search time")
    note = (
        "Against exact search of the same vectors, so this is the loss of the index alone; what "
        "the encoder gives or costs is in the line of the exact system."
    )
    if forced:
        note += (
            " lsr searches an index of this size exactly, whatever recall is asked for; here its "
            "approximate search was insisted on."
        )
    return Table(head, tuple(rows), note)


def speed_table(result: DatasetResult) -> Table:
    """Return the times of every system."""
    head = ("system", "p50 ms", "p95 ms", "p99 ms", "search p50 ms", "queries/s")
    rows = tuple((Cell(one.name), *_time_cells(one)) for one in result.systems)
    threads = {one.speed.threads for one in result.systems if one.speed}
    note = (
        "From a query's text to its 10 hits, one query at a time, each query's least of three "
        "rounds; “search” is the part without tokens or encoding; queries/s of all "
        f"queries at once on {'/'.join(map(str, sorted(threads)))} thread(s)."
    )
    return Table(head, rows, note)


def size_table(result: DatasetResult) -> Table:
    """Return the sizes of every system, and how full its vectors are."""
    head = ("system", "bytes/doc", "size", "build", "build RSS", "RSS added", "terms/doc",
            "terms/query", "FLOPS")  # fmt: skip
    rows = tuple((Cell(one.name), *_size_cells(one)) for one in result.systems)
    note = (
        "The build includes encoding; build RSS is the peak of the whole process until then, RSS "
        "added what opening and searching added (mapped files included, less what earlier systems "
        "had open). BM25's size is without texts, the index's with them. FLOPS: terms that a query "
        "and a document share, the mean over all pairs."
    )
    return Table(head, rows, note)


def reference_table(result: DatasetResult) -> Table | None:
    """Return ours beside published figures, best first; None for no set of BEIR."""
    figures = published(result)
    measure = "nDCG@10"
    if not figures or measure not in result.systems[0].means:
        return None
    ours = {f"{one.name} (this report)": one.means[measure] for one in result.systems
            if one.loss is None}  # fmt: skip
    both = sorted([*figures.items(), *ours.items()], key=lambda item: -item[1])
    rows = tuple(
        (Cell(name, is_best=name in ours), Cell(f"{value:.4f}" if name in ours else f"{value:.3f}"))
        for name, value in both
    )
    return Table(("system", measure), rows, f"Published: {source()}.")


def mark(test: Comparison | None) -> str:
    """Return ▲ or ▼ for a significant difference, else nothing."""
    if test is None or test.r_holm >= ALPHA or test.difference == 0:
        return ""
    return BETTER if test.difference > 0 else WORSE


def p_value(value: float) -> str:
    """Return a p-value as people write it.

    >>> p_value(0.0432), p_value(0.00001), p_value(1.0)
    ('0.043', '<0.001', '1')
    """
    if value < 0.001:
        return "<0.001"
    return "1" if value >= 0.9995 else f"{value:.3f}"


def _tests(result: DatasetResult, measure: str) -> dict[str, Comparison]:
    return {
        one.system: one
        for one in result.comparisons
        if one.measure == measure and one.baseline == result.baseline
    }


def _marked(values: Mapping[str, float], name: str, tests: Mapping[str, Comparison]) -> Cell:
    text = f"{values[name]:.4f}"
    best = f"{max(values.values()):.4f}"
    return Cell(text, mark(tests.get(name)), text == best and len(values) > 1)


def _average_cells(report: Report, measure: str) -> dict[str, Cell]:
    settings = report.provenance.get("settings", {})
    found = averages(
        report.datasets,
        measure,
        resamples=int(settings.get("resamples", 10_000)),
        seed=int(settings.get("seed", 0)),
    )
    if not found:
        return {}
    best = f"{max(one.value for one in found):.4f}"
    cells = {}
    for one in found:
        sign = ""
        is_tested = not measure.startswith("Judged")
        if is_tested and one.p_holm is not None and one.p_holm < ALPHA and one.difference:
            sign = BETTER if one.difference > 0 else WORSE
        text = f"{one.value:.4f}"
        cells[one.system] = Cell(text, sign, text == best and len(found) > 1)
    return cells


def _ratio(one: SystemResult, exact: SystemResult) -> str:
    if one.speed is None or exact.speed is None or not exact.speed.search_p50:
        return "–"
    return f"{one.speed.search_p50 / exact.speed.search_p50:.2f}× exact"


def _time_cells(one: SystemResult) -> Iterable[Cell]:
    speed = one.speed
    if speed is None:
        return map(Cell, ["–"] * 5)
    cells = [f"{value:.2f}" for value in (speed.p50, speed.p95, speed.p99)]
    return map(Cell, [*cells, f"{speed.search_p50:.3f}", f"{speed.per_second:,.0f}"])


def _size_cells(one: SystemResult) -> Iterable[Cell]:
    speed, shape = one.speed, one.shape
    cells = ["–"] * 5
    if speed is not None:
        cells = [
            _shown(speed.bytes_per_document, lambda value: f"{value:,.0f}"),
            _shown(speed.bytes, size),
            _shown(speed.build_seconds, duration),
            _shown(speed.build_peak, size),
            _shown(speed.memory, size),
        ]
    if shape is None:
        return map(Cell, [*cells, "–", "–", "–"])
    means = (shape.document_terms, shape.query_terms)
    return map(Cell, [*cells, *(f"{value:.1f}" for value in means), f"{shape.flops:.2f}"])


def _shown(value: float | None, write: Callable[[float], str]) -> str:
    return "–" if value is None else write(value)
