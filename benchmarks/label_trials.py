"""Trials by labels alone: how many development sentences of each model that was trained no random text fools.

    python benchmarks/recipe_evidence.py --arms dense ticket ticket+hotflip --seeds 2 --no-attack   # out/recipe
    python benchmarks/label_trials.py dense-2 ticket-2 ticket+hotflip-2                             # 200 sentences

What the recipe `hard-label` begins with, and nothing after it: synonyms at random in the place of all words until
another class is predicted, 400 texts at most. Whether it finds one is what the accuracy under the whole attack says;
the rest of the search makes the text that it found more like the original. One JSON file per model in
docs/evidence/labels; what is there is not made again.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from datasets import disable_progress_bars  # noqa: E402

from benchmarks.recipe_arms import ARMS, PRUNED, TITLES, RecipeProtocol  # noqa: E402
from benchmarks.sentences import attack, load_splits  # noqa: E402
from benchmarks.spread import percent  # noqa: E402
from benchmarks.storage import read_by_arm, replace_between_markers, write_result  # noqa: E402
from hf_robust_tickets.evaluation.components import hard_label  # noqa: E402
from hf_robust_tickets.reporting.tables import markdown_table  # noqa: E402

RESULTS = ROOT / "docs" / "evidence" / "labels"
MARKS = ("<!-- label trials: begin -->", "<!-- label trials: end -->")
QUERIES = 400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="folders in out/recipe, ARM-SEED")
    parser.add_argument("--folder", type=Path, default=ROOT / "out" / "recipe")
    parser.add_argument("--num_examples", type=int, default=200)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    disable_progress_bars()
    hard_label.HardLabelSearch.perform_search = start_alone
    for name in options.models:
        try_model(name, options.folder / name, options.num_examples)
    replace_between_markers(ROOT / "docs" / "results.md", table(RESULTS), MARKS)


def start_alone(search: Any, initial: Any) -> Any:
    """In place of `HardLabelSearch.perform_search`: its first step."""
    walk = hard_label._Walk(search, initial)
    found = walk.random_start()
    return initial if found is None else walk.results[found]


def try_model(name: str, folder: Path, num_examples: int) -> None:
    """Writes what was found, unless it is there."""
    arm, _, seed = name.rpartition("-")
    path = RESULTS / f"{name}.json"
    if arm not in ARMS or path.exists():
        logging.info("%s: %s", name, "done before" if path.exists() else "no arm of recipe_arms.py")
        return
    how = {"num_examples": num_examples, "query_budget": QUERIES, "text_columns": "sentence"}
    sentences = load_splits(RecipeProtocol())["development"]
    found = attack(folder / "model", sentences, "hard-label", arm in PRUNED, folder / f"labels-{num_examples}", **how)
    write_result(path, {"arm": arm, "seed": int(seed), "num_examples": num_examples, **found})


def table(results: Path) -> str:
    """A row per arm: the share that no random text fools."""
    by_arm = read_by_arm(results)
    rows = []
    for arm in (arm for arm in ARMS if arm in by_arm):
        shares = [result["accuracy_under_attack"] for result in by_arm[arm]]
        seeds = ", ".join(str(result["seed"]) for result in by_arm[arm])
        rows.append({"model": TITLES[arm], "seed": seeds, "labels alone": percent(shares)})
    return markdown_table(rows) if rows else ""


if __name__ == "__main__":
    main()
