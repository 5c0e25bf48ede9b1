"""Pictures of the search: how far the tickets of its checkpoints are apart, and when it stops."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .._compat import require
from ..errors import ConfigurationError, DataError
from . import _canvas as canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..tickets import RobustTicket

_KINDS = {"heads": ("heads",), "neurons": ("neurons",), "both": ("heads", "neurons")}
_COLOR = {"heads": canvas.HEADS, "neurons": canvas.NEURONS}
_PANEL_NAME = {"heads": "Attention heads", "neurons": "Feed-forward neurons"}
# Up to this many tickets a cell is wide enough for its figure.
_MOST_FIGURES = 10
_MOST_TICKS = 11


class _Rule(NamedTuple):
    """What a way of searching bounds, and what noise gives in its place: keys of the log, and their names."""

    line: str
    line_name: str
    noise: str
    noise_name: str


_RULES = (
    _Rule("{}_distance_halves", "even batches against odd ones", "{}_distance_chance", "by chance"),
    _Rule("{}_distance_window", "largest distance in the window", "shadow_{}_distance_window", "shadow gates"),
)


@canvas.literal
def plot_distance_matrix(
    tickets: Sequence[RobustTicket],
    path: str | os.PathLike[str],
    kind: str = "both",
    *,
    epochs: Sequence[float] | None = None,
    early_bird: int | None = None,
    title: str = "Tickets of the search, against each other",
) -> Path:
    """A heat map of the mask distances between all tickets, checkpoint against checkpoint.

    The picture by which "Efficient Adversarial Training with Robust Early-Bird Tickets" (EMNLP 2022) shows that robust
    connectivity emerges early: once the tickets agree, the lower right of the map is light.

    Args:
        tickets: The tickets in the order in which they were drawn.
        path: The PNG file to write.
        kind: `"heads"`, `"neurons"`, or `"both"`, side by side on one colour scale.
        epochs: When each ticket was drawn, in epochs; by default tickets are numbered from 1.
        early_bird: Position of the ticket that the search chose, counted from 0; it is marked.
        title: The heading.

    Returns:
        The path.

    Raises:
        ConfigurationError: If the kind is unknown.
        DataError: If there is no ticket, `epochs` has another length, or `early_bird` is no position.
        MissingDependencyError: If matplotlib is not installed.
        TicketError: If the tickets belong to models of different shapes.
    """
    if kind not in _KINDS:
        raise ConfigurationError(f"expected kind to be one of {', '.join(_KINDS)}; got {kind!r}")
    _check_tickets(tickets, epochs, early_bird)
    colors = require("matplotlib.colors", extra="plots")
    matrices = _distance_matrices(tickets, _KINDS[kind])
    labels = [str(i + 1) for i in range(len(tickets))] if epochs is None else [f"{epoch:.2f}" for epoch in epochs]
    subtitle = "Share of mask entries that differ between two tickets, in percent."
    if early_bird is not None:
        subtitle += f" Marked: the early-bird ticket ({'number' if epochs is None else 'epoch'} {labels[early_bird]})."
    figure = canvas.new_figure(
        1.0 + 4.3 * len(matrices), 5.4, title, subtitle if len(matrices) > 1 else _wrap(subtitle)
    )
    scale = colors.LinearSegmentedColormap.from_list("distance", canvas.SEQUENTIAL)
    highest = max(0.01, *(value for matrix in matrices.values() for row in matrix for value in row))
    grid = figure.subplots(1, len(matrices), squeeze=False)[0]
    for axes, (name, matrix) in zip(grid, matrices.items()):
        image = axes.imshow(
            [[100 * value for value in row] for row in matrix], cmap=scale, vmin=0, vmax=100 * highest, aspect="equal"
        )
        _dress_matrix(axes, matrix, labels, highest, early_bird)
        canvas.panel_title(axes, _PANEL_NAME[name])
        what = "ticket" if epochs is None else "epoch of the ticket"
        canvas.name_axes(axes, what, what if axes is grid[0] else None)
    bar = figure.colorbar(image, ax=list(grid), shrink=0.82, aspect=28, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=canvas.TICK, labelcolor=canvas.SOFT_INK)
    bar.set_label("entries that differ (%)", fontsize=canvas.LABEL, color=canvas.SOFT_INK, labelpad=8)
    return canvas.save(figure, path)


@canvas.literal
def plot_distances(
    search_log: Sequence[Mapping[str, Any]],
    tolerance: float,
    path: str | os.PathLike[str],
    *,
    title: str | None = None,
) -> Path:
    """The distances that the search watches, over its epochs, with the tolerance and the stop.

    The line is what the tolerance bounds: for gates the largest distance of a ticket to those after it
    (`*_distance_window`), for first-order scores that between the tickets of even and of odd batches
    (`*_distance_halves`). The dots are the distances to the ticket before (`head_distance`, `neuron_distance`). The
    dashed line is what noise gives: shadow gates (`shadow_*_distance_window`), or chance (`*_distance_chance`); a
    search has settled well below it. A log without these is drawn by the dots alone.

    Args:
        search_log: One record per ticket: `epoch`, `step`, the distances as fractions (absent or None in the first),
            and `stop`.
        tolerance: The bound below which both must stay, as a fraction.
        path: The PNG file to write.
        title: The heading; by default it says whether and when the search stopped.

    Returns:
        The path.

    Raises:
        DataError: If the log is empty or a record has no epoch.
        MissingDependencyError: If matplotlib is not installed.
    """
    if not search_log:
        raise DataError(
            "expected at least one record of the search, got none: pass `trainer.search_log` after a search"
        )
    missing = [i for i, record in enumerate(search_log) if record.get("epoch") is None]
    if missing:
        raise DataError(f"expected an epoch in every record of the search, got none in record {missing[0]}")
    stop = next((record for record in search_log if record.get("stop")), None)
    bounded = next((rule for rule in _RULES if _has(search_log, rule.line.format("head"))), None)
    if title is None:
        title = "The search ran to its budget" if stop is None else f"The ticket settled at epoch {stop['epoch']:.2f}"
    subtitle = "Distance of each ticket to the one before it."
    if bounded is not None:
        noise = f" Dashed: {bounded.noise_name}." if _has(search_log, bounded.noise.format("head")) else ""
        subtitle = f"Lines: {bounded.line_name}. Dots: to the ticket before.{noise}"
    figure = canvas.new_figure(7.6, 4.3, title, subtitle)
    axes = figure.subplots()
    _draw_series(axes, search_log, bounded)
    _draw_bounds(axes, search_log, tolerance, stop)
    ticker = require("matplotlib.ticker", extra="plots")
    decimals = 0 if axes.get_ylim()[1] > 0.06 else 1
    axes.yaxis.set_major_formatter(ticker.PercentFormatter(1, decimals=decimals, symbol=" %"))
    canvas.tidy(axes, grid="y", spines=("bottom",))
    canvas.name_axes(axes, "epoch of the search", "mask entries that differ")
    return canvas.save(figure, path)


def _check_tickets(tickets: Sequence[RobustTicket], epochs: Sequence[float] | None, early_bird: int | None) -> None:
    if not tickets:
        raise DataError("expected at least one ticket, got none: pass those that the search drew")
    if epochs is not None and len(epochs) != len(tickets):
        raise DataError(f"expected one epoch per ticket, got {len(epochs)} for {len(tickets)} tickets")
    if early_bird is not None and not 0 <= early_bird < len(tickets):
        raise DataError(f"expected early_bird between 0 and {len(tickets) - 1}, got {early_bird}")


def _distance_matrices(tickets: Sequence[RobustTicket], names: Sequence[str]) -> dict[str, list[list[float]]]:
    from ..tickets import mask_distance

    size = len(tickets)
    matrices = {name: [[0.0] * size for _ in range(size)] for name in names}
    for i in range(size):
        for j in range(i):
            distance = mask_distance(tickets[i], tickets[j])
            for name in names:
                matrices[name][i][j] = matrices[name][j][i] = getattr(distance, name)
    return matrices


def _dress_matrix(
    axes: Axes, matrix: list[list[float]], labels: Sequence[str], highest: float, early_bird: int | None
) -> None:
    size = len(labels)
    # Evenly spaced, as few as stay legible, the newest ticket among them.
    ticks = range(size - 1, -1, -math.ceil(size / _MOST_TICKS))
    canvas.tidy(axes)
    axes.set_xticks(ticks, [labels[i] for i in ticks], rotation=45 if len(labels[-1]) > 3 and size > 6 else 0)
    axes.set_yticks(ticks, [labels[i] for i in ticks])
    if size <= _MOST_FIGURES:
        for i, row in enumerate(matrix):
            for j, value in enumerate(row):
                color = canvas.PAPER if value > 0.5 * highest else canvas.INK
                axes.text(j, i, f"{100 * value:.0f}", ha="center", va="center", fontsize=canvas.SMALL, color=color)
    if size <= 2 * _MOST_FIGURES:
        axes.set_xticks([i + 0.5 for i in range(size - 1)], minor=True)
        axes.set_yticks([i + 0.5 for i in range(size - 1)], minor=True)
        axes.grid(which="minor", color=canvas.PAPER, linewidth=1.2)
        axes.tick_params(which="minor", length=0)
        axes.grid(False, which="major")
    if early_bird is not None:
        patches = require("matplotlib.patches", extra="plots")
        square = (early_bird - 0.5, early_bird - 0.5)
        axes.add_patch(patches.Rectangle(square, 1, 1, fill=False, edgecolor=canvas.STOP, linewidth=2.2, zorder=5))


def _draw_series(axes: Axes, log: Sequence[Mapping[str, Any]], rule: _Rule | None) -> None:
    drawn = False
    for name, kind in (("heads", "head"), ("neurons", "neuron")):
        style = {"color": _COLOR[name], "zorder": 3}
        steps = _points(log, f"{kind}_distance")
        line = steps if rule is None else _points(log, rule.line.format(kind))
        if not line:
            continue
        drawn = True
        noise = [] if rule is None else _points(log, rule.noise.format(kind))
        if noise:
            axes.plot(*zip(*noise), linewidth=1.2, linestyle=(0, (4, 2)), alpha=0.7, clip_on=False, **style)
        axes.plot(*zip(*line), linewidth=2.0, solid_capstyle="round", label=name, clip_on=False, **style)
        if steps:
            axes.plot(
                *zip(*steps), linestyle="none", marker="o", markersize=4.2, markeredgecolor=canvas.PAPER, **style
            )
    if drawn:
        canvas.legend(axes, 2)
    else:
        note = "only one ticket was drawn: there is no distance to show"
        axes.text(0.5, 0.5, note, transform=axes.transAxes, ha="center", fontsize=canvas.LABEL, color=canvas.SOFT_INK)


def _has(log: Sequence[Mapping[str, Any]], key: str) -> bool:
    return any(record.get(key) is not None for record in log)


def _points(log: Sequence[Mapping[str, Any]], key: str) -> list[tuple[float, float]]:
    return [(record["epoch"], record[key]) for record in log if record.get(key) is not None]


def _draw_bounds(
    axes: Axes, log: Sequence[Mapping[str, Any]], tolerance: float, stop: Mapping[str, Any] | None
) -> None:
    values = [value for record in log for key, value in record.items() if "_distance" in key and value is not None]
    top = 1.12 * max(tolerance, *values, 0.0)
    last = max(log[-1]["epoch"], 1e-6)
    axes.set_ylim(0, top)
    axes.set_xlim(0, 1.04 * last)
    axes.axhspan(0, tolerance, color=canvas.WASH, zorder=0)
    axes.axhline(tolerance, color=canvas.FAINT_INK, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
    axes.annotate(
        f"tolerance\n{100 * tolerance:g} %",
        (1.0, tolerance),
        xycoords=("axes fraction", "data"),
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
        fontsize=canvas.SMALL,
        color=canvas.SOFT_INK,
    )
    if stop is None:
        return
    axes.axvline(stop["epoch"], color=canvas.STOP, linewidth=1.4, zorder=2)
    step = f"step {stop['step']:,}" if stop.get("step") is not None else ""
    axes.annotate(
        f"stop\n{step}",
        (stop["epoch"], 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(-6, -4),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=canvas.SMALL,
        color=canvas.STOP,
        fontweight="bold",
    )


def _wrap(text: str, width: int = 62) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, width))
