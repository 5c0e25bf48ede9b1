"""Turns the results of evidence.py into the table and the pictures of docs/results.md."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.arms import ARMS, TITLES
from hf_robust_tickets.reporting.tables import markdown_table

_BEGIN, _END = "<!-- evidence: begin -->", "<!-- evidence: end -->"


def write_report(results: Path, docs: Path) -> None:
    """Puts the table into docs/results.md between its two markers."""
    by_arm: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for path in sorted(results.glob("*-*.json")):
        result = json.loads(path.read_text())
        by_arm[result["arm"]].append(result)
    if not by_arm:
        return
    page = docs / "results.md"
    text = page.read_text() if page.exists() else f"# Results\n\n{_BEGIN}\n{_END}\n"
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    page.write_text(f"{before}{_BEGIN}\n{_tables(by_arm)}\n{_END}{after}")


def _tables(by_arm: dict[str, list[dict[str, Any]]]) -> str:
    arms = [arm for arm in ARMS if arm in by_arm]
    searches = by_arm.get("early-bird", [])
    parts = [markdown_table([_row(arm, by_arm) for arm in arms])]
    if searches:
        parts.append("The searches:\n\n" + markdown_table([_search_row(result) for result in searches]))
    return "\n\n".join(parts)


def _row(arm: str, by_arm: dict[str, list[dict[str, Any]]]) -> dict[str, str]:
    results = by_arm[arm]
    row = {
        "model": TITLES[arm],
        "seeds": str(len(results)),
        "parameters": f"{results[0]['parameters'] / 1e6:.1f}M",
        "clean": _percent([result["clean"] for result in results]),
    }
    for recipe in results[0]["protocol"]["recipes"]:
        values = [r["attacks"][recipe]["accuracy_under_attack"] for r in results if recipe in r["attacks"]]
        row[recipe] = _percent(values)
    seconds = statistics.mean(result["cpu_seconds"] for result in results)
    row["core seconds"] = f"{seconds:.0f}"
    for baseline in ("freelb-5", "freelb++-10"):
        if baseline in by_arm:
            other = statistics.mean(result["cpu_seconds"] for result in by_arm[baseline])
            row[f"faster than {baseline}"] = f"{other / seconds:.1f}x"
    return row


def _search_row(result: dict[str, Any]) -> dict[str, str]:
    last, cost = result["search_log"][-1], result["cost"]
    return {
        "seed": str(result["seed"]),
        "stopped at step": str(last["step"]),
        "epoch": f"{last['epoch']:.2f}",
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
