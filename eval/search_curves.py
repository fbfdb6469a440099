"""Recall/latency curves: what is worth keeping of them, and what they say at a level of recall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple


class Point(NamedTuple):
    """One setting: the recall it reaches and the time it takes; `at` finds it again."""

    recall: float
    latency: float
    at: int = 0


def pareto(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other beats in both recall and latency, fastest first.

    >>> pareto([Point(0.9, 5), Point(0.8, 6), Point(0.95, 9), Point(0.95, 8)])
    [Point(recall=0.9, latency=5, at=0), Point(recall=0.95, latency=8, at=0)]
    """
    kept: list[Point] = []
    for point in sorted(points, key=lambda one: (one.latency, -one.recall)):
        if not kept or point.recall > kept[-1].recall:
            kept.append(point)
    return kept


def latency_at(points: Sequence[Point], level: float) -> float | None:
    """Return the latency at a level of recall, on straight lines between the Pareto points.

    Below the fastest point it is that point's, since nothing faster was measured; above the most
    exact one it is None: the level was not reached.

    >>> round(latency_at([Point(0.9, 100), Point(1.0, 300)], 0.95))
    200
    """
    front = pareto(points)
    if not front or level > front[-1].recall:
        return None
    if level <= front[0].recall:
        return float(front[0].latency)
    for low, high in pairwise(front):
        if low.recall < level <= high.recall:
            share = (level - low.recall) / (high.recall - low.recall)
            return float(low.latency + share * (high.latency - low.latency))
    return None


def envelope(
    curves: Mapping[str, Sequence[Point]], level: float
) -> tuple[str, float] | tuple[None, None]:
    """Return the fastest curve at a level of recall and its latency there; None where none is.

    >>> envelope({"a": [Point(1.0, 7)], "b": [Point(0.9, 2)]}, 0.95)
    ('a', 7.0)
    """
    found = {name: latency_at(points, level) for name, points in curves.items()}
    reached = {name: latency for name, latency in found.items() if latency is not None}
    if not reached:
        return None, None
    return min(reached.items(), key=lambda item: item[1])


def contenders(
    points: Sequence[Point], levels: Sequence[float], *, most: int, slack: float = 0.08
) -> list[Point]:
    """Return the points to measure with care after one quick pass, at most about `most`.

    All on the Pareto front, and those that a latency less by `slack` would put there, because
    one pass is noisy; of these the nearest to each level on either side come first.
    """
    front = pareto(points)
    if not front:
        return []
    close = [
        point
        for point in points
        if (best := latency_at(front, point.recall)) is not None
        and point.latency * (1 - slack) <= best
    ]
    low = min(levels) - 0.04
    useful = [point for point in close if point.recall >= low] or [front[-1]]
    chosen: dict[Point, None] = {}
    for level in levels:
        above = [point for point in useful if point.recall >= level]
        below = [point for point in useful if point.recall < level]
        for side in (
            sorted(above, key=lambda one: (one.latency, one.recall)),
            sorted(below, key=lambda one: (-one.recall, one.latency)),
        ):
            chosen.update(dict.fromkeys(side[:2]))
    rest = [point for point in useful if point not in chosen]
    step = max(1, len(rest) // max(1, most - len(chosen)))
    room = max(0, most - len(chosen))
    chosen.update(dict.fromkeys(sorted(rest)[::step][:room]))
    return sorted(chosen)
