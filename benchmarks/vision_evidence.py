"""Makes the figures of docs/results_vision.md: dense and sparse adversarial training on CIFAR-10, over several seeds.

    python benchmarks/vision_evidence.py                                     # everything that is not done yet
    python benchmarks/vision_evidence.py --arms dense flying-bird-80 --seeds 0

One JSON file per arm and seed in docs/evidence/vision; what is there is not made again, so a run that was cut off goes
on where it was. The data is looked for in $ROBUST_TICKETS_DATA, and in shared/data beside the checkout.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
from dataclasses import asdict, fields
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from datasets import disable_progress_bars  # noqa: E402

from benchmarks.storage import data_folder, read_result, write_result  # noqa: E402
from benchmarks.vision_arms import ARMS, ImageProtocol, train_image_arm  # noqa: E402
from benchmarks.vision_report import write_image_report  # noqa: E402

logger = logging.getLogger("vision evidence")
RESULTS = ROOT / "docs" / "evidence" / "vision"


def main() -> None:
    options, protocol = _parse()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    disable_progress_bars()
    for seed in options.seeds:
        for arm in options.arms:
            _train_once(arm, seed, protocol, options)
    if options.results == RESULTS:
        write_image_report(options.results, ROOT / "docs")


def _train_once(arm: str, seed: int, protocol: ImageProtocol, options: argparse.Namespace) -> None:
    path = options.results / f"{arm}-{seed}.json"
    if read_result(path, protocol) is not None:
        return
    logger.info("training %s, seed %d", arm, seed)
    output = options.models / f"{arm}-{seed}"
    shutil.rmtree(output, ignore_errors=True)
    result = {"arm": arm, "seed": seed, "protocol": asdict(protocol)}
    result |= train_image_arm(arm, seed, protocol, data_folder("cifar10"), output)
    write_result(path, result)
    final = result["final"]
    logger.info("%s, seed %d: standard %.3f, robust %.3f", arm, seed, final["standard"], final["robust"])


def _parse() -> tuple[argparse.Namespace, ImageProtocol]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--models", type=Path, default=ROOT / "out" / "vision_evidence")
    for field in fields(ImageProtocol):
        parser.add_argument(f"--{field.name}", type=type(field.default), default=field.default)
    options = parser.parse_args()
    return options, ImageProtocol(**{field.name: getattr(options, field.name) for field in fields(ImageProtocol)})


if __name__ == "__main__":
    main()
