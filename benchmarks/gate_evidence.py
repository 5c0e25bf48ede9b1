"""Puts the recipe through the gate: calibrated attacks, one that sees labels alone, transfer and noise, seed by seed.

    python benchmarks/gate_evidence.py                # five seeds, 60 test sentences each, other ones for every seed
    python benchmarks/gate_evidence.py --seeds 2 4    # some of them

The default recipe and dense FreeLB-5 are each compared with the dense plain model of the same seed and the same number
of steps. Models that are not in out/recipe are trained (`recipe_evidence.py` makes them too). One JSON file per model
and seed in docs/evidence/gate; what is there is not made again, and attacks that were cut off go on where they were.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from datasets import disable_progress_bars  # noqa: E402

from benchmarks.gate_report import COMPARED, write_report  # noqa: E402
from benchmarks.recipe_arms import ARMS, PRUNED, RecipeProtocol, train_arm  # noqa: E402
from benchmarks.sentences import load_saved, load_splits  # noqa: E402
from benchmarks.storage import read_result, write_result  # noqa: E402
from hf_robust_tickets.evaluation import evaluate_gate  # noqa: E402

RESULTS = ROOT / "docs" / "evidence" / "gate"
logger = logging.getLogger("evidence")


@dataclass(frozen=True)
class GateProtocol:
    """What all gates share beside the protocol of the trainings."""

    num_examples: int = 60
    label_queries: int = 400
    recipes: tuple[str, ...] = ("deepwordbug", "pwws", "textfooler")
    noise: tuple[str, ...] = ("typos", "keyboard", "ocr")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(COMPARED))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--num_examples", type=int, default=GateProtocol.num_examples)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--models", type=Path, default=ROOT / "out" / "recipe")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    disable_progress_bars()
    for seed in options.seeds:
        for arm in options.arms:
            judge(arm, seed, GateProtocol(options.num_examples), options)
    if options.results == RESULTS:
        write_report(options.results, ROOT / "docs")


def judge(arm: str, seed: int, protocol: GateProtocol, options: Any) -> None:
    """Runs the gate of one model beside the dense plain one, unless its result is there."""
    path = options.results / f"{arm}-{seed}.json"
    if read_result(path, protocol) is not None:
        return
    model, reference = (_trained(name, seed, options.models) for name in (arm, "dense"))
    splits = load_splits(RecipeProtocol())
    folder = options.models / f"gate-{seed}"
    _share_reference(folder, arm)
    found = evaluate_gate(
        model[0],
        splits["test"],
        model[1],
        development_data=splits["development"],
        reference=reference,
        recipes=protocol.recipes,
        label_queries=protocol.label_queries,
        noise=protocol.noise,
        output_dir=folder / arm,
        attack={"sentence_encoder": "minilm"},
        num_examples=protocol.num_examples,
        seed=seed,
        text_columns="sentence",
        progress=False,
    )
    rows = [asdict(row) for row in found.rows]
    result = {"arm": arm, "seed": seed, "protocol": asdict(protocol), "verdict": found.verdict}
    write_result(path, result | {"signs": list(found.signs), "rows": rows})
    logger.info("%s, seed %d: %s", arm, seed, found.verdict)


def _trained(arm: str, seed: int, models: Path) -> tuple[Any, Any]:
    """The model of an arm and its tokenizer; trained now, where it is not there whole."""
    folder = models / f"{arm}-{seed}"
    if not (folder / "model" / "model.safetensors").exists():
        logger.info("training %s, seed %d", arm, seed)
        train_arm(arm, seed, RecipeProtocol(), models)
    return load_saved(folder / "model", arm in PRUNED)


def _share_reference(folder: Path, arm: str) -> None:
    """What was found on the dense model beside another one is found: attacks resume from it."""
    own, others = folder / arm / "reference", sorted(folder.glob("*/gate.json"))
    if others and not own.exists():
        logger.info("%s: the reference was attacked beside %s", arm, others[0].parent.name)
        shutil.copytree(others[0].parent / "reference", own)


if __name__ == "__main__":
    main()
