"""Turns the results of recipe_evidence.py into the tables and the figure of docs/results.md."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from benchmarks.corpora import title_of
from benchmarks.recipe_arms import ARMS, HALF, HEADLINE, TABLED, TITLES
from benchmarks.spread import percent
from benchmarks.storage import read_by_arm, replace_between_markers
from hf_robust_tickets.reporting.escaping import Markdown
from hf_robust_tickets.reporting.plots import plot_tradeoff
from hf_robust_tickets.reporting.tables import markdown_table

Results = dict[str, list[dict[str, Any]]]
HEADLINE_MARKS = ("<!-- recipe evidence: begin -->", "<!-- recipe evidence: end -->")
TRIAL_MARKS = ("<!-- recipe trials: begin -->", "<!-- recipe trials: end -->")
DEVICE_MARKS = ("<!-- recipe trials on a device: begin -->", "<!-- recipe trials on a device: end -->")
DEVICE_TRIALS = Path("evidence", "device", "recipe-trials-h200.json")
OTHER_MARKS = ("<!-- recipe on other texts: begin -->", "<!-- recipe on other texts: end -->")
# Trainings of one session, two at a time: seconds of different machines do not compare.
COSTS = Path("evidence", "cost")
ANCHORS = ("dense", "freelb-5")


def write_report(results: Path, docs: Path) -> None:
    """Puts the tables into docs/results.md between their markers, and draws the figure."""
    by_arm, costs = read_by_arm(results), read_by_arm(docs / COSTS)
    page = docs / "results.md"
    if headline := headline_table(by_arm, costs):
        replace_between_markers(page, headline, HEADLINE_MARKS)
        draw(by_arm, costs, docs / "pictures" / "tradeoff.png")
    if trials := trials_table(by_arm):
        replace_between_markers(page, trials, TRIAL_MARKS)
    replace_between_markers(page, device_trials_table(docs / DEVICE_TRIALS), DEVICE_MARKS)
    replace_between_markers(page, other_corpora_table(results), OTHER_MARKS)


def headline_table(by_arm: Results, costs: Results) -> str:
    """Accuracy clean and under attack on test data of the arms that were attacked there, and cost in one session."""
    arms = {arm: _attacked(by_arm.get(arm, [])) for arm in TABLED}
    return markdown_table(
        [_row(arm, results, "attacks") | _cost(costs.get(arm), costs) for arm, results in arms.items() if results]
    )


def trials_table(by_arm: Results) -> str:
    """The log of trials: one seed each, development data alone."""
    rows = []
    for arm in ARMS:
        tried = [result for result in by_arm.get(arm, []) if result["seed"] == 0 and result["trial"]]
        if tried:
            own = {name: value for name, value in tried[0]["options"].items() if HALF.get(name) != value}
            options = {"options": Markdown(f"`{json.dumps(own)}`") if own else ""}
            rows.append(_row(arm, tried, "trial") | _cost(tried, by_arm) | options)
    return markdown_table(rows) if rows else ""


def device_trials_table(path: Path) -> str:
    """The trials that shared one accelerator for some minutes; one seed, development data alone."""
    rows = [
        {
            "model": trial["model"],
            "clean": percent([trial["development"]]),
            "deepwordbug": percent([trial["deepwordbug"]]),
            "pwws": "" if trial["pwws"] is None else percent([trial["pwws"]]),
            "options": Markdown(f"`{json.dumps(trial['options'])}`"),
        }
        for trial in json.loads(path.read_text())["trials"]
    ]
    return markdown_table(rows)


def other_corpora_table(results: Path) -> str:
    """The same arms on other texts, each in a folder of its own below `results`."""
    rows = []
    for folder in sorted(path for path in results.iterdir() if path.is_dir()):
        by_arm = read_by_arm(folder)
        for arm in HEADLINE:
            if done := _attacked(by_arm.get(arm, [])):
                row = _row(arm, done, "attacks") | _cost(done, by_arm)
                rows.append({"texts": title_of(folder.name)} | row)
    return markdown_table(rows) if rows else ""


def draw(by_arm: Results, costs: Results, path: Path) -> None:
    """Mean accuracy under the attacks against core seconds, a point per arm; whiskers are the seeds' accuracy."""
    methods = {}
    for arm in HEADLINE:
        results = _attacked(by_arm.get(arm, []))
        if results and arm in costs:
            methods[TITLES[arm]] = [(_mean_seconds(costs[arm]), _mean_attack(result)) for result in results]
    protocol = by_arm[HEADLINE[0]][0]["protocol"]
    plot_tradeoff(
        methods,
        path,
        subtitle=f"MiniLM on SST-2, {protocol['epochs']:g} epochs; {', '.join(protocol['recipes'])}, "
        f"{protocol['num_examples']} test sentences, stand-in resources.\nPoints: mean of the seeds. Whiskers: lowest "
        "and highest seed.",
        anchors=[TITLES[arm] for arm in ANCHORS if TITLES[arm] in methods],
    )


def _attacked(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that all attacks on the test data are there of."""
    return [result for result in results if set(result["protocol"]["recipes"]) == set(result["attacks"])]


def _mean_attack(result: dict[str, Any]) -> float:
    return statistics.mean(attack["accuracy_under_attack"] for attack in result["attacks"].values())


def _mean_seconds(results: list[dict[str, Any]]) -> float:
    return statistics.mean(result["core_seconds"] for result in results)


def _cost(results: list[dict[str, Any]] | None, by_arm: Results) -> dict[str, str]:
    """Core seconds, and how many times those of dense plain training they are; empty where none were measured."""
    if not results:
        return {"core s": "", "of dense plain": ""}
    seconds = _mean_seconds(results)
    times = f"{seconds / _mean_seconds(by_arm['dense']):.2f}" if "dense" in by_arm else ""
    return {"core s": f"{seconds:.0f}", "of dense plain": times}


def _row(arm: str, results: list[dict[str, Any]], kind: str) -> dict[str, str]:
    clean = "test" if kind == "attacks" else "development"
    recipes = results[0]["protocol"]["recipes" if kind == "attacks" else "trial_recipes"]
    row = {"model": TITLES[arm], "seeds": str(len(results)), "clean": percent([r[clean] for r in results])}
    for recipe in recipes:
        row[recipe] = percent([r[kind][recipe]["accuracy_under_attack"] for r in results if recipe in r[kind]])
    return row
