"""The common look of all pictures: palette, type, header, axes. Matplotlib's object interface, no global state."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .._compat import require
from .._files import replacing
from .escaping import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Draw = TypeVar("Draw", bound=Callable[..., Path])

INK, SOFT_INK, FAINT_INK = "#17212e", "#566172", "#8b95a3"
GRID, WASH, PAPER = "#e6e9ee", "#eef1f5", "#ffffff"
HEADS, NEURONS, STOP = "#1f5fa8", "#d9731a", "#b5179e"
# After Okabe and Ito (2008), distinguishable with every common colour vision; the order keeps neighbours apart in
# lightness too.
SERIES = ("#1f5fa8", "#e69f00", "#1b9e77", "#cc79a7", "#56b4e9", "#a8480c", "#6b7685")
HATCHES = (None, "////", "....")
# One hue from light to dark: order stays visible in grey and with every colour vision.
SEQUENTIAL = ("#f8fafc", "#d5e5ee", "#9cc5d8", "#569bbd", "#24699a", "#103f6e", "#071e3d")

DPI = 160
_TITLE, _SUBTITLE, LABEL, TICK, SMALL = 14.0, 9.5, 9.5, 8.5, 8.0
_MARGIN = 0.22  # inches around everything
_TITLE_LINE, _SUBTITLE_LINE, _HEADER_GAP = 0.30, 0.19, 0.16  # inches


def literal(draw: Draw) -> Draw:
    """Makes a drawing function show names as they are: no `$` begins a formula, and no character is undrawable."""

    @functools.wraps(draw)
    def drawn(*args: Any, **keywords: Any) -> Any:
        given = inspect.signature(draw).bind(*args, **keywords)
        for name, value in given.arguments.items():
            if name != "path":
                given.arguments[name] = _visible(value)
        with require("matplotlib", extra="plots").rc_context({"text.parse_math": False}):
            return draw(*given.args, **given.kwargs)

    return drawn


def _visible(value: Any) -> Any:
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {_visible(key): _visible(item) for key, item in value.items()}
    return [_visible(item) for item in value] if type(value) is list else value


def new_figure(width: float, height: float, title: str, subtitle: str = "") -> Figure:
    """An empty picture with its header; axes laid out on it stay below the header.

    Args:
        width: Inches.
        height: Inches, the header included.
        title: What the picture says, in a line.
        subtitle: What is drawn, lines separated by newlines.

    Returns:
        The figure, with an Agg canvas and constrained layout.
    """
    figure_module = require("matplotlib.figure", extra="plots")
    agg = require("matplotlib.backends.backend_agg", extra="plots")
    figure = figure_module.Figure(figsize=(width, height), dpi=DPI, facecolor=PAPER, layout="constrained")
    agg.FigureCanvasAgg(figure)
    top = height - _MARGIN
    style = {"ha": "left", "va": "top", "in_layout": False}
    left = _MARGIN / width
    figure.text(left, top / height, title, fontsize=_TITLE, fontweight="bold", color=INK, **style)
    lines = subtitle.count("\n") + 1 if subtitle else 0
    figure.text(
        left, (top - _TITLE_LINE) / height, subtitle, fontsize=_SUBTITLE, color=SOFT_INK, linespacing=1.35, **style
    )
    header = _TITLE_LINE + lines * _SUBTITLE_LINE + _HEADER_GAP
    room = (left, _MARGIN / height, 1 - 2 * left, (top - header - _MARGIN) / height)
    figure.get_layout_engine().set(rect=room, w_pad=0.02, h_pad=0.02, wspace=0.06, hspace=0.06)
    return figure


def tidy(axes: Axes, grid: str | None = None, spines: Sequence[str] = ()) -> None:
    """Takes the frame off the axes and gives them the common type.

    Args:
        axes: What to tidy.
        grid: Axis that gets a faint grid: `"x"`, `"y"`, `"both"`, or None.
        spines: Sides of the frame that stay.
    """
    for side, spine in axes.spines.items():
        spine.set_visible(side in spines)
        spine.set_color(FAINT_INK)
        spine.set_linewidth(0.8)
    axes.tick_params(length=0, labelsize=TICK, labelcolor=SOFT_INK, pad=5)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis=grid, color=GRID, linewidth=0.8)


def name_axes(axes: Axes, x: str | None = None, y: str | None = None) -> None:
    """Labels the axes."""
    if x:
        axes.set_xlabel(x, fontsize=LABEL, color=SOFT_INK, labelpad=7)
    if y:
        axes.set_ylabel(y, fontsize=LABEL, color=SOFT_INK, labelpad=7)


def panel_title(axes: Axes, text: str, color: str = INK) -> None:
    """A heading over one panel, flush left."""
    axes.set_title(text, loc="left", fontsize=10.5, fontweight="bold", color=color, pad=9)


def legend(axes: Axes, columns: int, **keywords: Any) -> None:
    """A legend without a frame above the axes."""
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=columns,
        frameon=False,
        fontsize=TICK,
        labelcolor=INK,
        borderaxespad=0.3,
        handlelength=1.1,
        handleheight=1.0,
        handletextpad=0.5,
        columnspacing=1.6,
        borderpad=0.2,
        **keywords,
    )


def save(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Writes the picture as PNG; missing folders are created.

    Returns:
        The path.
    """
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI, facecolor=PAPER, metadata={"Software": None})
    return Path(path)
