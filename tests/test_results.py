"""The pages of results show what docs/evidence holds."""

from __future__ import annotations

import json
from dataclasses import asdict
from types import SimpleNamespace

import pytest

from benchmarks.arms import Protocol
from benchmarks.development_trials import MARKS as DEVELOPMENT_MARKS
from benchmarks.development_trials import table as development_table
from benchmarks.evidence import _search_of
from benchmarks.evidence_report import tables, write_report
from benchmarks.gate_report import MARKS as GATE_MARKS
from benchmarks.gate_report import RECIPE
from benchmarks.gate_report import tables as gate_tables
from benchmarks.noise_gates import settled_at
from benchmarks.recipe_arms import ARMS
from benchmarks.recipe_report import (
    DEVICE_MARKS,
    DEVICE_TRIALS,
    HEADLINE_MARKS,
    OTHER_MARKS,
    TRIAL_MARKS,
    device_trials_table,
    headline_table,
    other_corpora_table,
    trials_table,
)
from benchmarks.search_report import MARKS
from benchmarks.search_report import all_tables as search_tables
from benchmarks.storage import between_markers, read_by_arm, replace_between_markers
from benchmarks.vision_arms import ImageProtocol
from benchmarks.vision_report import image_tables
from hf_robust_tickets import RobustTicketArguments
from hf_robust_tickets.training.jobs.recipe import recipe
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


def test_the_tables_of_the_search_are_those_of_its_evidence():
    expected = search_tables(DOCS / "evidence" / "search")
    assert between_markers(DOCS / "results.md", MARKS) == expected, "run `python benchmarks/search_evidence.py`"


def test_the_headline_of_the_recipe_is_that_of_its_evidence():
    expected = headline_table(*(read_by_arm(DOCS / "evidence" / name) for name in ("recipe", "cost")))
    assert between_markers(DOCS / "results.md", HEADLINE_MARKS) == expected, (
        "run `python benchmarks/recipe_evidence.py`"
    )


def test_the_recipe_of_the_evidence_is_the_default_one():
    assert RobustTicketArguments("out", **ARMS[RECIPE]).finetune_adversary_options() == recipe()


def test_the_table_of_other_texts_is_that_of_its_evidence():
    expected = other_corpora_table(DOCS / "evidence" / "recipe")
    assert between_markers(DOCS / "results.md", OTHER_MARKS) == expected, (
        "run `python benchmarks/recipe_evidence.py --data ag_news`"
    )


def test_the_verdicts_of_the_gate_are_those_of_its_evidence():
    expected = gate_tables(read_by_arm(DOCS / "evidence" / "gate"))
    assert between_markers(DOCS / "results.md", GATE_MARKS) == expected, "run `python benchmarks/gate_evidence.py`"


def test_the_trials_on_development_data_are_those_of_their_files():
    expected = development_table(DOCS / "evidence" / "development")
    assert between_markers(DOCS / "results.md", DEVELOPMENT_MARKS) == expected, (
        "run `python benchmarks/development_trials.py`"
    )


def test_the_trials_on_a_device_are_those_of_their_file():
    assert between_markers(DOCS / "results.md", DEVICE_MARKS) == device_trials_table(DOCS / DEVICE_TRIALS)


def test_the_trials_of_the_recipe_are_those_of_its_evidence():
    expected = trials_table(read_by_arm(DOCS / "evidence" / "recipe"))
    assert between_markers(DOCS / "results.md", TRIAL_MARKS) == expected, "run `python benchmarks/recipe_evidence.py`"


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


def test_evidence_that_cannot_be_made_again_is_marked():
    """Tickets from before the attack: the search of today draws none there."""
    marked = set()
    for path in sorted((DOCS / "evidence").glob("*.json")):
        result = json.loads(path.read_text())
        protocol = result["protocol"]
        begins = protocol["search_start_step"] * protocol["search_epochs"] * result["steps"]
        if any(ticket["step"] <= begins for ticket in result.get("search_log", [])):
            marked.add(f"early-bird-{result['seed']}")
            marked.add(f"early-bird+freelb-3-{result['seed']}")
        assert ("withdrawn" in result) == path.stem.startswith("early-bird")
    assert marked == {path.stem for path in (DOCS / "evidence").glob("early-bird*.json")}
    shown = tables(read_by_arm(DOCS / "evidence"))
    first_table = shown.split("\n\n")[0].splitlines()
    assert [row.split("|")[1].split(",")[0].strip() for row in first_table if " * " in row] == [
        "early-bird ticket"
    ] * 2
    assert "The searches, withdrawn:" in shown


def test_a_search_that_drew_no_ticket_is_shown():
    cost = {"search": {"seconds": 1.0}, "finetune": {"seconds": 2.0}}
    result = {"search_log": [], "converged": None, "seed": 0, "parameters": 1e6, "clean": 0.5, "attacks": {}}
    result |= {"cost": cost, "cpu_seconds": 3.0, "protocol": {"recipes": []}}
    shown = tables({"early-bird": [result]})
    assert "none drawn" in shown and "withdrawn" not in shown


def test_an_arm_does_not_take_the_ticket_of_a_withdrawn_search(tmp_path):
    protocol = Protocol()
    options = SimpleNamespace(results=DOCS / "evidence", models=tmp_path)
    (tmp_path / "early-bird-0").mkdir()
    (tmp_path / "early-bird-0" / "ticket.safetensors").touch()
    with pytest.raises(
        SystemExit, match=r"which this code has not drawn: remove .*early-bird-0\.json, and run that arm"
    ):
        _search_of("early-bird+freelb-3", 0, protocol, options)
    assert _search_of("dense", 0, protocol, options) is None


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_noise_is_called_settled_before_the_withdrawn_searches(seed):
    last = json.loads((DOCS / "evidence" / f"early-bird-{seed}.json").read_text())["search_log"][-1]["step"]
    assert settled_at(109, seed) < last
    assert settled_at(109, seed, constant=True) is None


def test_the_picture_names_its_whiskers(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    subtitles = []
    monkeypatch.setattr("benchmarks.evidence_report.plot_accuracy", lambda *args, subtitle: subtitles.append(subtitle))
    (tmp_path / "results.md").write_text("<!-- evidence: begin -->\n<!-- evidence: end -->\n")
    write_report(DOCS / "evidence", tmp_path / "no models", tmp_path)
    assert subtitles == ["Bars: mean over seeds. Whiskers: lowest and highest seed."]


def test_differences_in_the_table_of_verdicts_are_of_seeds_that_both_have():
    def result(arm, seed, right, dense):
        row = {"check": "pwws", "kind": "scores", "right": right, "examples": 10}
        rows = [row | {"reference_right": dense, "reference_examples": 10}]
        return {"arm": arm, "seed": seed, "verdict": "said", "signs": [], "rows": rows}

    found = [result(RECIPE, 0, 5, 2), result(RECIPE, 1, 4, 3)]
    lines = gate_tables({RECIPE: found, "freelb-5": [result("freelb-5", 1, 6, 3)]}).splitlines()
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    # Per seed +30 and +10 points beside dense plain, of which the standard error is 10; one seed beside FreeLB-5.
    assert cells[2:] == ["25.0 (20.0-30.0)", "60.0", "45.0 (40.0-50.0)", "+20.0 ± 10.0", "-20.0"]
