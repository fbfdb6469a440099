"""A search benchmark as Markdown, JSON and curves."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from .search_curves import envelope, latency_at, pareto
from .search_engines import OURS
from .search_measures import SearchReport, Statistic

_TABLES: tuple[tuple[Statistic, str], ...] = (
    ("p50", "Median"),
    ("p99", "99th percentile"),
    ("mean", "Mean"),
)


def to_markdown(report: SearchReport) -> str:
    """Return all tables."""
    return "\n".join(_lines(report)) + "\n"


def write_report(report: SearchReport, folder: Path) -> list[Path]:
    """Write report.md, report.json and a curve for each k; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    markdown, data = folder / "report.md", folder / "report.json"
    markdown.write_text(to_markdown(report), "utf-8")
    data.write_text(json.dumps(asdict(report), indent=1), "utf-8")
    return [markdown, data, *draw_curves(report, folder)]


def _lines(report: SearchReport) -> Iterator[str]:
    about, machine = report.set, report.machine
    yield f"# Search of {about['name']}"
    yield ""
    yield (
        f"{about['documents']:,} documents of {about['document_terms']:.1f} terms, "
        f"{about['queries']:,} queries of {about['query_terms']:.1f}. Microseconds of CPU time a "
        f"query, one query a call through the public Python API, each engine in a process of its "
        f"own on one core and one thread. A query's time is the median of {report.rounds} rounds "
        f"that go through all engines. Settings were chosen on {report.sample} of the queries; "
        "latencies at a level are interpolated on each engine's own Pareto curve. Recall is "
        "against exact scores; ties with the k-th count."
    )
    yield ""
    yield (
        f"{machine['processor']}, Python {machine['python']}, numpy {machine['numpy']}, "
        f"numba {machine['numba']}."
    )
    for k in report.ks:
        for statistic, title in _TABLES:
            yield ""
            yield f"## {title}, k = {k}"
            yield ""
            yield from _levels(report, k, statistic)
    yield from _builds(report)
    yield from _batch(report)
    yield from _refused(report)
    for k in report.ks:
        yield from _settings(report, k)


def _levels(report: SearchReport, k: int, statistic: Statistic) -> Iterator[str]:
    """Yield the table of latencies at levels of recall, the peers' best and our ratio to it."""
    curves = {name: report.curve(name, k, statistic) for name in report.engines(k)}
    exact = {name: report.exact(name, k, statistic) for name in curves}
    yield from _head(["engine", *(f"{level:.0%}" for level in report.levels), "exact", "best"])
    for name, points in curves.items():
        cells = [_microseconds(latency_at(points, level)) for level in report.levels]
        best = max(point.recall for point in points)
        yield _row([name, *cells, _microseconds(exact[name]), f"{best:.1%}"])
    peers = {name: points for name, points in curves.items() if name != OURS}
    if not peers:
        return
    best_of = [envelope(peers, level) for level in report.levels]
    known = {name: value for name, value in exact.items() if name != OURS and value is not None}
    best_exact = min(known.items(), key=lambda item: item[1]) if known else (None, None)
    best_of.append(best_exact)
    yield _row(
        ["**best peer**", *(f"{_microseconds(t)} {n or ''}".strip() for n, t in best_of), ""]
    )
    if OURS in curves:
        mine = [latency_at(curves[OURS], level) for level in report.levels] + [exact[OURS]]
        ratios = [
            "–" if own is None or best is None else f"{own / best:.2f}"
            for own, (_, best) in zip(mine, best_of, strict=True)
        ]
        yield _row(["**lsr / best peer**", *ratios, ""])


def _builds(report: SearchReport) -> Iterator[str]:
    yield from ("", "## Building, size and memory", "")
    yield from _head(
        [
            "index",
            "build CPU s",
            "build s",
            "save or calibrate s",
            "memory MB to build",
            "with files mapped",
            "disk MB",
            "open s",
            "memory MB, open",
            "after all queries",
        ]
    )
    for one in report.builds:
        name = one.build if one.build.startswith(one.engine) else f"{one.engine}: {one.build}"
        anonymous = max(0.0, one.peak_anonymous - one.before_anonymous)
        cells = [f"{one.cpu:.1f}", f"{one.wall:.1f}", f"{one.save_wall:.1f}"]
        cells += [f"{anonymous:.0f}", f"{one.peak - one.before:.0f}", f"{one.bytes / 1e6:.0f}"]
        cells += [f"{one.open_wall:.1f}", f"{one.open_mb:.0f}"]
        cells.append(f"{one.used_mb:.0f}" if one.used_mb else "–")
        yield _row([f"{name} ({one.version})", *cells])


def _batch(report: SearchReport) -> Iterator[str]:
    if not report.batch:
        return
    yield from ("", "## Batch search of lsr", "")
    yield from _head(["setting", "k", "threads", "queries/s (least to most)", "CPU us a query"])
    for one in report.batch:
        rate = f"{one.per_second:.0f} ({one.low:.0f}–{one.high:.0f})"
        yield _row([one.setting, str(one.k), str(one.threads), rate, f"{one.cpu_us:.0f}"])


def _refused(report: SearchReport) -> Iterator[str]:
    if not report.refused:
        return
    yield from ("", "## Not measured", "")
    yield from _head(["engine", "index", "at", "reason"])
    for one in report.refused:
        reason = " ".join(one.reason.split())
        yield _row([one.engine, one.build or "–", one.stage, reason.replace("|", "\\|")])


def _settings(report: SearchReport, k: int) -> Iterator[str]:
    yield from ("", f"## Every setting measured, k = {k}", "")
    yield from _head(
        [
            "index",
            "setting",
            "recall",
            "mean (rounds)",
            "p50",
            "p90",
            "p99",
            "wall mean",
            "counted, a query",
        ]
    )
    for row in report.measured:
        if row.k == k:
            spread = f"{row.mean:.0f} ({row.low:.0f}–{row.high:.0f})"
            times = [f"{time:.0f}" for time in (row.p50, row.p90, row.p99, row.wall_mean)]
            counts = ", ".join(f"{name} {value:.4g}" for name, value in row.stats.items())
            yield _row([row.build, row.setting, f"{row.recall:.4f}", spread, *times, counts])


def _head(cells: Sequence[str]) -> Iterator[str]:
    yield _row(cells)
    yield "|" + "---|" * len(cells)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _microseconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"


def draw_curves(report: SearchReport, folder: Path) -> list[Path]:
    """Write a PNG of recall and median latency for each k; nothing without matplotlib."""
    try:
        figures = import_module("matplotlib.figure")
        import_module("matplotlib").use("Agg")
    except ImportError:
        return []
    written = []
    for k in report.ks:
        figure = figures.Figure(figsize=(8, 5), layout="constrained")
        axes = figure.subplots()
        for name in report.engines(k):
            front = pareto(report.curve(name, k, "p50"))
            style = {"linewidth": 2.5, "zorder": 3} if name == OURS else {"linewidth": 1.2}
            axes.plot(
                [point.recall for point in front],
                [point.latency for point in front],
                marker="o",
                markersize=4,
                label=name,
                **style,
            )
        axes.set_yscale("log")
        axes.set_xlabel(f"recall@{k}")
        axes.set_ylabel("median latency, us of CPU time")
        axes.set_xlim(left=max(0.5, min(report.levels) - 0.05), right=1.003)
        axes.set_title(f"{report.set['name']}: {report.set['documents']:,} documents")
        axes.grid(visible=True, which="both", alpha=0.3)
        axes.legend()
        path = folder / f"recall-latency-k{k}.png"
        figure.savefig(path, dpi=130)
        written.append(path)
    return written
