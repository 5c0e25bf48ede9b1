"""Makes the figures of docs/results.md: trains five arms on SST-2 over several seeds, attacks each, writes the table.

    python benchmarks/evidence.py                                  # everything that is not done yet
    python benchmarks/evidence.py --arms dense early-bird --seeds 0

One JSON file per arm and seed in docs/evidence; what is there is not made again, so a run that was cut off goes on
where it was. The data is looked for in $ROBUST_TICKETS_DATA, and in shared/data beside the checkout.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from datasets import disable_progress_bars  # noqa: E402

from benchmarks.arms import ARMS, Protocol, count_search, load_data, train_arm  # noqa: E402
from benchmarks.evidence_report import write_report  # noqa: E402
from benchmarks.storage import data_folder, read_result, write_result  # noqa: E402
from hf_robust_tickets.evaluation import evaluate_robustness  # noqa: E402
from hf_robust_tickets.tickets import load_pruned  # noqa: E402

logger = logging.getLogger("evidence")


def main() -> None:
    options, protocol = _parse()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    disable_progress_bars()
    for seed in options.seeds:
        for arm in options.arms:
            result = _train_once(arm, seed, protocol, options)
            if options.attack:
                _attack_once(result, arm, seed, protocol, options)
    if options.results == ROOT / "docs" / "evidence":
        write_report(options.results, options.models, ROOT / "docs")


def _train_once(arm: str, seed: int, protocol: Protocol, options: argparse.Namespace) -> dict[str, Any]:
    path = options.results / f"{arm}-{seed}.json"
    done = read_result(path, protocol)
    if done is not None:
        if "withdrawn" in done:
            logger.warning(
                "%s is kept, and was %s: remove it to train this arm as the code does today", path, done["withdrawn"]
            )
        return done
    search = _search_of(arm, seed, protocol, options)
    logger.info("training %s, seed %d", arm, seed)
    output = options.models / f"{arm}-{seed}"
    shutil.rmtree(output, ignore_errors=True)
    result = {"arm": arm, "seed": seed, "protocol": asdict(protocol), "attacks": {}}
    result |= train_arm(arm, seed, protocol, data_folder("sst2"), output)
    if arm == "early-bird+freelb-3":
        count_search(result, search)
    write_result(path, result)
    logger.info("%s, seed %d: clean %.3f, %.0f s", arm, seed, result["clean"], result["seconds"])
    return result


def _search_of(arm: str, seed: int, protocol: Protocol, options: argparse.Namespace) -> dict[str, Any] | None:
    """The search whose ticket an arm is given; None for arms that have their own or none."""
    if arm != "early-bird+freelb-3":
        return None
    path, ticket = (
        options.results / f"early-bird-{seed}.json",
        options.models / f"early-bird-{seed}/ticket.safetensors",
    )
    search = read_result(path, protocol)
    if search is None or "withdrawn" in search or not ticket.exists():
        sys.exit(
            f"{arm} is given the ticket of early-bird, seed {seed}, which this code has not drawn: remove {path}, and "
            "run that arm"
        )
    return search


def _attack_once(result: dict[str, Any], arm: str, seed: int, protocol: Protocol, options: argparse.Namespace) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    todo = [recipe for recipe in protocol.recipes if recipe not in result["attacks"]]
    folder = options.models / f"{arm}-{seed}" / "model"
    if not todo:
        return
    if not folder.is_dir():
        logger.warning("%s is gone: remove docs/evidence/%s-%d.json to train it again", folder, arm, seed)
        return
    pruned = "ticket" in result
    load = load_pruned if pruned else AutoModelForSequenceClassification.from_pretrained
    _, test = load_data(data_folder("sst2"), protocol)
    for recipe in todo:
        report = evaluate_robustness(
            load(folder),
            test,
            AutoTokenizer.from_pretrained(folder),
            recipes=[recipe],
            num_examples=protocol.num_examples,
            seed=0,
            text_columns="sentence",
            sentence_encoder="minilm",
            output_dir=options.models / f"{arm}-{seed}" / "attacks",
            resume=True,
        )
        attacked = report[recipe]
        result["attacks"][recipe] = {
            "accuracy_under_attack": attacked.accuracy_under_attack,
            "interval": list(attacked.confidence_interval),
            "attack_success_rate": attacked.attack_success_rate,
            "mean_queries": attacked.mean_queries,
            "clean_on_sample": report.clean_accuracy,
        }
        write_result(options.results / f"{arm}-{seed}.json", result)
        logger.info("%s, seed %d, %s: %.3f under attack", arm, seed, recipe, attacked.accuracy_under_attack)


def _parse() -> tuple[argparse.Namespace, Protocol]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--results", type=Path, default=ROOT / "docs" / "evidence")
    parser.add_argument("--models", type=Path, default=ROOT / "out" / "evidence")
    parser.add_argument("--no-attack", dest="attack", action="store_false")
    for field in fields(Protocol):
        if field.name != "recipes":
            parser.add_argument(f"--{field.name}", type=type(field.default), default=field.default)
    parser.add_argument("--recipes", nargs="+", default=list(Protocol.recipes))
    options = parser.parse_args()
    protocol = Protocol(
        **{f.name: getattr(options, f.name) for f in fields(Protocol) if f.name != "recipes"},
        recipes=tuple(options.recipes),
    )
    return options, protocol


if __name__ == "__main__":
    main()
