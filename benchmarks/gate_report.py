"""Turns the results of gate_evidence.py into the verdict table of docs/results.md."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from benchmarks.recipe_arms import TITLES
from benchmarks.spread import percent
from benchmarks.storage import read_by_arm, replace_between_markers
from hf_robust_tickets.reporting.tables import markdown_table

Results = dict[str, list[dict[str, Any]]]
MARKS = ("<!-- gate evidence: begin -->", "<!-- gate evidence: end -->")
RECIPE = "ticket+hotflip-few"
COMPARED = ("freelb-5", RECIPE)
SEES = {"clean": "", "scores": "scores, calibrated", "labels": "labels alone", "transfer": "texts of another model"}


def write_report(results: Path, docs: Path) -> None:
    """Puts the tables into docs/results.md between their two markers."""
    replace_between_markers(docs / "results.md", tables(read_by_arm(results)), MARKS)


def tables(by_arm: Results) -> str:
    """The checks, the mean of the seeds in each, and what the gate said of every model; nothing of nothing."""
    if not by_arm:
        return ""
    checks = {(row["check"], row["kind"]): None for results in by_arm.values() for r in results for row in r["rows"]}
    rows = [_row(check, kind, by_arm) for check, kind in checks]
    return f"{markdown_table([row for row in rows if row])}\n\n{markdown_table(_verdicts(by_arm))}"


def _row(check: str, kind: str, by_arm: Results) -> dict[str, str]:
    """One check: the share that each model gets right, and how far the recipe is from either dense one."""
    # seed -> what the models of that seed have.
    dense: dict[int, float] = {}
    found: dict[str, dict[int, float]] = {arm: {} for arm in COMPARED}
    for arm in COMPARED:
        for result in by_arm.get(arm, []):
            for row in result["rows"]:
                if row["check"] == check and row["examples"]:
                    found[arm][result["seed"]] = row["right"] / row["examples"]
                    # Texts that another model made are other texts for each.
                    if row["reference_examples"] and kind != "transfer":
                        dense[result["seed"]] = row["reference_right"] / row["reference_examples"]
    if not any(found.values()):
        return {}
    shown = {"check": check, "sees": SEES.get(kind, kind), TITLES["dense"]: percent(list(dense.values()))}
    shown |= {TITLES[arm]: percent(list(found[arm].values())) for arm in COMPARED}
    shown["recipe - dense"] = _difference(found[RECIPE], {} if kind == "transfer" else dense)
    shown["recipe - FreeLB"] = _difference(found[RECIPE], {} if kind == "transfer" else found["freelb-5"])
    return shown


def _difference(first: dict[int, float], second: dict[int, float]) -> str:
    """Mean over the seeds that both have, in points, and its standard error."""
    differences = [100 * (first[seed] - second[seed]) for seed in sorted(first) if seed in second]
    if not differences:
        return ""
    mean = f"{statistics.mean(differences):+.1f}"
    if len(differences) == 1:
        return mean
    return f"{mean} ± {statistics.stdev(differences) / len(differences) ** 0.5:.1f}"


def _verdicts(by_arm: Results) -> list[dict[str, str]]:
    return [
        {"model": TITLES[arm], "seed": str(result["seed"]), "the gate, beside dense plain": _said(result)}
        for arm in COMPARED
        for result in by_arm.get(arm, [])
    ]


def _said(result: dict[str, Any]) -> str:
    return " ".join([result["verdict"], *(f"Sign: {sign}." for sign in result["signs"])])
