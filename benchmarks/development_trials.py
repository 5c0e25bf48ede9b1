"""Trials of recipes on development data: labels alone first, then attacks that see scores.

    python benchmarks/development_trials.py                     # all that were tried, with two seeds
    python benchmarks/development_trials.py dense-2 ticket-2    # ARM-SEED, of recipe_arms.py

By labels alone is what the recipe `hard-label` begins with, and nothing after it: synonyms at random in the place of
all words until another class is predicted, 400 texts at most. Whether it finds one is what the accuracy under the
whole attack says; the rest of the search makes the text that it found more like the original. One JSON file per model
in docs/evidence/development; what is there is not made again. Models are in out/development, and trained where there
is no such file.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from datasets import disable_progress_bars  # noqa: E402

from benchmarks.recipe_arms import ARMS, TITLES, RecipeProtocol, train_arm  # noqa: E402
from benchmarks.sentences import attack_missing, load_splits, train_once  # noqa: E402
from benchmarks.spread import percent  # noqa: E402
from benchmarks.storage import read_by_arm, replace_between_markers  # noqa: E402
from hf_robust_tickets.evaluation.components import hard_label  # noqa: E402
from hf_robust_tickets.reporting.tables import markdown_table  # noqa: E402

RESULTS = ROOT / "docs" / "evidence" / "development"
MARKS = ("<!-- development trials: begin -->", "<!-- development trials: end -->")
# Sentences of each attack.
EXAMPLES = {"hard-label": 200, "deepwordbug": 200, "pwws": 100, "textfooler": 100}
TRIED = (
    "dense",
    "freelb-5",
    "ticket",
    "ticket+hotflip",
    "ticket+hotflip-all",
    "ticket+hotflip-one",
    "ticket+hotflip-one-12",
    "ticket+fgm-12",
    "ticket+fgm-12-second",
    "ticket+hotflip-alternate",
    "ticket+hotflip-alternate+frozen",
    "ticket+hotflip-alternate-18",
    "ticket+hotflip-few",
    "ticket+hotflip+words",
)
HOW = {"hard-label": {"query_budget": 400}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    everything = [f"{arm}-{seed}" for seed in (2, 4) for arm in TRIED]
    parser.add_argument("trials", nargs="*", default=everything, help="ARM-SEED")
    parser.add_argument("--attacks", nargs="+", choices=EXAMPLES, default=list(EXAMPLES))
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--models", type=Path, default=ROOT / "out" / "development")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    disable_progress_bars()
    hard_label.HardLabelSearch.perform_search = start_alone
    for trial in options.trials:
        arm, _, seed = trial.rpartition("-")
        if arm not in ARMS or not seed.isdigit():
            parser.error(f"expected ARM-SEED with one of {', '.join(ARMS)}, got {trial}")
        try_arm(arm, int(seed), options)
    if options.results == RESULTS:
        replace_between_markers(ROOT / "docs" / "results.md", table(RESULTS), MARKS)


def start_alone(search: Any, initial: Any) -> Any:
    """In place of `HardLabelSearch.perform_search`: its first step."""
    walk = hard_label._Walk(search, initial)
    found = walk.random_start()
    return initial if found is None else walk.results[found]


def try_arm(arm: str, seed: int, options: argparse.Namespace) -> None:
    """Trains what is not there, and runs the attacks that its result lacks."""
    protocol = RecipeProtocol()
    result = train_once(train_arm, arm, seed, protocol, options)
    sentences = load_splits(protocol)["development"]
    for name in options.attacks:
        how = {"num_examples": EXAMPLES[name], **HOW.get(name, {})}
        attack_missing(result, "trial", [name], sentences, options, **how)


def table(results: Path) -> str:
    """A row per arm: means over its seeds."""
    by_arm = read_by_arm(results)
    rows = []
    for arm in (arm for arm in ARMS if arm in by_arm):
        found = by_arm[arm]
        passes = statistics.mean(sum(job["passes"] for job in result["cost"].values()) for result in found)
        row = {"model": TITLES[arm], "seeds": ", ".join(str(result["seed"]) for result in found)}
        row |= {"passes": f"{passes:.0f}", "clean": percent([result["development"] for result in found])}
        for attack, title in zip(EXAMPLES, ("labels alone", "deepwordbug", "pwws", "textfooler"), strict=True):
            shares = [r["trial"][attack]["accuracy_under_attack"] for r in found if attack in r["trial"]]
            row[title] = percent(shares) if shares else ""
        rows.append(row)
    return markdown_table(rows) if rows else ""


if __name__ == "__main__":
    main()
