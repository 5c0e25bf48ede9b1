"""The picture of robustness against cost: a point per method."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import DataError
from . import _canvas as canvas


@canvas.literal
def plot_tradeoff(
    methods: Mapping[str, Sequence[tuple[float, float]]],
    path: str | os.PathLike[str],
    *,
    title: str = "Robustness against cost",
    subtitle: str = "",
    cost: str = "core seconds of the whole training",
    robustness: str = "accuracy under attack, mean of the attacks",
    anchors: Sequence[str] = (),
) -> Path:
    """Each method at the mean of its seeds, with the range of the seeds as whiskers; cost on a logarithmic scale.

    Args:
        methods: Name -> one `(cost, robustness)` per seed; robustness in [0, 1], cost positive.
        path: The PNG file to write.
        title: The heading.
        subtitle: Lines below it, e.g. what was attacked and how.
        cost: Label of the cost, with its unit.
        robustness: Label of the robustness.
        anchors: Methods that the others are compared with: drawn hollow, with a line at their robustness.

    Returns:
        The path.

    Raises:
        DataError: If there is nothing to draw, or a value is out of range.
        MissingDependencyError: If matplotlib is not installed.
    """
    _check(methods, anchors)
    from matplotlib.lines import Line2D
    from matplotlib.patheffects import withStroke

    figure = canvas.new_figure(8.4, 5.4, title, subtitle)
    axes = figure.subplots()
    axes.set_xscale("log")
    lowest = min(100 * statistics.mean(kept for _, kept in points) for points in methods.values())
    for i, (name, points) in enumerate(methods.items()):
        costs, accuracies = ([point[axis] for point in points] for axis in (0, 1))
        x, y = statistics.mean(costs), 100 * statistics.mean(accuracies)
        color = canvas.SERIES[i % len(canvas.SERIES)]
        whiskers = {"xerr": _reach(costs, x), "yerr": _reach([100 * value for value in accuracies], y)}
        face = canvas.PAPER if name in anchors else color
        axes.errorbar(
            x, y, **whiskers, fmt="o", markersize=8, color=color, markerfacecolor=face, markeredgewidth=1.8,
            elinewidth=1.4, capsize=3,
        )  # fmt: skip
        if name in anchors:
            # `axhline` asks for limits, which the first point of a logarithmic axis does not give.
            across = axes.get_yaxis_transform()
            axes.add_artist(
                Line2D([0, 1], [y, y], color=color, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0, transform=across)
            )
        axes.annotate(
            name, (x, y), xytext=(9, -14 if y == lowest else 7), textcoords="offset points",
            fontsize=canvas.TICK, color=canvas.INK, path_effects=[withStroke(linewidth=3, foreground=canvas.PAPER)],
        )  # fmt: skip
    axes.margins(x=0.3, y=0.16)
    _plain_ticks(axes)
    canvas.tidy(axes, grid="both", spines=("bottom", "left"))
    canvas.name_axes(axes, cost, f"{robustness}, %")
    return canvas.save(figure, path)


def _check(methods: Mapping[str, Sequence[tuple[float, float]]], anchors: Sequence[str]) -> None:
    if not methods or not all(methods.values()):
        raise DataError("expected at least one method with a point, got none: measure first")
    for name, points in methods.items():
        for spent, kept in points:
            if not (0 < spent < math.inf and 0 <= kept <= 1):
                raise DataError(
                    f"expected a positive cost and a robustness in [0, 1] of {name!r}, got {spent} and {kept}"
                )
    if unknown := sorted(set(anchors) - set(methods)):
        raise DataError(f"expected anchors among the methods, got {', '.join(unknown)}")


def _reach(values: Sequence[float], mean: float) -> list[list[float]]:
    return [[mean - min(values)], [max(values) - mean]]


def _plain_ticks(axes: object) -> None:
    """Seconds as they are spoken, 1, 2 and 5 of each decade, in place of powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
