"""Figures: SVG for a page that has no other files, legible on light and dark ground."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .results import DatasetResult
from .systems import Sweep

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Told apart by people who confuse red and green, and seen on white and on black.
_COLOURS = ("#8a8f98", "#2f80d0", "#e07b1a", "#1f9e77", "#b35bc4", "#c9a000", "#d6455d", "#4fb3d9")
_MARKS = ("s", "o", "^", "D", "v", "P", "X", "*")
#: Stands for the colour of the page's text until the figure is in the page.
_INK = "#010203"
# Drawn small, so that on a phone, where a figure fills the width, its letters stay legible.
_SIZE = (4.4, 3.0)


def recall_latency(curve: Sequence[Sweep], key: str) -> str:
    """Return recall@10 against the median time of our search, for settings of its knobs."""

    def draw(axes: Axes) -> None:
        *swept, exact = curve
        swept = sorted(swept)
        x, y = [p.milliseconds for p in swept], [p.recall for p in swept]
        axes.plot(x, y, "o-", color=_COLOURS[1], markersize=4, label="approximate, knobs swept")
        axes.plot([exact.milliseconds], [1.0], "D", color=_COLOURS[2], markersize=6, label="exact")
        axes.set_xlabel("median milliseconds of a search")
        axes.set_ylabel("recall@10 against exact")
        axes.set_xlim(left=0)

    return _svg(draw, key, "Recall against latency of the sparse index")


def quality_flops(results: Sequence[DatasetResult], measure: str, key: str) -> str:
    """Return the measure against FLOPS, one point for each exact system and dataset."""

    def draw(axes: Axes) -> None:
        names: dict[str, list[tuple[float, float]]] = {}
        for result in results:
            for one in result.systems:
                if one.shape is not None and one.loss is None and one.shape.flops > 0:
                    names.setdefault(one.name, []).append((one.shape.flops, one.means[measure]))
        for at, (name, points) in enumerate(names.items()):
            axes.scatter(
                [x for x, _ in points],
                [y for _, y in points],
                color=_COLOURS[at % len(_COLOURS)],
                marker=_MARKS[at % len(_MARKS)],
                s=32,
                label=name,
            )
        axes.set_xscale("log")
        _plain_log(axes.xaxis)
        axes.set_xlabel("FLOPS (terms shared by a query and a document)")
        axes.set_ylabel(measure)
        axes.margins(x=0.2, y=0.2)
        _not_too_close(axes, [point for points in names.values() for point in points])

    return _svg(draw, key, f"{measure} against FLOPS")


def difference_bars(
    values: Mapping[str, float], base: Mapping[str, float], names: tuple[str, str, str], key: str
) -> str:
    """Return each query's difference from the baseline as a bar, the largest gain first.

    `names` are the system, the baseline and the measure.
    """
    system, baseline, measure = names
    gains = sorted((values[query] - base[query] for query in base), reverse=True)

    def draw(axes: Axes) -> None:
        # Two areas instead of a thousand bars: they look the same and weigh nothing.
        for part, colour in ((max, _COLOURS[1]), (min, _COLOURS[2])):
            axes.stairs([part(gain, 0.0) for gain in gains], fill=True, color=colour)
        axes.axhline(0, color=_INK, linewidth=0.6)
        axes.set_xlabel(f"{len(gains):,} queries, by difference")
        axes.set_ylabel(f"{measure}: {system} − {baseline}")
        axes.set_xlim(0, len(gains))
        axes.set_xticks([])

    return _svg(draw, key, f"Difference in {measure} of each query, {system} against {baseline}")


def list_lengths(result: DatasetResult, key: str) -> str:
    """Return the lengths of the inverted lists, longest first, on log scales."""

    def draw(axes: Axes) -> None:
        shown = [one for one in result.systems if one.shape is not None and one.loss is None]
        for at, one in enumerate(shown):
            if one.shape is not None:
                ranks, lengths = zip(*one.shape.lengths, strict=True)
                axes.plot(ranks, lengths, color=_COLOURS[at % len(_COLOURS)], label=one.name)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("inverted lists, longest first")
        axes.set_ylabel("documents in the list")

    return _svg(draw, key, "Lengths of the inverted lists")


def _not_too_close(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    """Give axes a width where points agree but for rounding: two systems on the same words."""
    x, y = [at for at, _ in points], [at for _, at in points]
    if x and max(x) < 1.001 * min(x):
        axes.set_xlim(min(x) / 2, 2 * max(x))
    if y and max(y) - min(y) < 1e-6:
        axes.set_ylim(min(y) - 0.05, max(y) + 0.05)


def _plain_log(axis: Any) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def _svg(draw: Any, key: str, title: str) -> str:
    """Return what `draw` puts on axes as an SVG element whose ink is the text's colour."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": key,
        "font.family": "sans-serif",
        "font.size": 8.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.7,
        "legend.frameon": False,
        "axes.grid": True,
        "grid.alpha": 0.18,
        "grid.linewidth": 0.6,
        **dict.fromkeys(
            ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color",
             "grid.color"), _INK,
        ),
    }  # fmt: skip
    with matplotlib.rc_context(style):
        figure = Figure(figsize=_SIZE, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        draw(axes)
        if axes.get_legend_handles_labels()[0]:
            figure.legend(loc="outside upper left", ncols=3, handletextpad=0.4, columnspacing=1.2)
        text = io.StringIO()
        # No time stamp: the same figures give the same bytes.
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    return _inline(text.getvalue(), key, title)


def _inline(svg: str, key: str, title: str) -> str:
    """Return the bare element: scalable, named for those who cannot see it, ids of its own."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", svg)
    svg = re.sub(r"(<svg[^>]*?) height=\"[^\"]*\"", r"\1", svg)
    svg = re.sub(r"(<svg[^>]*?) width=\"[^\"]*\"", r"\1", svg)
    svg = re.sub(r'\bid="', f'id="{key}-', svg)
    svg = svg.replace('href="#', f'href="#{key}-').replace("url(#", f"url(#{key}-")
    svg = svg.replace(_INK, "currentColor")
    # The page's own font, and no rule of style that would reach beyond this figure.
    svg = re.sub(r"font-family: [^;]*;\s*", "", svg)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)
