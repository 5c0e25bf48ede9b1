"""Curves inside the page: accuracy against the radius of a ball, the severity of noise, or coverage.

Vega-Lite draws them, by `vl_convert` (extra `plots`), as SVG: axes, ticks and legends are its. The page has no script:
what a point stands for is its `<title>`, which browsers show where one points at it.
"""

from __future__ import annotations

import importlib.util
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._compat import require
from ._canvas import SERIES
from .escaping import Html, html, visible

_WIDTH, _HEIGHT = 560, 260
_SVG = "http://www.w3.org/2000/svg"
# Above this many, points would hide their line; they are there to be pointed at, and are not seen.
_MOST_DOTS = 12
_CONFIG = {
    "font": "system-ui, -apple-system, Segoe UI, Roboto, Helvetica Neue, DejaVu Sans, sans-serif",
    "background": None,
    "view": {"stroke": None},
    "axis": {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "domain": False, "ticks": False},
    "axisX": {"grid": False, "labelPadding": 8, "labelAngle": 0, "labelOverlap": "greedy"},
    "legend": {"labelFontSize": 12, "symbolType": "square", "symbolStrokeWidth": 0, "labelLimit": 0},
}


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
    """Several curves over one axis.

    Args:
        lines: The curves.
        x: Name of the horizontal axis.
        y: Name of the vertical axis; its values are shares.
        caption: What is shown.
        even: Places the values of x at equal distances, for radii over several orders of magnitude.
        x_format: How the values of x are written, in the notation of d3.
    """

    lines: Sequence[Line]
    x: str
    y: str
    caption: str
    even: bool = False
    x_format: str = ".3~g"

    def html(self) -> Html:
        """The curves as a figure; a sentence in its place where nothing is installed that draws them."""
        if importlib.util.find_spec("vl_convert") is None:
            missing = "<p>The curves are drawn where vl-convert is installed: <code>{}</code></p>"
            drawn = html(missing, "pip install 'hf_robust_tickets[plots]'")
        else:
            # Of the medium already: the serialiser of the library, and that of the standard library, escape.
            drawn = Html(_with_titles(require("vl_convert", extra="plots").vegalite_to_svg(json.dumps(self.spec()))))
        return html('<figure class="curves">\n{}\n<figcaption>{}</figcaption></figure>', drawn, self.caption)

    def spec(self) -> dict[str, Any]:
        """The curves in Vega-Lite."""
        rows = [row for line in self.lines for row in self._rows(line)]
        dots = max(len(line.points) for line in self.lines) <= _MOST_DOTS
        opacity = 1 if dots else 0.001
        point = {"type": "point", "filled": True, "size": 55, "opacity": opacity, "aria": True}
        return {
            "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
            "width": _WIDTH,
            "height": _HEIGHT,
            "description": visible(self.caption),
            "data": {"values": rows},
            "encoding": {"x": self._across(), "color": self._color()},
            "layer": [
                {
                    "transform": [{"filter": "isValid(datum.low)"}],
                    "mark": {"type": "area", "opacity": 0.14, "aria": False},
                    "encoding": {"y": self._up("low"), "y2": {"field": "high"}},
                },
                {"mark": {"type": "line", "strokeWidth": 2.2, "aria": False}, "encoding": {"y": self._up("y")}},
                {"mark": point, "encoding": {"y": self._up("y"), "description": {"field": "said"}}},
            ],
            "config": _CONFIG,
        }

    def _rows(self, line: Line) -> list[dict[str, Any]]:
        name, rows = visible(line.name), []
        for i, (x, y) in enumerate(line.points):
            low, high = line.band[i] if line.band else (None, None)
            interval = "" if low is None else f" ({low:.1%} to {high:.1%})"
            said = f"{name}, {self.x} {x:.3g}: {y:.1%}{interval}"
            rows.append({"line": name, "x": f"{x:.3g}" if self.even else x, "y": y, "said": said})
            rows[-1] |= {} if low is None else {"low": low, "high": high}
        return rows

    def _across(self) -> dict[str, Any]:
        title = {"title": visible(self.x)}
        if not self.even:
            scale = {"nice": False, "zero": False}
            return {"field": "x", "type": "quantitative", "scale": scale, "axis": {**title, "format": self.x_format}}
        places = sorted({x for line in self.lines for x, _ in line.points})
        order = list(dict.fromkeys(f"{x:.3g}" for x in places))
        return {"field": "x", "type": "ordinal", "sort": order, "scale": {"type": "point"}, "axis": title}

    def _up(self, field: str) -> dict[str, Any]:
        axis = {"format": ".0%", "tickCount": 5, "title": visible(self.y)}
        return {"field": field, "type": "quantitative", "scale": {"domain": [0, 1]}, "axis": axis}

    def _color(self) -> dict[str, Any]:
        names = [visible(line.name) for line in self.lines]
        scale = {"domain": names, "range": [SERIES[i % len(SERIES)] for i in range(len(names))]}
        legend = {
            "orient": "bottom",
            "title": None,
            "symbolOpacity": 1,
            "columns": 1 if max(map(len, names)) > 30 else 3,
        }
        return {"field": "line", "type": "nominal", "scale": scale, "legend": legend}


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
    return Curves(lines, "severity", "accuracy", f"{name}: accuracy on texts with natural noise.", x_format="d")


def risk_coverage_curves(name: str, calibration: Mapping[str, Mapping[str, Any]]) -> Curves:
    """`calibration` of a recipe's JSON: the share of errors among the most confident predictions."""
    names = {"clean": "clean texts", "under_attack": "under attack"}
    lines = [Line(names[kind], [tuple(p) for p in found["risk_coverage"]]) for kind, found in calibration.items()]
    return Curves(
        lines,
        "coverage, the most confident predictions first",
        "errors among them",
        f"{name}: risk-coverage.",
        x_format=".0%",
    )


def _white_box_name(name: str, result: Mapping[str, Any]) -> str:
    adversary = result["adversary"]
    place = f"layer {result['layer']}" if result["layer"] else "input"
    unit = ", radius as a share of the norm" if adversary.get("step_unit") == "relative" else ""
    return f"{name}: {adversary['name']}, {adversary['norm']}, {place}{unit}"


def _with_titles(svg: str) -> str:
    """The picture at the width of the page, with what each point says where browsers look for it."""
    ElementTree.register_namespace("", _SVG)
    root = ElementTree.fromstring(svg)
    for name in ("width", "height"):
        root.attrib.pop(name, None)
    for element in list(root.iter()):
        if "mark-symbol" in element.get("class", "") and "role-mark" in element.get("class", ""):
            for point in element:
                ElementTree.SubElement(point, f"{{{_SVG}}}title").text = point.attrib.pop("aria-label", "")
    return re.sub(r"^<\?xml[^>]*>\s*", "", ElementTree.tostring(root, encoding="unicode"))
