"""What masks on single weights cost: sections of `bench.py`."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

from transformers import Trainer

from benchmarks.steps import SMALL, bert, images, ratio, resnet_18, row, stepper
from hf_robust_tickets import FlyingBird, SparseTrainingCallback
from hf_robust_tickets.sparse import RandomMask, save_masks


def shapes() -> list[tuple[str, Any, dict[str, Any]]]:
    pixels = {"batch": 64, "length": 32, "make_data": images}
    return [("MiniLM shape, 32 x 32", bert(SMALL), {}), ("ResNet-18, 64 images of 32 x 32", resnet_18(), pixels)]


def masked(rounds: int) -> list[dict[str, Any]]:
    rows = []
    for title, model, options in shapes():

        def sparse(steps: int, model: Any = model, options: dict[str, Any] = options) -> list[float]:
            return stepper(Trainer, model, callbacks=[SparseTrainingCallback(RandomMask(0.2))], **options)(steps)

        # The products with the masks are about a hundredth of a step: only the fastest steps show it.
        value = ratio(sparse, stepper(Trainer, model, **options), rounds, steps=6, centre=min)
        rows.append(row(f"masked step / dense step, fastest, {title}", value, 1.03))
    return rows


def flying_bird(rounds: int, period: int = 900) -> list[dict[str, Any]]:
    """Every second step updates the masks here; the ratio is for one update in 900 steps, the default."""
    rows = []
    for title, model, options in shapes():
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
