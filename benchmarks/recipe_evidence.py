"""Makes the evidence of the recipe: dense and pruned trainings of equal epochs, attacked.

    python benchmarks/recipe_evidence.py --trials        # every arm, one seed, attacked on the development data
    python benchmarks/recipe_evidence.py                 # the headline's arms, five seeds, attacked on the test data

Trials choose, on sentences held out of the training file; the headline reports, on the validation split. One JSON file
per arm and seed in docs/evidence/recipe; what is there is not made again, so a run that was cut off goes on where it
was. The data is looked for in $ROBUST_TICKETS_DATA, and in shared/data beside the checkout.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from datasets import disable_progress_bars  # noqa: E402

from benchmarks.recipe_arms import ARMS, HEADLINE, RecipeProtocol, train_arm  # noqa: E402
from benchmarks.recipe_report import write_report  # noqa: E402
from benchmarks.sentences import attack, load_splits  # noqa: E402
from benchmarks.storage import data_folder, read_result, write_result  # noqa: E402

logger = logging.getLogger("evidence")
RESULTS = ROOT / "docs" / "evidence" / "recipe"


def main() -> None:
    options, protocol = _parse()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    disable_progress_bars()
    for seed in options.seeds or ([0] if options.trials else range(5)):
        for arm in options.arms or (ARMS if options.trials else HEADLINE):
            path = options.results / f"{arm}-{seed}.json"
            result = read_result(path, protocol) or _train(arm, seed, protocol, options, path)
            if options.attack:
                _attack(result, protocol, options, path)
    if options.results == RESULTS:
        write_report(options.results, ROOT / "docs")


def _train(arm: str, seed: int, protocol: RecipeProtocol, options: argparse.Namespace, path: Path) -> dict[str, Any]:
    logger.info("training %s, seed %d", arm, seed)
    shutil.rmtree(options.models / f"{arm}-{seed}", ignore_errors=True)
    result = train_arm(arm, seed, protocol, data_folder("sst2"), options.models)
    write_result(path, result)
    logger.info(
        "%s, seed %d: development %.3f, test %.3f, %.0f core s",
        *(arm, seed, result["development"], result["test"], result["core_seconds"]),
    )
    return result


def _attack(result: dict[str, Any], protocol: RecipeProtocol, options: argparse.Namespace, path: Path) -> None:
    """Attacks the development data (trials) or the test data, there on calibrated log-odds too."""
    name, kind = f"{result['arm']}-{result['seed']}", "trial" if options.trials else "attacks"
    recipes = protocol.trial_recipes if options.trials else protocol.recipes
    todo, folder = [recipe for recipe in recipes if recipe not in result[kind]], options.models / name
    if todo and not (folder / "model").is_dir():
        logger.warning("%s is gone: remove %s to train it again", folder, path)
        return
    splits = load_splits(data_folder("sst2"), protocol)
    sentences, how = splits["development"], {"num_examples": protocol.trial_examples}
    if not options.trials:
        calibrated = {"calibrate": True, "development_data": splits["development"]}
        sentences, how = splits["test"], {"num_examples": protocol.num_examples, **calibrated}
    for recipe in todo:
        found = attack(folder / "model", sentences, recipe, "ticket" in result, folder / kind, **how)
        result[kind][recipe] = found
        write_result(path, result)
        logger.info("%s, %s: %.3f under attack", name, recipe, found["accuracy_under_attack"])


def _parse() -> tuple[argparse.Namespace, RecipeProtocol]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", action="store_true", help="one seed, attacked on the development data")
    parser.add_argument("--arms", nargs="+", choices=ARMS)
    parser.add_argument("--seeds", nargs="+", type=int)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--models", type=Path, default=ROOT / "out" / "recipe")
    parser.add_argument("--no-attack", dest="attack", action="store_false")
    RecipeProtocol.add_options(parser)
    options = parser.parse_args()
    return options, RecipeProtocol.of(options)


if __name__ == "__main__":
    main()
