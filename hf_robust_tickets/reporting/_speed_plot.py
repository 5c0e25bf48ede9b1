"""The picture of what pruning buys: each quantity as a share of the dense model's."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import DataError
from . import _canvas as canvas

_LATENCY = "latency, "


@canvas.literal
def plot_speed(
    rows: Sequence[Mapping[str, Any]],
    path: str | os.PathLike[str],
    *,
    title: str = "The pruned model, as a share of the dense one",
    subtitle: str = "",
) -> Path:
    """One bar per quantity, 100 % being the dense model; a mark where the number of operations alone would put it.

    Args:
        rows: As `SpeedReport.rows()` gives them: `what`, `pruned`, `dense`, `ratio`, `operations`. Throughputs, which
            say the same as latencies, are left out.
        path: The PNG file to write.
        title: The heading.
        subtitle: A line below it, e.g. how it was measured.

    Returns:
        The path.

    Raises:
        DataError: If there is nothing to draw.
        MissingDependencyError: If matplotlib is not installed.
    """
    shown = [row for row in rows if not str(row["what"]).startswith("throughput")]
    if not shown:
        raise DataError("expected at least one measured quantity, got none: measure first")
    times = [row for row in shown if str(row["what"]).startswith(_LATENCY)]
    rest = [row for row in shown if row not in times]
    # A gap between what is timed and what is counted.
    places = [*range(len(times)), *(len(times) + 0.6 + i for i in range(len(rest)))]
    legend = "Blue: time of a forward pass (batch x length); the mark is the share of operations. Orange: size."
    lines = "\n".join(part for part in (subtitle, legend) if part)
    figure = canvas.new_figure(8.4, 2.1 + 0.36 * len(shown), title, lines)
    axes = figure.subplots()
    ratios = [float(row["ratio"]) for row in (*times, *rest)]
    colors = [canvas.HEADS] * len(times) + [canvas.NEURONS] * len(rest)
    widest = max(1.0, *ratios)
    axes.barh(places, [1.0] * len(places), height=0.62, color=canvas.WASH, linewidth=0)
    axes.barh(places, ratios, height=0.62, color=colors, linewidth=0)
    for place, ratio, row in zip(places, ratios, (*times, *rest)):
        if row.get("operations") is not None:
            share = float(row["operations"])
            axes.plot([share, share], [place - 0.4, place + 0.4], color=canvas.INK, linewidth=1.6)
        style = {"va": "center", "fontsize": canvas.SMALL}
        axes.text(1.06 * widest, place, f"{100 * ratio:.0f} %", ha="left", color=canvas.INK, **style)
        figures = f"{row['pruned']}  of  {row['dense']}"
        axes.text(1.18 * widest, place, figures, ha="left", color=canvas.SOFT_INK, **style)
    axes.set_yticks(places, [str(row["what"]).removeprefix(_LATENCY) for row in (*times, *rest)])
    axes.set_ylim(places[-1] + 0.55, -0.55)
    axes.set_xlim(0, 1.62 * widest)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1.0], ["0", "25 %", "50 %", "75 %", "dense"])
    canvas.tidy(axes)
    return canvas.save(figure, path)
