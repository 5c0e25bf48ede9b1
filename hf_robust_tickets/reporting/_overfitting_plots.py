"""Pictures of robust overfitting, and of densities that change while a model trains."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._compat import require
from ..errors import DataError
from . import _canvas as canvas
from .overfitting import AccuracyRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TRAIN, _OTHER, _UPDATE = canvas.SERIES[1], canvas.SERIES[0], canvas.FAINT_INK
_PANELS_PER_ROW = 2
_MOST_LAYERS_NAMED = 40
# Wide enough for the longest common names of layers, in characters.
_LONGEST_NAME = 44


@canvas.literal
def plot_robust_overfitting(
    records: Mapping[str, Sequence[AccuracyRecord | Mapping[str, Any]]],
    path: str | os.PathLike[str],
    *,
    split: str = "test",
    chosen_on: str = "validation",
    updates: Mapping[str, Sequence[float]] | None = None,
    title: str = "Accuracy under attack, in training and on test images",
) -> Path:
    """Robust accuracy over epochs, one panel per method: on training examples and on another split.

    The area between the curves is the robust generalisation gap; ticks on the lower edge are updates of the masks, a
    circle is the best epoch.

    Args:
        records: Method -> its records, oldest first, as for `summarize_overfitting`.
        path: The PNG file to write.
        split: The split beside `"train"`.
        chosen_on: The split that the best epoch is chosen on; without records of it no epoch is marked.
        updates: Method -> epochs at which masks changed (`SparseTrainingCallback.log` has them).
        title: The heading.

    Returns:
        The path.

    Raises:
        DataError: If a method has no records of the split.
        MissingDependencyError: If matplotlib is not installed.
    """
    curves = {name: [_plain(record) for record in series] for name, series in records.items()}
    if not curves or any(not series or split not in series[0]["robust"] for series in curves.values()):
        raise DataError(f"expected records with robust accuracy on {split!r} for every method, got none for some")
    columns = min(_PANELS_PER_ROW, len(curves))
    rows = math.ceil(len(curves) / columns)
    subtitle = f"Shaded: robust generalisation gap. Circle: best epoch, chosen on {chosen_on}."
    if updates:
        subtitle += " Ticks below: updates of the masks."
    figure = canvas.new_figure(4.4 * columns + 0.6, 1.1 + 2.9 * rows, title, subtitle)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
    for axes, (name, series) in zip(panels, curves.items()):
        _draw_curves(axes, series, split, chosen_on)
        for epoch in (updates or {}).get(name, ()):
            axes.axvline(epoch, ymax=0.035, color=_UPDATE, linewidth=0.8, zorder=1)
        canvas.tidy(axes, grid="y", spines=("bottom",))
        axes.tick_params(labelbottom=True, labelleft=True)
        axes.text(0, 1.13, name, transform=axes.transAxes, fontsize=10.5, fontweight="bold", color=canvas.INK)
        canvas.name_axes(axes, "epoch", "robust accuracy")
        axes.set_ylim(0, 1)
        axes.yaxis.set_major_formatter(
            require("matplotlib.ticker", extra="plots").PercentFormatter(1, decimals=0, symbol=" %")
        )
    for axes in panels[len(curves) :]:
        axes.set_visible(False)
    for axes in panels[: len(curves)]:
        canvas.legend(axes, 2)
    return canvas.save(figure, path)


def _plain(record: AccuracyRecord | Mapping[str, Any]) -> Mapping[str, Any]:
    return record.to_dict() if isinstance(record, AccuracyRecord) else record


def _draw_curves(axes: Axes, series: Sequence[Mapping[str, Any]], split: str, chosen_on: str) -> None:
    epochs = [record["epoch"] for record in series]
    other = [record["robust"][split] for record in series]
    style = {"linewidth": 2.0, "solid_capstyle": "round", "zorder": 3}
    if all("train" in record["robust"] for record in series):
        train = [record["robust"]["train"] for record in series]
        axes.fill_between(epochs, other, train, color=canvas.WASH, linewidth=0, zorder=0)
        axes.plot(epochs, train, color=_TRAIN, label="train", **style)
        gap = f"gap at the end {100 * (train[-1] - other[-1]):.1f}"
        axes.text(1.0, 1.13, gap, transform=axes.transAxes, ha="right", fontsize=canvas.SMALL, color=canvas.SOFT_INK)
    axes.plot(epochs, other, color=_OTHER, label=split, **style)
    if all(chosen_on in record["robust"] for record in series):
        best = max(range(len(series)), key=lambda i: series[i]["robust"][chosen_on])
        axes.plot(
            epochs[best], other[best], marker="o", markersize=7, color=canvas.PAPER, markeredgecolor=_OTHER,
            markeredgewidth=1.8, linestyle="none", zorder=4,
        )  # fmt: skip


@canvas.literal
def plot_layer_densities(
    log: Sequence[Mapping[str, Any]],
    path: str | os.PathLike[str],
    *,
    end: float | None = None,
    title: str = "Which part of every layer is kept",
) -> Path:
    """Density per layer over time as a field of colours, from the first layer above to the last below.

    Args:
        log: `SparseTrainingCallback.log`: entries with `epoch`, `density` and `layer_density`.
        path: The PNG file to write.
        end: Epoch of the end of training; None for that of the last entry.
        title: The heading.

    Returns:
        The path.

    Raises:
        DataError: If the log is empty.
        MissingDependencyError: If matplotlib is not installed.
    """
    if not log:
        raise DataError("expected at least one change of masks, got none: pass `callback.log` after a training")
    names = list(log[0]["layer_density"])
    starts = [float(entry["epoch"] or 0.0) for entry in log]
    last = max(end if end is not None else starts[-1], starts[0] + 1e-6)
    # A mask that came into force at the very end has no time of its own.
    shown = [i for i, start in enumerate(starts) if start < last] or [0]
    edges = [*(starts[i] for i in shown), last]
    field = [[log[i]["layer_density"][name] for i in shown] for name in names]
    totals = f"{100 * log[0]['density']:.3g} %"
    if log[-1]["density"] != log[0]["density"]:
        totals = f"from {totals} to {100 * log[-1]['density']:.3g} %"
    step = 1 if len(names) <= _MOST_LAYERS_NAMED else math.ceil(len(names) / _MOST_LAYERS_NAMED)
    height = 1.9 + 0.21 * max(6, len(names) // step)
    subtitle = f"All maskable weights together: {totals}. Columns: the masks between two updates."
    figure = canvas.new_figure(8.4, height, title, subtitle)
    axes = figure.subplots()
    colors = require("matplotlib.colors", extra="plots")
    values = [value for row in field for value in row if value > 0]
    norm = colors.LogNorm(min(values), max(1.0, *values)) if values else None
    shades = colors.LinearSegmentedColormap.from_list("density", canvas.SEQUENTIAL)
    mesh = axes.pcolormesh(edges, range(len(names) + 1), field, cmap=shades, norm=norm, linewidth=0)
    axes.set_ylim(len(names), 0)
    axes.set_yticks([i + 0.5 for i in range(0, len(names), step)], [_short(n) for n in names[::step]])
    canvas.tidy(axes)
    canvas.name_axes(axes, "epoch")
    bar = figure.colorbar(mesh, ax=axes, pad=0.02, aspect=30)
    bar.outline.set_visible(False)
    ticks = [tick for tick in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if not values or tick >= min(values)]
    bar.set_ticks(ticks, labels=[f"{100 * tick:g} %" for tick in ticks])
    bar.ax.minorticks_off()
    bar.ax.tick_params(length=0, labelsize=canvas.TICK, labelcolor=canvas.SOFT_INK)
    bar.set_label("weights kept", fontsize=canvas.LABEL, color=canvas.SOFT_INK, labelpad=8)
    return canvas.save(figure, path)


def _short(name: str) -> str:
    name = name.removesuffix(".weight")
    return name if len(name) <= _LONGEST_NAME else f"…{name[1 - _LONGEST_NAME :]}"
