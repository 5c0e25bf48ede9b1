"""Turns the results of search_evidence.py into the tables of docs/results.md."""

from __future__ import annotations

import itertools
import statistics
from pathlib import Path
from typing import Any

from benchmarks.corpora import title_of
from benchmarks.search_arms import CONTROLS, SCORES, SPARSITIES, VARIANTS
from benchmarks.spread import percent
from benchmarks.storage import read_by_arm, replace_between_markers
from hf_robust_tickets.reporting.tables import markdown_table

Results = dict[str, list[dict[str, Any]]]
TITLES = {
    "taylor": "first-order, plain loss",
    "adversarial-taylor": "first-order, under attack",
    "gate": "gates, under attack (EarlyRobust)",
    "random-counts": "random, counts per layer of the first-order ticket after 24 steps",
    "random-parameters": "random, equal parameters",
    **{name: title for name, (title, _) in VARIANTS.items()},
}
SEARCHED = (*SCORES, *VARIANTS)
CUTS = {"40": "1/6 of the heads, 40 % of the neurons", "50": "50 % and 50 %", "70": "70 % and 70 %"}
MARKS = ("<!-- search evidence: begin -->", "<!-- search evidence: end -->")


def write_report(results: Path, docs: Path) -> None:
    """Puts the tables into docs/results.md between their two markers."""
    if page := all_tables(results):
        replace_between_markers(docs / "results.md", page, MARKS)


def all_tables(results: Path) -> str:
    """The tables of the sentences of SST-2, and those of other texts and encoders below their names."""
    parts = [tables(by_arm)] if (by_arm := read_by_arm(results)) else []
    for folder in sorted(path for path in results.iterdir() if path.is_dir()):
        if by_arm := read_by_arm(folder):
            parts.append(f"**{title_of(folder.name)}**\n\n{tables(by_arm)}")
    return "\n\n".join(parts)


def tables(by_arm: Results) -> str:
    """One table per sparsity, and one of the searches."""
    parts = []
    for size in SPARSITIES:
        arms = [f"{name}@{size}" for name in (*SEARCHED, *CONTROLS) if f"{name}@{size}" in by_arm]
        if not arms:
            continue
        rows = [_row("dense, plain", by_arm["dense"], None)] if "dense" in by_arm else []
        rows += [_row(TITLES[arm.partition("@")[0]], by_arm[arm], arm) for arm in arms]
        parts.append(f"Cut: {CUTS[size]}\n\n{markdown_table(rows)}")
    searches = [
        _search_row(arm, results)
        for arm, results in by_arm.items()
        if arm.partition("@")[0] in SEARCHED and all(result["search_log"] for result in results)
    ]
    if searches:
        parts.append("The searches\n\n" + markdown_table(searches))
    return "\n\n".join(parts)


def _row(title: str, results: list[dict[str, Any]], arm: str | None) -> dict[str, str]:
    row = {
        "model": title,
        "seeds": str(len(results)),
        "parameters": f"{statistics.mean(result['parameters'] for result in results) / 1e6:.1f}M",
        "development": percent([result["development"] for result in results]),
        "test": percent([result["test"] for result in results]),
    }
    for recipe in results[0]["protocol"]["recipes"]:
        values = [r["attacks"][recipe]["accuracy_under_attack"] for r in results if recipe in r["attacks"]]
        row[recipe] = percent(values) + ("" if len(values) in (0, len(results)) else f" ({len(values)} seeds)")
    searched = arm is not None and arm.partition("@")[0] in SEARCHED
    row["search / fine-tuning"] = percent(
        [result["cost"]["search"]["seconds"] / result["cost"]["finetune"]["seconds"] for result in results]
        if searched
        else []
    )
    row["between seeds: heads, neurons"] = _between_seeds(results) if arm is not None else ""
    return row


def _search_row(arm: str, results: list[dict[str, Any]]) -> dict[str, str]:
    name, _, size = arm.partition("@")
    last = [result["search_log"][-1] for result in results]
    return {
        "score": TITLES[name],
        "cut": CUTS[size],
        "settled": f"{sum(bool(result['converged']) for result in results)} of {len(results)}",
        "ended at step": ", ".join(str(record["step"]) for record in last),
        "epoch": ", ".join(f"{record['epoch']:.2f}" for record in last),
    }


def _between_seeds(results: list[dict[str, Any]]) -> str:
    """Mean distance between the tickets of two seeds: the share of entries that differ."""
    pairs = list(itertools.combinations(results, 2))
    if not pairs:
        return "one seed"
    means = []
    for kind in ("heads", "neurons"):
        distances = [_distance(a["masks"][kind], b["masks"][kind]) for a, b in pairs]
        means.append(f"{statistics.mean(distances):.3f}")
    return ", ".join(means)


def _distance(first: list[str], second: list[str]) -> float:
    """Between two masks, one text of 0 and 1 per layer."""
    a, b = "".join(first), "".join(second)
    return sum(x != y for x, y in zip(a, b, strict=True)) / len(a)
