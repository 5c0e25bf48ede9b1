"""Makes the evidence of the search: score x sparsity x seed on SST-2, beside dense and random tickets.

    python benchmarks/search_evidence.py                                   # everything that is not done yet
    python benchmarks/search_evidence.py --arms dense taylor@50 --seeds 0  # a part of it
    python benchmarks/search_evidence.py --data train --gate_budget 1 --arms dense taylor@50 gate@50 --seeds 0 \\
        --results docs/evidence/search-long                                # an epoch of real length
    python benchmarks/search_evidence.py --encoder mpnet --learning_rate 3e-5 --arms dense taylor@50 --seeds 0 \\
        --results docs/evidence/search-mpnet                               # a base-size encoder

One JSON file per arm and seed in docs/evidence/search; what is there is not made again, so a run that was cut off goes
on where it was. The data is looked for in $ROBUST_TICKETS_DATA, and in shared/data beside the checkout.
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

from benchmarks.search_arms import ARMS, SearchProtocol, train_arm  # noqa: E402
from benchmarks.search_report import write_report  # noqa: E402
from benchmarks.sentences import attack, load_splits  # noqa: E402
from benchmarks.storage import data_folder, read_result, write_result  # noqa: E402

logger = logging.getLogger("evidence")
RESULTS = ROOT / "docs" / "evidence" / "search"


def main() -> None:
    options, protocol = _parse()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    disable_progress_bars()
    for attacking in (False, True) if options.attack else (False,):
        for seed in options.seeds:
            for arm in options.arms:
                path = options.results / f"{arm}-{seed}.json"
                result = read_result(path, protocol) or _train(arm, seed, protocol, options, path)
                if attacking:
                    _attack(result, protocol, options, path)
    if options.results == RESULTS:
        write_report(options.results, ROOT / "docs")


def _train(arm: str, seed: int, protocol: SearchProtocol, options: argparse.Namespace, path: Path) -> dict[str, Any]:
    logger.info("training %s, seed %d", arm, seed)
    shutil.rmtree(options.models / f"{arm}-{seed}", ignore_errors=True)
    result = train_arm(arm, seed, protocol, data_folder("sst2"), options.models)
    write_result(path, result)
    logger.info(
        "%s, seed %d: development %.3f, test %.3f, %.0f core s",
        *(arm, seed, result["development"], result["test"], result["core_seconds"]),
    )
    return result


def _attack(result: dict[str, Any], protocol: SearchProtocol, options: argparse.Namespace, path: Path) -> None:
    name = f"{result['arm']}-{result['seed']}"
    todo, folder = [recipe for recipe in protocol.recipes if recipe not in result["attacks"]], options.models / name
    if todo and not (folder / "model").is_dir():
        logger.warning("%s is gone: remove %s to train it again", folder, path)
        return
    test, size = load_splits(data_folder("sst2"), protocol)["test"], protocol.examples(result["arm"])
    for recipe in todo:
        found = attack(folder / "model", test, recipe, "ticket" in result, folder / "attacks", num_examples=size)
        result["attacks"][recipe] = found
        write_result(path, result)
        logger.info("%s, %s: %.3f under attack", name, recipe, found["accuracy_under_attack"])


def _parse() -> tuple[argparse.Namespace, SearchProtocol]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--models", type=Path, default=ROOT / "out" / "search")
    parser.add_argument("--no-attack", dest="attack", action="store_false")
    SearchProtocol.add_options(parser)
    options = parser.parse_args()
    return options, SearchProtocol.of(options)


if __name__ == "__main__":
    main()
