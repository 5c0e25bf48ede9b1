"""What masks cost, as ratios; the second half of `make bench`.

python benchmarks/bench_sparse.py --only masked --rounds 9
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from datasets import Dataset
from transformers import ResNetConfig, ResNetForImageClassification, Trainer, logging

from benchmarks.bench import SMALL, bert, ratio, row, stepper
from hf_robust_tickets import FlyingBird, SparseTrainingCallback
from hf_robust_tickets.reporting.tables import text_table
from hf_robust_tickets.sparse import RandomMask, save_masks


def resnet_18() -> ResNetForImageClassification:
    torch.manual_seed(0)
    return ResNetForImageClassification(
        ResNetConfig(depths=[2, 2, 2, 2], hidden_sizes=[64, 128, 256, 512], layer_type="basic", num_labels=10)
    )


def images(batch: int, size: int, steps: int) -> Dataset:
    pixels = torch.randn(batch * steps, 3, size, size, generator=torch.Generator().manual_seed(0))
    data = Dataset.from_dict({"pixel_values": pixels.numpy(), "labels": [i % 10 for i in range(batch * steps)]})
    return data.with_format("torch")


def _shapes() -> list[tuple[str, Any, dict[str, Any]]]:
    pixels = {"batch": 64, "length": 32, "make_data": images}
    return [("MiniLM shape, 32 x 32", bert(SMALL), {}), ("ResNet-18, 64 images of 32 x 32", resnet_18(), pixels)]


def masked(rounds: int) -> list[dict[str, Any]]:
    rows = []
    for title, model, options in _shapes():

        def sparse(steps: int, model: Any = model, options: dict[str, Any] = options) -> list[float]:
            return stepper(Trainer, model, callbacks=[SparseTrainingCallback(RandomMask(0.2))], **options)(steps)

        # The products with the masks are about a hundredth of a step: only the fastest steps show it.
        value = ratio(sparse, stepper(Trainer, model, **options), rounds, steps=6, centre=min)
        rows.append(row(f"masked step / dense step, fastest, {title}", value, 1.03))
    return rows


def flying_bird(rounds: int, period: int = 900) -> list[dict[str, Any]]:
    """Every second step updates the masks here; the ratio is for one update in 900 steps, the default."""
    rows = []
    for title, model, options in _shapes():
        updates, others = [], []
        for _ in range(rounds):
            moving = SparseTrainingCallback(FlyingBird(0.2, period=2))
            times = stepper(Trainer, model, callbacks=[moving], **options)(7)
            updates += times[0::2]
            others += times[1::2]
        extra = statistics.median(updates) / statistics.median(others) - 1
        title = f"Flying Bird, update every {period} steps / masked step, {title} (an update costs {extra:.2f} steps)"
        rows.append(row(title, 1 + extra / period, 1.02))
    return rows


def mask_memory(rounds: int) -> list[dict[str, Any]]:
    model = bert(SMALL)
    callback = SparseTrainingCallback(RandomMask(0.2))
    stepper(Trainer, model, callbacks=[callback])(2)
    weights = 4 * sum(mask.numel() for mask in callback.masks.values())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "masks.safetensors"
        save_masks(callback.masks, path)
        file = path.stat().st_size / weights
    packed = sum(len(item["bits"]) for item in callback.progress["run"]["masks"].values()) / weights
    live = sum(mask.numel() * mask.element_size() for mask in callback.masks.values()) / weights
    return [
        row("file of masks / float32 weights", file, 1.01 / 32, digits=4),
        row("masks in a Trainer checkpoint (density 0.2) / float32 weights", packed, 1 / 32, digits=4),
        row("masks in training / float32 weights", live, 1 / 4, digits=4),
    ]


SECTIONS = {"masked": masked, "flying_bird": flying_bird, "mask_memory": mask_memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    logging.set_verbosity_error()
    rows = []
    for name in options.only:
        print(f"measuring {name} ...", flush=True)
        rows.extend(SECTIONS[name](options.rounds))
    print(f"\n{torch.get_num_threads()} threads, torch {torch.__version__}, {options.rounds} rounds\n")
    print(text_table(rows))


if __name__ == "__main__":
    main()
