"""The picture of a sweep: accuracy, with and without attacks, against sparsity, a line per step of the draw."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DataError
from . import _canvas as canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_AXES = {
    "sparsity": "share of heads and neurons that is cut",
    "draw": "step of the search at which the ticket is drawn",
}
_LINES = {"sparsity": "sparsity {}", "draw": "drawn at step {}"}


@canvas.literal
def plot_sweep(cells: Sequence[Mapping[str, Any]], path: str | os.PathLike[str]) -> Path:
    """A panel without an attack and one per recipe: means over seeds, with the range of the seeds as whiskers.

    The values of an axis stand at equal distances. Of a single sparsity, the step of the draw is the axis.

    Args:
        cells: Of each, `sparsity` and `draw` (texts), `accuracy`, and `attacks`: recipe -> a mapping with
            `accuracy_under_attack`; accuracies in [0, 1].
        path: The PNG file to write.

    Returns:
        The path.

    Raises:
        DataError: If there is no cell.
        MissingDependencyError: If matplotlib is not installed.
    """
    if not cells:
        raise DataError("expected at least one cell to draw, got none: sweep first")
    across, along = ("sparsity", "draw") if len({cell["sparsity"] for cell in cells}) > 1 else ("draw", "sparsity")
    recipes = list(dict.fromkeys(recipe for cell in cells for recipe in cell["attacks"]))
    seeds = len({cell["seed"] for cell in cells})
    subtitle = "Whiskers: the range of the seeds." if seeds > 1 else "One seed per cell."
    figure = canvas.new_figure(0.8 + 4.6 * (1 + len(recipes)), 4.8, "What the sweep found", subtitle)
    panels = figure.subplots(1, 1 + len(recipes), sharey=True, squeeze=False)[0]
    places = list(dict.fromkeys(cell[across] for cell in cells))
    for axes, recipe in zip(panels, [None, *recipes]):
        for number, line in enumerate(dict.fromkeys(cell[along] for cell in cells)):
            values = [
                _values([c for c in cells if c[along] == line and c[across] == place], recipe) for place in places
            ]
            name = "drawn when settled" if line == "settled" else _LINES[along].format(line)
            _draw(axes, values, name, canvas.SERIES[number % len(canvas.SERIES)])
        axes.set_xticks(range(len(places)), places)
        axes.margins(x=0.12, y=0.12)
        canvas.tidy(axes, grid="y", spines=("bottom",))
        canvas.name_axes(axes, _AXES[across], "accuracy, %" if recipe is None else None)
        canvas.panel_title(axes, "without an attack" if recipe is None else f"under {recipe}")
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=4,
        frameon=False,
        fontsize=canvas.TICK,
    )
    return canvas.save(figure, path)


def _values(cells: Sequence[Mapping[str, Any]], recipe: str | None) -> list[float]:
    """Per cent, one per seed; cells that were not attacked have none."""
    if recipe is None:
        return [100 * cell["accuracy"] for cell in cells]
    return [100 * cell["attacks"][recipe]["accuracy_under_attack"] for cell in cells if recipe in cell["attacks"]]


def _draw(axes: Axes, values: Sequence[Sequence[float]], name: str, color: str) -> None:
    known = [(place, seeds) for place, seeds in enumerate(values) if seeds]
    means = [statistics.mean(seeds) for _, seeds in known]
    reach = [
        [mean - min(seeds) for mean, (_, seeds) in zip(means, known)],
        [max(seeds) - mean for mean, (_, seeds) in zip(means, known)],
    ]
    axes.errorbar(
        [place for place, _ in known], means, yerr=reach, label=name, color=color, fmt="o-", markersize=6,
        linewidth=1.8, elinewidth=1.2, capsize=3,
    )  # fmt: skip
