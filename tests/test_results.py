"""The pages of results show what docs/evidence holds."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from benchmarks.evidence_report import tables, write_report
from benchmarks.storage import between_markers, read_by_arm, replace_between_markers
from benchmarks.vision_arms import ImageProtocol
from benchmarks.vision_report import image_tables
from tests.testing.paths import ROOT

DOCS = ROOT / "docs"


@pytest.mark.parametrize(
    ("page", "folder", "generate", "command"),
    [
        ("results.md", "evidence", tables, "benchmarks/evidence.py"),
        ("results_vision.md", "evidence/vision", image_tables, "benchmarks/vision_evidence.py"),
    ],
)
def test_tables_are_those_of_the_evidence(page, folder, generate, command):
    assert between_markers(DOCS / page) == generate(read_by_arm(DOCS / folder)), f"run `python {command}`"


@pytest.mark.parametrize(
    ("row", "file"),
    [
        ("1,000 images, 24 epochs", "vision_tried/more-images-0.json"),
        ("crops and flips, 80 epochs", "vision_tried/augmented-0.json"),
        ("60 epochs", "vision_tried/sixty-epochs-0.json"),
        ("used above: 80 epochs", "vision/dense-0.json"),
    ],
)
def test_gaps_of_what_was_tried_are_those_of_its_files(row, file):
    result = json.loads((DOCS / "evidence" / file).read_text())
    defaults = asdict(ImageProtocol())
    options = {f"--{key}": str(value) for key, value in result["protocol"].items() if value != defaults[key]}
    last = result["records"][-1]["robust"]
    (line,) = (line for line in (DOCS / "results_vision.md").read_text().splitlines() if line.startswith(f"| {row} |"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    words = cells[1].strip("`").split()
    assert dict(zip(words[::2], words[1::2])) == options
    assert cells[2] == f"{100 * (last['train'] - last['validation']):.1f}"


def test_only_what_is_between_the_markers_is_replaced(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("above\n<!-- evidence: begin -->\nold\n<!-- evidence: end -->\nbelow\n")
    replace_between_markers(page, "new")
    assert page.read_text() == "above\n<!-- evidence: begin -->\nnew\n<!-- evidence: end -->\nbelow\n"
    page.write_text("above\n<!-- evidence: end -->\n<!-- evidence: begin -->\n")
    with pytest.raises(SystemExit, match="lacks the markers"):
        replace_between_markers(page, "new")


def test_costs_of_longer_trainings_count_the_search_once():
    def result(search: float, finetune: float) -> dict:
        costs = {"search": {"seconds": search}, "finetune": {"seconds": finetune}}
        cost = {name: phase for name, phase in costs.items() if phase["seconds"]}
        attacks = {"pwws": {"accuracy_under_attack": 0.5}}
        log = [{"step": 1, "epoch": 0.5}]
        rest = {"search_log": log, "converged": True, "seed": 0, "parameters": 1e6, "clean": 0.5, "attacks": attacks}
        return {"cost": cost, "cpu_seconds": search + finetune, "protocol": {"recipes": ["pwws"]}, **rest}

    shown = tables({"early-bird": [result(30, 10), result(50, 20)], "freelb-5": [result(0, 100)]})
    longer = shown.split("Extrapolated")[1]
    row = next(line for line in longer.splitlines() if line.startswith("| early-bird"))
    # 40 + 10 x 15 core seconds, against 10 x 100.
    assert "190 |" in row and "5.3x" in row


def test_the_picture_names_its_whiskers(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    subtitles = []
    monkeypatch.setattr("benchmarks.evidence_report.plot_accuracy", lambda *args, subtitle: subtitles.append(subtitle))
    (tmp_path / "results.md").write_text("<!-- evidence: begin -->\n<!-- evidence: end -->\n")
    write_report(DOCS / "evidence", tmp_path / "no models", tmp_path)
    assert subtitles == ["Bars: mean over seeds. Whiskers: lowest and highest seed."]
