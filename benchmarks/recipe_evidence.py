"""Makes the evidence of the recipe: dense and pruned trainings of equal epochs, attacked.

    python benchmarks/recipe_evidence.py --trials        # every arm, one seed, attacked on the development data
    python benchmarks/recipe_evidence.py                 # the headline's arms, five seeds, attacked on the test data
    python benchmarks/recipe_evidence.py --data ag_news --seeds 0 1 2        # other texts (benchmarks/corpora.py)

Trials choose, on sentences held out of the training file; the headline reports, on the validation split. One JSON file
per arm and seed in docs/evidence/recipe, of other texts in a folder there; what is there is not made again, so a run
that was cut off goes on where it was. The data is looked for in $ROBUST_TICKETS_DATA, and in shared/data beside the
checkout.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from datasets import disable_progress_bars  # noqa: E402

from benchmarks.recipe_arms import ARMS, HEADLINE, RecipeProtocol, train_arm  # noqa: E402
from benchmarks.recipe_report import write_report  # noqa: E402
from benchmarks.sentences import attack_missing, evidence_parser, load_splits, parse_evidence, train_once  # noqa: E402

RESULTS = ROOT / "docs" / "evidence" / "recipe"


def main() -> None:
    parser = evidence_parser(__doc__, ARMS, RecipeProtocol)
    parser.add_argument("--trials", action="store_true", help="one seed, attacked on the development data")
    options = parse_evidence(parser, "recipe")
    protocol = RecipeProtocol.of(options)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    disable_progress_bars()
    for seed in options.seeds or ([0] if options.trials else range(5)):
        for arm in options.arms or (ARMS if options.trials else HEADLINE):
            result = train_once(train_arm, arm, seed, protocol, options)
            if options.attack:
                _attack(result, protocol, options)
    if RESULTS in (options.results, options.results.parent):
        write_report(RESULTS, ROOT / "docs")


def _attack(result: dict[str, Any], protocol: RecipeProtocol, options: Any) -> None:
    """Attacks the development data (trials) or the test data, there on calibrated log-odds too."""
    splits = load_splits(protocol)
    if options.trials:
        how = {"num_examples": protocol.trial_examples}
        attack_missing(result, "trial", protocol.trial_recipes, splits["development"], options, **how)
    else:
        how = {"num_examples": protocol.num_examples}
        if protocol.calibrate:
            how |= {"calibrate": True, "development_data": splits["development"]}
        attack_missing(result, "attacks", protocol.recipes, splits["test"], options, **how)


if __name__ == "__main__":
    main()
