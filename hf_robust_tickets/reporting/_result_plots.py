"""Pictures of results: what training costs, and how accurate models are with and without an attack."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .._compat import require
from ..errors import DataError
from . import _canvas as canvas
from .formatting import format_ratio, format_seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Interval = tuple[float, float, float]

_UNITS = ((2 * 3600.0, 3600.0, "hours"), (2 * 60.0, 60.0, "minutes"), (0.0, 1.0, "seconds"))
# Phases keep their colour from picture to picture; others take what is left.
_PHASE_COLORS = {"train": canvas.SERIES[0], "search": canvas.SERIES[1], "finetune": canvas.SERIES[2]}
# Keeps grid lines out of figures that stand on them.
_CLEARING = {"facecolor": canvas.PAPER, "edgecolor": "none", "pad": 1.2}
# Shares of a bar below this have no room for their own figure.
_LEAST_LABELLED = 0.14


@canvas.literal
def plot_cost(
    costs: Mapping[str, Mapping[str, float]],
    path: str | os.PathLike[str],
    *,
    baseline: str | None = None,
    title: str = "What training costs",
    clock: str = "wall-clock time",
) -> Path:
    """Measured seconds as stacked bars, one bar per method and one colour per phase, with the speed-up.

    Args:
        costs: Name of the method -> phase -> seconds. Methods are drawn from top to bottom.
        path: The PNG file to write.
        baseline: The method that the others are compared with; by default the slowest one.
        title: The heading.
        clock: What the seconds are of, for the line below the heading.

    Returns:
        The path.

    Raises:
        DataError: If nothing was measured, a duration is negative or not finite, or the baseline is unknown.
        MissingDependencyError: If matplotlib is not installed.
    """
    totals = _checked_totals(costs, baseline)
    if baseline is None:
        baseline = max(totals, key=lambda name: totals[name])
    # In the order of the method with the most phases: the search comes before the fine-tuning.
    ordered = sorted(costs.values(), key=len, reverse=True)
    phases = list(dict.fromkeys(phase for parts in ordered for phase in parts))
    longest = max(totals.values())
    _, unit, unit_name = next(entry for entry in _UNITS if longest >= entry[0])
    subtitle = f"Measured {clock} of each phase."
    if len(costs) > 1:
        subtitle += f" Factors are against “{baseline}”."
    figure = canvas.new_figure(8.4, 2.15 + 0.5 * len(costs), title, subtitle)
    axes = figure.subplots()
    _stack(axes, costs, phases, unit, longest)
    for i, (name, total) in enumerate(totals.items()):
        style = {"textcoords": "offset points", "va": "center", "bbox": _CLEARING}
        label = axes.annotate(
            format_seconds(total), (total / unit, i), xytext=(7, 0), fontsize=10, fontweight="bold",
            color=canvas.INK, **style,
        )  # fmt: skip
        if name != baseline and total > 0:
            axes.annotate(
                _comparison(totals[baseline] / total), (1, 0.5), xycoords=label, xytext=(9, 0),
                fontsize=canvas.LABEL, color=canvas.SOFT_INK, **style,
            )  # fmt: skip
    axes.set_yticks(range(len(totals)), list(totals))
    axes.set_ylim(len(totals) - 0.45, -0.55)
    axes.set_xlim(0, 1.32 * longest / unit)
    canvas.tidy(axes, grid="x")
    axes.tick_params(axis="y", labelsize=10, labelcolor=canvas.INK, pad=8)
    canvas.name_axes(axes, unit_name)
    canvas.legend(axes, min(len(phases), 5))
    return canvas.save(figure, path)


@canvas.literal
def plot_accuracy(
    results: Mapping[str, Mapping[str, Interval]],
    path: str | os.PathLike[str],
    *,
    title: str = "Accuracy, clean and under attack",
    subtitle: str = "Bars: accuracy. Whiskers: 95 % interval.",
) -> Path:
    """Accuracies as grouped bars with their intervals: one group per metric, one colour per model.

    Args:
        results: Name of the model -> metric -> (value, low, high), fractions 0 to 1. A metric that a model lacks
            leaves a gap.
        path: The PNG file to write.
        title: The heading.
        subtitle: What bars and whiskers are.

    Returns:
        The path.

    Raises:
        DataError: If there is no result, or a value is not a fraction inside its interval.
        MissingDependencyError: If matplotlib is not installed.
    """
    metrics = list(dict.fromkeys(metric for values in results.values() for metric in values))
    if not metrics:
        raise DataError("expected at least one result, got none: pass name -> metric -> (value, low, high)")
    for name, values in results.items():
        for metric, (value, low, high) in values.items():
            if not 0 <= low <= value <= high <= 1:
                raise DataError(
                    f"expected fractions with 0 <= low <= value <= high <= 1 for {name!r}, {metric!r}; "
                    f"got value {value}, low {low}, high {high}"
                )
    width = max(6.4, 1.5 + len(metrics) * (0.5 * len(results) + 0.5))
    rows = math.ceil(len(results) / 4)
    figure = canvas.new_figure(width, 4.3 + 0.2 * rows, title, subtitle)
    axes = figure.subplots()
    for i, (name, values) in enumerate(results.items()):
        _bars(axes, [values.get(metric) for metric in metrics], i, len(results), name)
    axes.set_xticks(range(len(metrics)), metrics)
    axes.set_xlim(-0.6, len(metrics) - 0.4)
    axes.set_ylim(0, 1.06)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1.0])
    ticker = require("matplotlib.ticker", extra="plots")
    axes.yaxis.set_major_formatter(ticker.PercentFormatter(1, decimals=0, symbol=" %"))
    canvas.tidy(axes, grid="y", spines=("bottom",))
    axes.tick_params(axis="x", labelsize=10, labelcolor=canvas.INK)
    canvas.legend(axes, min(len(results), 4))
    return canvas.save(figure, path)


def _checked_totals(costs: Mapping[str, Mapping[str, float]], baseline: str | None) -> dict[str, float]:
    for name, parts in costs.items():
        for phase, seconds in parts.items():
            if not math.isfinite(seconds) or seconds < 0:
                raise DataError(f"expected seconds of 0 or more for {name!r}, phase {phase!r}; got {seconds}")
    totals = {name: sum(parts.values()) for name, parts in costs.items()}
    if not any(totals.values()):
        raise DataError("expected at least one measured duration above 0, got none: train first")
    if baseline is not None and baseline not in totals:
        raise DataError(f"expected the baseline to be one of {', '.join(totals)}; got {baseline!r}")
    return totals


def _stack(
    axes: Axes, costs: Mapping[str, Mapping[str, float]], phases: Sequence[str], unit: float, longest: float
) -> None:
    names = list(costs)
    colors = _phase_colors(phases)
    starts = [0.0] * len(names)
    for k, phase in enumerate(phases):
        lengths = [costs[name].get(phase, 0.0) / unit for name in names]
        color = colors[phase]
        axes.barh(
            range(len(names)), lengths, left=starts, height=0.6, color=color, edgecolor=canvas.PAPER, linewidth=0.8,
            label=phase, hatch=_hatch(k),
        )  # fmt: skip
        for i, length in enumerate(lengths):
            whole = sum(costs[names[i]].values())
            if length * unit >= _LEAST_LABELLED * longest and length * unit < whole:
                axes.text(
                    starts[i] + length / 2, i, format_seconds(length * unit), ha="center", va="center",
                    fontsize=canvas.SMALL, color=_readable_on(color),
                )  # fmt: skip
        starts = [start + length for start, length in zip(starts, lengths)]


def _phase_colors(phases: Sequence[str]) -> dict[str, str]:
    taken = {_PHASE_COLORS[phase] for phase in phases if phase in _PHASE_COLORS}
    left = [color for color in canvas.SERIES if color not in taken]
    unknown = [phase for phase in phases if phase not in _PHASE_COLORS]
    colors = _PHASE_COLORS | {phase: left[k % len(left)] for k, phase in enumerate(unknown)}
    return {phase: colors[phase] for phase in phases}


def _bars(axes: Axes, values: Sequence[Interval | None], i: int, number: int, name: str) -> None:
    pitch = 0.82 / number
    shown = [(x + (i - (number - 1) / 2) * pitch, value) for x, value in enumerate(values) if value is not None]
    xs = [x for x, _ in shown]
    heights = [value[0] for _, value in shown]
    color = canvas.SERIES[i % len(canvas.SERIES)]
    axes.bar(xs, heights, width=0.88 * pitch, color=color, label=name, hatch=_hatch(i), edgecolor=canvas.PAPER, lw=0)
    whiskers = [[value[0] - value[1] for _, value in shown], [value[2] - value[0] for _, value in shown]]
    axes.errorbar(xs, heights, yerr=whiskers, fmt="none", ecolor=canvas.INK, elinewidth=1.2, capsize=3, capthick=1.2)
    for x, (value, _, high) in shown:
        axes.annotate(
            f"{100 * value:.1f}", (x, high), xytext=(0, 3), textcoords="offset points", ha="center", va="bottom",
            fontsize=canvas.SMALL, color=canvas.INK, bbox=_CLEARING,
        )  # fmt: skip


def _hatch(k: int) -> str | None:
    return canvas.HATCHES[k // len(canvas.SERIES) % len(canvas.HATCHES)]


def _readable_on(color: str) -> str:
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return canvas.INK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else canvas.PAPER


def _comparison(factor: float) -> str:
    """How much faster (or slower) than the baseline, in words."""
    if factor >= 1.005:
        return f"{format_ratio(factor)} faster"
    return f"{format_ratio(1 / factor)} slower" if factor <= 0.995 else "as long"
