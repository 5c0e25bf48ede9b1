"""A picture of one ticket: which heads and how many neurons it keeps."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DataError
from . import _canvas as canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..tickets import RobustTicket

# Width of the right panel in widths of its widest bar: the rest holds the figures.
_BAR_ROOM = 1.32


@canvas.literal
def plot_ticket(
    ticket: RobustTicket,
    path: str | os.PathLike[str],
    dense: tuple[Sequence[int], Sequence[int]] | None = None,
    *,
    title: str = "What the ticket keeps",
) -> Path:
    """The kept heads as a grid of dots and the kept neurons as bars, layer by layer, the first layer on top.

    Args:
        ticket: The ticket.
        path: The PNG file to write.
        dense: Heads and neurons per layer of the dense model; by default the lengths of the ticket's masks. They
            differ when the ticket was drawn from a model that had been pruned before; heads beyond the mask count as
            removed.
        title: The heading.

    Returns:
        The path.

    Raises:
        DataError: If `dense` does not have one entry per layer, or is smaller than a mask.
        MissingDependencyError: If matplotlib is not installed.
    """
    heads = [[bool(kept) for kept in mask] for mask in ticket.heads]
    neurons = [sum(bool(kept) for kept in mask.tolist()) for mask in ticket.neurons]
    shape = ([len(mask) for mask in heads], [len(mask) for mask in ticket.neurons])
    dense_heads, dense_neurons = shape if dense is None else _checked(dense, shape)
    depth, widest = len(heads), max(dense_heads)
    kept_heads = sum(map(sum, heads))
    subtitle = (
        f"{kept_heads:,} of {sum(dense_heads):,} heads ({_percent(kept_heads, sum(dense_heads))}) and "
        f"{sum(neurons):,} of {sum(dense_neurons):,} neurons ({_percent(sum(neurons), sum(dense_neurons))}) "
        f"in {depth} {'layer' if depth == 1 else 'layers'}."
    )
    row = 0.3 if depth <= 12 else 0.23
    grid_width = max(2.6, row * widest + 0.9)
    figure = canvas.new_figure(grid_width + 4.4, 2.0 + row * depth, title, subtitle)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(grid_width, 3.7))
    _draw_heads(left, heads, dense_heads, size=(row * 72 * 0.62) ** 2)
    _draw_neurons(right, neurons, dense_neurons)
    left.set_ylim(depth - 0.4, -0.6)
    left.set_yticks(range(depth), [str(i + 1) for i in range(depth)])
    right.tick_params(labelleft=False)
    canvas.name_axes(left, "head", "layer")
    canvas.name_axes(right, "neurons kept")
    right.xaxis.label.set_x(0.5 / _BAR_ROOM)  # under the bars, not under their figures
    return canvas.save(figure, path)


def _checked(dense: tuple[Sequence[int], Sequence[int]], shape: tuple[list[int], list[int]]) -> tuple:
    for name, sizes, least in zip(("heads", "neurons"), dense, shape):
        if len(sizes) != len(least) or any(size < mask for size, mask in zip(sizes, least)):
            raise DataError(f"expected dense {name} per layer of at least {least}, got {list(sizes)}")
    return dense


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / max(whole, 1):.0f} %"


def _draw_heads(axes: Axes, heads: list[list[bool]], dense: Sequence[int], size: float) -> None:
    widest = max(dense)
    kept = [(j, i) for i, mask in enumerate(heads) for j, keep in enumerate(mask) if keep]
    gone = [(j, i) for i, mask in enumerate(heads) for j in range(dense[i]) if j >= len(mask) or not mask[j]]
    if kept:
        axes.scatter(*zip(*kept), s=size, color=canvas.HEADS, linewidths=0)
    if gone:
        axes.scatter(*zip(*gone), s=0.7 * size, facecolors=canvas.PAPER, edgecolors="#b9c1cc", linewidths=0.9)
    every = 1 if widest <= 16 else 4
    ticks = [0, *range(every - 1, widest, every)] if every > 1 else range(widest)
    axes.set_xticks(ticks, [str(j + 1) for j in ticks])
    axes.set_xlim(-0.7, widest - 0.3)
    canvas.tidy(axes)
    canvas.panel_title(axes, "Attention heads", canvas.HEADS)


def _draw_neurons(axes: Axes, kept: list[int], dense: Sequence[int]) -> None:
    layers, widest = range(len(kept)), max(dense)
    axes.barh(layers, dense, height=0.62, color=canvas.WASH, linewidth=0)
    axes.barh(layers, kept, height=0.62, color=canvas.NEURONS, linewidth=0)
    for i, (number, all_of_them) in enumerate(zip(kept, dense)):
        style = {"ha": "right", "va": "center", "fontsize": canvas.SMALL}
        axes.text(1.17 * widest, i, f"{number:,}", color=canvas.INK, **style)
        axes.text(1.31 * widest, i, _percent(number, all_of_them), color=canvas.SOFT_INK, **style)
    axes.set_xlim(0, _BAR_ROOM * widest)
    axes.set_xticks([0, widest // 2, widest], ["0", f"{widest // 2:,}", f"{widest:,}"])
    canvas.tidy(axes)
    canvas.panel_title(axes, "Feed-forward neurons", canvas.NEURONS)
