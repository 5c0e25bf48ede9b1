"""Turns the results of evidence.py into the table and the pictures of docs/results.md."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from benchmarks.arms import ARMS, TITLES
from benchmarks.storage import read_by_arm, replace_between_markers
from hf_robust_tickets import EarlyBirdDetector, RobustTicket
from hf_robust_tickets.reporting.escaping import Markdown
from hf_robust_tickets.reporting.plots import (
    plot_accuracy,
    plot_cost,
    plot_distance_matrix,
    plot_distances,
    plot_ticket,
)
from hf_robust_tickets.reporting.tables import markdown_table

Results = dict[str, list[dict[str, Any]]]
BASELINES = ("freelb-5", "freelb++-10")
WITHDRAWN = "Rows with a star are of tickets that an earlier version drew, and cannot be made again: see below."
# The fine-tuning that one epoch is extrapolated to: the paper's.
EPOCHS = 10
ACCURACY_SUBTITLE = "Bars: mean over seeds. Whiskers: lowest and highest seed."


def write_report(results: Path, models: Path, docs: Path) -> None:
    """Puts the tables into docs/results.md between its two markers, and draws the pictures."""
    by_arm = read_by_arm(results)
    if not by_arm:
        return
    draw_pictures(by_arm, models, docs / "pictures")
    replace_between_markers(docs / "results.md", tables(by_arm))


def tables(by_arm: Results) -> str:
    """The tables of docs/results.md: accuracy and cost, the searches, the cost of longer trainings."""
    arms = [arm for arm in ARMS if arm in by_arm]
    searches = by_arm.get("early-bird", [])
    parts = [markdown_table([_row(arm, by_arm) for arm in arms])]
    if any(_is_withdrawn(by_arm[arm]) for arm in arms):
        parts.append(WITHDRAWN)
    if searches:
        title = "The searches, withdrawn:" if _is_withdrawn(searches) else "The searches:"
        parts.append(f"{title}\n\n" + markdown_table([_search_row(result) for result in searches]))
    longer = markdown_table([_longer_row(arm, by_arm) for arm in arms])
    parts.append(
        f"Extrapolated to {EPOCHS} epochs: the search once, the core seconds of the rest {EPOCHS} times:\n\n{longer}"
    )
    return "\n\n".join(parts)


def _is_withdrawn(results: list[dict[str, Any]]) -> bool:
    return any("withdrawn" in result for result in results)


def _row(arm: str, by_arm: Results) -> dict[str, str]:
    results = by_arm[arm]
    row = {
        "model": Markdown(TITLES[arm] + (" *" if _is_withdrawn(results) else "")),
        "seeds": str(len(results)),
        "parameters": f"{results[0]['parameters'] / 1e6:.1f}M",
        "clean": _percent([result["clean"] for result in results]),
    }
    for recipe in results[0]["protocol"]["recipes"]:
        values = [r["attacks"][recipe]["accuracy_under_attack"] for r in results if recipe in r["attacks"]]
        row[recipe] = _percent(values)
    return row | _cost_columns(arm, by_arm, epochs=1)


def _longer_row(arm: str, by_arm: Results) -> dict[str, str]:
    return {"model": TITLES[arm]} | _cost_columns(arm, by_arm, EPOCHS)


def _cost_columns(arm: str, by_arm: Results, epochs: int) -> dict[str, str]:
    seconds = _core_seconds_of(by_arm[arm], epochs)
    factors = {name: _core_seconds_of(by_arm[name], epochs) / seconds for name in BASELINES if name in by_arm}
    return {"core s": f"{seconds:.0f}"} | {f"{name} takes": f"{factor:.1f}x" for name, factor in factors.items()}


def _core_seconds_of(results: list[dict[str, Any]], epochs: int) -> float:
    """Mean core seconds of a training that fine-tunes for so many epochs instead of one; a search stays as it was."""
    phases = {name: _phase(results, name) for name in _core_seconds(results[0])}
    return phases.get("search", 0.0) + epochs * phases["finetune"]


def draw_pictures(by_arm: Results, models: Path, folder: Path) -> None:
    """The search of the first seed, its ticket, the core seconds and the accuracy of all arms."""
    folder.mkdir(parents=True, exist_ok=True)
    arms = [arm for arm in ARMS if arm in by_arm]
    costs = {TITLES[arm]: {phase: _phase(by_arm[arm], phase) for phase in by_arm[arm][0]["cost"]} for arm in arms}
    plot_cost(costs, folder / "cost.png", clock="processor time (one core)")
    accuracies = {TITLES[arm]: _accuracies(by_arm[arm]) for arm in arms}
    plot_accuracy(accuracies, folder / "accuracy.png", subtitle=ACCURACY_SUBTITLE)
    first = next((result for result in by_arm.get("early-bird", []) if result["seed"] == 0), None)
    job = models / "early-bird-0"
    # Pictures of a withdrawn search stay as they are: what lies in `models` may be of another version.
    if first is None or _is_withdrawn([first]) or not (job / "search_log.json").exists() or not first["search_log"]:
        return
    detector = EarlyBirdDetector(first["protocol"]["ticket_tolerance"])
    detector.load_state_dict(json.loads((job / "search_log.json").read_text())["detector"])
    plot_ticket(RobustTicket.load(job / "ticket.safetensors"), folder / "ticket.png")
    plot_distances(first["search_log"], first["protocol"]["ticket_tolerance"], folder / "distances.png")
    epochs = [record["epoch"] for record in first["search_log"]]
    plot_distance_matrix(detector.history, folder / "distance_matrix.png", epochs=epochs, early_bird=detector.index)


def _phase(results: list[dict[str, Any]], phase: str) -> float:
    """Core seconds of a phase: those of the training, divided as its wall-clock time is."""
    return statistics.mean(_core_seconds(result)[phase] for result in results)


def _core_seconds(result: dict[str, Any]) -> dict[str, float]:
    if "search_cpu_seconds" in result:
        search = result["search_cpu_seconds"]
        return {"search": search, "finetune": result["cpu_seconds"] - search}
    total = sum(cost["seconds"] for cost in result["cost"].values())
    return {name: result["cpu_seconds"] * cost["seconds"] / total for name, cost in result["cost"].items()}


def _accuracies(results: list[dict[str, Any]]) -> dict[str, tuple[float, float, float]]:
    values = {"clean": [result["clean"] for result in results]}
    for recipe in results[0]["protocol"]["recipes"]:
        values[recipe] = [r["attacks"][recipe]["accuracy_under_attack"] for r in results if recipe in r["attacks"]]
    return {name: (statistics.mean(v), min(v), max(v)) for name, v in values.items() if v}


def _search_row(result: dict[str, Any]) -> dict[str, str]:
    # A search that ends before its attack has begun draws no ticket.
    last, cost = result["search_log"][-1] if result["search_log"] else {}, result["cost"]
    return {
        "seed": str(result["seed"]),
        "stopped at step": str(last.get("step", "none drawn")),
        "epoch": f"{last.get('epoch', float('nan')):.2f}",
        "settled": "yes" if result["converged"] else "no",
        "last window: heads": f"{last.get('head_distance_window', float('nan')):.3f}",
        "neurons": f"{last.get('neuron_distance_window', float('nan')):.3f}",
        "search s": f"{cost['search']['seconds']:.0f}",
        "fine-tuning s": f"{cost['finetune']['seconds']:.0f}",
    }


def _percent(values: list[float]) -> str:
    """Mean and, with several seeds, the spread from lowest to highest."""
    if not values:
        return "not measured"
    mean = f"{100 * statistics.mean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ({100 * min(values):.1f}-{100 * max(values):.1f})"
