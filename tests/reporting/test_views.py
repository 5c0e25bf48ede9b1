"""Curves, calibration and other views on the page, and the page in a real browser."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest

from hf_robust_tickets.evaluation import GateResult, GateRow, ImageTransferResult
from hf_robust_tickets.reporting.attack_page import write_attack_page
from hf_robust_tickets.reporting.curves import Curves, Line
from tests.testing.reports import outcome, report

DRAWS = importlib.util.find_spec("vl_convert") is not None
DRAWN = pytest.mark.skipif(not DRAWS, reason="vl-convert is not installed")

WHITE_BOX = {
    "schema": "hf_robust_tickets/white_box",
    "adversary": {"name": "pgd", "norm": "l2"},
    "layer": 0,
    "num_examples": 8,
    "curve": [
        {"radius": 0.0, "accuracy": 1.0, "low": 0.7, "high": 1.0},
        {"radius": 0.1, "accuracy": 0.5, "low": 0.2, "high": 0.8},
        {"radius": 10.0, "accuracy": 0.0, "low": 0.0, "high": 0.3},
    ],
    "warnings": ["the gradients <are> odd"],
}
NOISE = {
    "schema": "hf_robust_tickets/noise",
    "clean_accuracy": 0.9,
    "clean_confidence_interval": [0.8, 0.95],
    "num_examples": 8,
    "cells": [
        {
            "kind": kind,
            "severity": severity,
            "accuracy": 0.9 - 0.1 * severity,
            "confidence_interval": [0.1, 0.9],
            "difference": -0.1 * severity,
            "p_value": 0.04,
        }
        for kind in ("typos", "ocr")
        for severity in (1, 5)
    ],
    "warnings": [],
}
CONTRAST = {
    "schema": "hf_robust_tickets/contrast",
    "consistency": 0.25,
    "confidence_interval": [0.1, 0.5],
    "accuracy": 0.75,
    "num_groups": 12,
    "num_examples": 40,
    "kinds": {"revised": {"accuracy": 0.5}},
    "warnings": [],
}
TRANSFER = {
    "schema": "hf_robust_tickets/transfer",
    "recipe": "pwws",
    "num_examples": 5,
    "originally_right": 4,
    "still_right": 1,
    "confidence_interval": [0.05, 0.7],
    "warnings": ["its answers mislead the attack"],
}
IMAGE_TRANSFER = ImageTransferResult(
    (True, True, False), (True, False, False), (True, True, True), (False, False, True), {"name": "pixel-pgd"},
    sample_ids=(0, 1, 2),
).to_dict()  # fmt: skip
GATE = GateResult(
    (GateRow("pwws", "scores", 3, 4, 1, 4, 0.5, (0.1, 0.8), "better", ("wordnet",), "a <note>"),
     GateRow("bae", "scores", note="no model at hand")),
    "no gain shown beyond pwws", ("logits <scaled>",), sample_ids=(0, 1, 2, 3),
).to_dict()  # fmt: skip
CALIBRATION = {
    kind: {
        "accuracy": 0.8,
        "mean_confidence": 0.9,
        "ece": 0.123,
        "brier": 0.456,
        "aurc": aurc,
        "risk_coverage": [[0.5, 0.0], [1.0, 0.2]],
    }
    for kind, aurc in (("clean", 0.051), ("under_attack", 0.352))
}


def page(tmp_path):
    values = report(outcome("skipped", index=1), outcome("failed", index=2), outcome("succeeded", index=3))
    values["recipes"]["pwws"]["calibration"] = CALIBRATION
    views = [("small", view) for view in (WHITE_BOX, NOISE, CONTRAST, TRANSFER, IMAGE_TRANSFER, GATE)]
    return write_attack_page(tmp_path / "page.html", {"small": values}, views=views)


def points(html: str) -> list[tuple[float, float, str]]:
    """Where the points of a drawn figure lie, and what each says."""
    svg = ElementTree.fromstring(html[html.index("<svg") : html.index("</svg>") + 6])
    groups = [e for e in svg.iter() if {"mark-symbol", "role-mark"} <= set(e.get("class", "").split())]
    found = []
    for path in (path for group in groups for path in group):
        place = re.match(r"translate\(([-\d.]+),([-\d.]+)\)", path.get("transform"))
        found.append((float(place[1]), float(place[2]), path[0].text))
    return found


@DRAWN
def test_points_lie_where_their_values_are_and_say_them():
    line = Line("small", [(0.0, 1.0), (1.0, 0.5), (4.0, 0.0)], [(0.9, 1.0), (0.4, 0.6), (0.0, 0.1)])
    (x0, y0, _), (x1, y1, said), (x2, y2, _) = points(Curves([line], "radius", "y", "caption").html())
    assert (x1 - x0) / (x2 - x0) == pytest.approx(0.25, abs=1e-3) and (y1 - y0) / (y2 - y0) == pytest.approx(0.5)
    assert said == "small, radius 1: 50.0% (40.0% to 60.0%)"
    even = Curves([line], "radius", "y", "caption", even=True)
    (x0, _, _), (x1, _, _), (x2, _, _) = points(even.html())
    assert (x1 - x0) / (x2 - x0) == pytest.approx(0.5, abs=1e-3)


@DRAWN
def test_ticks_are_numbers_that_one_would_write():
    radii = [0.0, 1 / 60, 8 / 255, 2 / 3]
    text = Curves([Line("a", [(x, 0.5) for x in radii])], "radius", "accuracy", "caption", even=True).html()
    assert {"0", "0.0167", "0.0314", "0.667", "0%", "100%"} <= set(re.findall(r">([^<>]+)</text>", text))
    many = Curves([Line("a", [(i / 60, 0.5) for i in range(61)])], "coverage", "errors", "caption", x_format=".0%")
    ticks = re.findall(r">([^<>]+)</text>", many.html())
    assert {"0%", "50%", "100%"} <= set(ticks) and not any("." in tick for tick in ticks)
    assert len(points(many.html())) == 61  # not seen, and there to be pointed at


@DRAWN
def test_curves_are_well_formed_and_escaped():
    lines = [Line("<b>", [(0.0, 0.5)], [(0.4, 0.6)]), Line("many\x00\x1b", [(float(i), 0.5) for i in range(30)])]
    html = Curves(lines, "x & y", "<y>", "a < b").html()
    assert len(points(html)) == 31
    assert "<b>" not in html and "&lt;b&gt;" in html and "x &amp; y" in html
    assert "<script" not in html and "http" not in html.replace('xmlns="http://www.w3.org/2000/svg"', "")


def test_without_the_library_a_sentence_stands_in_the_place_of_the_curves(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    html = Curves([Line("a", [(0.0, 0.5)])], "x", "y", "caption").html()
    assert "hf_robust_tickets[plots]" in html and "caption" in html and "<svg" not in html


def test_all_views_are_on_the_page(tmp_path):
    text = page(tmp_path).read_text()
    for part in (
        "Inside balls around the input",
        "small: pgd, l2, input",
        "small: images made on another model (pixel-pgd)",
        "50.0 % fools the model",
        "the gradients &lt;are&gt; odd",
        "small: natural noise",
        "typos",
        "contrast consistency",
        "texts made on another model (pwws)",
        "its answers mislead the attack",
        "small: the gate",
        "no gain shown beyond pwws",
        "+10.0 to +80.0",
        "no model at hand",
        "logits &lt;scaled&gt;",
        "0.352",
        "after pwws",
    ):
        assert part in text
    assert text.count("<svg") == (3 if DRAWS else 0)
    alone = write_attack_page(tmp_path / "alone.html", {}, views=[("small", WHITE_BOX)]).read_text()
    assert ("<svg" in alone) is DRAWS and "small: 8 examples." in alone


def test_a_browser_opens_the_page(tmp_path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium is installed")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--dump-dom"]
    done = subprocess.run([*command, page(tmp_path).as_uri()], capture_output=True, text=True, timeout=240, check=True)
    assert "CONSOLE" not in done.stderr, done.stderr[-2000:]
    body = done.stdout[done.stdout.index("<body") :]
    assert "a <mark>good</mark> &lt;film&gt;" in body and "a <mark>fine</mark> &lt;film&gt;" in body
    assert body.count("<title>") == (3 + 6 + 4 if DRAWS else 0)
