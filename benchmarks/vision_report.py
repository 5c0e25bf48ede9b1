"""Turns the results of vision_evidence.py into the table and the pictures of docs/results_vision.md."""

from __future__ import annotations

from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.storage import read_by_arm, replace_between_markers
from benchmarks.vision_arms import ARMS, TITLES
from hf_robust_tickets.reporting.overfitting import overfitting_rows, summarize_overfitting
from hf_robust_tickets.reporting.plots import plot_layer_densities, plot_robust_overfitting
from hf_robust_tickets.reporting.tables import markdown_table

Results = dict[str, list[dict[str, Any]]]


def write_image_report(results: Path, docs: Path) -> None:
    """Puts the tables into docs/results_vision.md between its two markers, and draws the pictures."""
    by_arm = read_by_arm(results)
    if not by_arm:
        return
    _draw(by_arm, [arm for arm in ARMS if arm in by_arm], docs / "pictures")
    replace_between_markers(docs / "results_vision.md", image_tables(by_arm))


def image_tables(by_arm: Results) -> str:
    """The tables of docs/results_vision.md: accuracy, and density and cost."""
    arms = [arm for arm in ARMS if arm in by_arm]
    return f"{_accuracy_table(by_arm, arms)}\n\n{_cost_table(by_arm, arms)}"


def _accuracy_table(by_arm: Results, arms: list[str]) -> str:
    summaries = {TITLES[arm]: [summarize_overfitting(result["records"]) for result in by_arm[arm]] for arm in arms}
    rows = overfitting_rows(summaries)
    dense = mean(s.robust_generalization_gap for s in summaries[TITLES["dense"]]) if "dense" in by_arm else None
    for arm, row in zip(arms, rows):
        results = by_arm[arm]
        gap = mean(summary.robust_generalization_gap for summary in summaries[TITLES[arm]])
        row["gap / dense"] = None if dense is None else f"{gap / dense:.2f}"
        for column, key in (("SA final, 1,000 images", "standard"), ("RA final, PGD-20, 1,000 images", "robust")):
            row[column] = _spread([100 * result["final"][key] for result in results])
        row["seeds"] = len(results)
    return markdown_table(rows)


def _cost_table(by_arm: Results, arms: list[str]) -> str:
    rows = []
    for arm in arms:
        results = by_arm[arm]
        rows.append(
            {
                "method": TITLES[arm],
                "density at the end": _spread([result["density"] for result in results], digits=3),
                "training FLOPs (theory)": f"{mean(result['training_flops'] for result in results):.3g}",
                "of dense": f"{mean(r['training_flops'] / r['dense_training_flops'] for r in results):.2f}",
                "inference FLOPs (theory)": f"{mean(result['inference_flops'] for result in results):.3g}",
                "measured core seconds": round(mean(result["cpu_seconds"] for result in results)),
            }
        )
    return markdown_table(rows)


def _spread(values: list[float], digits: int = 2) -> str:
    text = f"{mean(values):.{digits}f}"
    return text if len(values) == 1 else f"{text} ± {stdev(values):.{digits}f}"


def _draw(by_arm: Results, arms: list[str], folder: Path) -> None:
    """Pictures of the first seed."""
    folder.mkdir(exist_ok=True)
    first = {arm: by_arm[arm][0] for arm in arms}
    shown = [arm for arm in arms if arm == "dense" or arm.endswith("-80")]
    updates = {TITLES[arm]: _update_epochs(first[arm]) for arm in shown}
    records = {TITLES[arm]: first[arm]["records"] for arm in shown}
    plot_robust_overfitting(records, folder / "vision_overfitting.png", updates=updates)
    for arm in shown:
        if arm.startswith("flying-bird"):
            plot_layer_densities(first[arm]["log"], folder / f"vision_density_{arm.replace('+', '_plus')}.png")


def _update_epochs(result: dict[str, Any]) -> list[float]:
    return [entry["epoch"] for entry in result["log"] if entry["event"] == "update"]
