"""Curves as SVG inside the page: accuracy against the radius of a ball, the severity of noise, or coverage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ._canvas import SERIES
from .escaping import Html, html, join_html

_WIDTH, _HEIGHT = 640, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 16, 48
_GRID = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Line:
    """One curve.

    Args:
        name: What it is.
        points: (x, y) with x ascending and y in [0, 1].
        band: (lower, upper) of the interval of each point; empty for none.
    """

    name: str
    points: Sequence[tuple[float, float]]
    band: Sequence[tuple[float, float]] = ()


@dataclass(frozen=True)
class Curves:
    """Several curves over one axis. Drawn with shapes and text alone, so that the page needs no script.

    Args:
        lines: The curves.
        x: Name of the horizontal axis.
        y: Name of the vertical axis; its values are shares.
        caption: What is shown.
        even: Places the values of x at equal distances, for radii over several orders of magnitude.
    """

    lines: Sequence[Line]
    x: str
    y: str
    caption: str
    even: bool = False

    def html(self) -> Html:
        """The curves as a figure."""
        values = sorted({x for line in self.lines for x, _ in line.points})
        parts = [self._frame(values)]
        for number, line in enumerate(self.lines):
            parts.append(self._line(line, values, SERIES[number % len(SERIES)]))
        legend = (
            html('<span><i style="background:{}"></i>{}</span>', SERIES[n % len(SERIES)], line.name)
            for n, line in enumerate(self.lines)
        )
        return html(
            '<figure class="curves"><svg viewBox="0 0 {} {}" role="img" aria-label="{caption}">\n{}\n</svg>\n'
            '<p class="legend">{}</p><figcaption>{caption}</figcaption></figure>',
            *(_WIDTH, _HEIGHT, join_html(parts), join_html(legend, "")),
            caption=self.caption,
        )

    def _across(self, x: float, values: Sequence[float]) -> float:
        if self.even:
            share = values.index(x) / max(1, len(values) - 1)
        else:
            share = (x - values[0]) / ((values[-1] - values[0]) or 1.0)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def _frame(self, values: Sequence[float]) -> Html:
        bottom = _HEIGHT - _BOTTOM
        parts = []
        for share in _GRID:
            y = _up(share)
            line = '<line class="grid" x1="{}" y1="{y:.1f}" x2="{}" y2="{y:.1f}"/>'
            parts.append(html(line, _LEFT, _WIDTH - _RIGHT, y=y))
            parts.append(html('<text x="{}" y="{:.1f}" text-anchor="end">{:.0%}</text>', _LEFT - 8, y + 4, share))
        shown = values if len(values) <= 8 else [values[round(i * (len(values) - 1) / 5)] for i in range(6)]
        for x in shown:
            place = self._across(x, values)
            parts.append(html('<text x="{:.1f}" y="{}" text-anchor="middle">{:g}</text>', place, bottom + 18, x))
        middle = (_LEFT + _WIDTH - _RIGHT) / 2
        axis = '<text class="axis" x="{}" y="{}" text-anchor="middle">{}</text>'
        parts.append(html(axis, middle, _HEIGHT - 8, self.x))
        turned = '<text class="axis" x="12" y="{0}" text-anchor="middle" transform="rotate(-90 12 {0})">{1}</text>'
        parts.append(html(turned, (bottom + _TOP) / 2, self.y))
        return join_html(parts)

    def _line(self, line: Line, values: Sequence[float], color: str) -> Html:
        places = [(self._across(x, values), _up(y)) for x, y in line.points]
        parts = []
        if line.band:
            upper = [(px, _up(high)) for (px, _), (_, high) in zip(places, line.band, strict=True)]
            lower = [(px, _up(low)) for (px, _), (low, _) in zip(places, line.band, strict=True)]
            area = '<polygon points="{}" fill="{}" opacity="0.14"/>'
            parts.append(html(area, _path([*upper, *reversed(lower)]), color))
        parts.append(html('<polyline points="{}" fill="none" stroke="{}" stroke-width="2.2"/>', _path(places), color))
        if len(places) <= 12:
            dot = '<circle cx="{:.1f}" cy="{:.1f}" r="3.4" fill="{}"><title>{}, {:g}: {:.1%}</title></circle>'
            parts += [html(dot, px, py, color, line.name, x, y) for (px, py), (x, y) in zip(places, line.points)]
        return join_html(parts)


def white_box_curves(results: Sequence[tuple[str, Mapping[str, Any]]]) -> Curves:
    """(name of the model, JSON of a white-box result): accuracy against the radius."""
    lines = []
    for name, result in results:
        points = [(point["radius"], point["accuracy"]) for point in result["curve"]]
        lines.append(Line(_white_box_name(name, result), points, [(p["low"], p["high"]) for p in result["curve"]]))
    return Curves(
        lines,
        "radius of the ball",
        "accuracy",
        "Accuracy inside balls around the input, under the worst perturbation found; bands: 95 % intervals (Wilson).",
        even=True,
    )


def noise_curves(name: str, result: Mapping[str, Any]) -> Curves:
    """JSON of a noise result: accuracy against severity, a curve per kind."""
    start = (result["clean_accuracy"], result["clean_confidence_interval"])
    lines = []
    for kind in dict.fromkeys(cell["kind"] for cell in result["cells"]):
        cells = sorted((c for c in result["cells"] if c["kind"] == kind), key=lambda cell: cell["severity"])
        points = [(0.0, start[0]), *((float(cell["severity"]), cell["accuracy"]) for cell in cells)]
        lines.append(Line(kind, points))
    return Curves(lines, "severity of the noise", "accuracy", f"{name}: accuracy on texts with natural noise.")


def risk_coverage_curves(name: str, calibration: Mapping[str, Mapping[str, Any]]) -> Curves:
    """`calibration` of a recipe's JSON: the share of errors among the most confident predictions."""
    names = {"clean": "clean texts", "under_attack": "under attack"}
    lines = [Line(names[kind], [tuple(p) for p in found["risk_coverage"]]) for kind, found in calibration.items()]
    return Curves(
        lines,
        "coverage, the most confident predictions first",
        "errors among them",
        f"{name}: risk-coverage.",
    )


def _white_box_name(name: str, result: Mapping[str, Any]) -> str:
    adversary = result["adversary"]
    place = f"layer {result['layer']}" if result["layer"] else "input"
    unit = ", radius as a share of the norm" if adversary.get("step_unit") == "relative" else ""
    return f"{name}: {adversary['name']}, {adversary['norm']}, {place}{unit}"


def _up(share: float) -> float:
    return _HEIGHT - _BOTTOM - share * (_HEIGHT - _BOTTOM - _TOP)


def _path(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
