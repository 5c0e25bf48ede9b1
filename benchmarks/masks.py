"""What masks on single weights cost: sections of `bench.py`."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer

from benchmarks.steps import SMALL, bert, images, resnet_18, row, stepper
from hf_robust_tickets import FlyingBird, SparseTrainingCallback, prune_, random_ticket
from hf_robust_tickets.sparse import RandomMask, save_masks
from hf_robust_tickets.sparse.packing import masks_to_json_beside


def shapes() -> list[tuple[str, Any, dict[str, Any]]]:
    pixels = {"batch": 8, "length": 32, "make_data": images}
    return [("MiniLM shape, 32 x 32", bert(SMALL), {}), ("ResNet-18, 8 images of 32 x 32", resnet_18(), pixels)]


class EveryOther(SparseTrainingCallback):
    """Masks that rest in every second step: what else the machine does falls on both sides alike."""

    rests = False

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.rests = state.global_step % 2 == 1
        if self.rests:
            self._run.layers.release_gradients()
        else:
            self._run.layers.hold_gradients()
            super().on_step_begin(args, state, control, **kwargs)

    def on_pre_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        if not self.rests:
            super().on_pre_optimizer_step(*args, **kwargs)

    def on_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        if not self.rests:
            super().on_optimizer_step(*args, **kwargs)


def masked(rounds: int) -> list[dict[str, Any]]:
    rows = []
    for title, model, options in shapes():
        step = stepper(Trainer, model, callbacks=[EveryOther(RandomMask(0.2))], **options)
        with_masks, without = [], []
        for _ in range(rounds):
            times = step(13)
            without += times[0::2]
            with_masks += times[1::2]
        value = statistics.median(with_masks) / statistics.median(without)
        rows.append(row(f"masked step / dense step, {title}", value, 1.03))
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
    packed = len(json.dumps(callback.progress["run"]["masks"])) / weights
    # The worst case: half of the weights are kept, and half of these have just grown and are zero.
    half = {name: torch.rand(mask.shape) < 0.5 for name, mask in callback.masks.items()}
    grown = {name: mask * (torch.rand(mask.shape) < 0.5) for name, mask in half.items()}
    worst = len(json.dumps(masks_to_json_beside(half, grown))) / weights
    live = sum(mask.numel() * mask.element_size() for mask in callback.masks.values()) / weights
    return [
        row("file of masks / float32 weights", file, 1.01 / 32, digits=4),
        row("masks in a Trainer checkpoint / float32 weights", packed, 1 / 32, digits=4),
        row("the same, density 0.5, half of them just grown", worst, 1 / 32, digits=4),
        row("masks in training / float32 weights", live, 1 / 4, digits=4),
    ]


@torch.no_grad()
def channels(rounds: int) -> list[dict[str, Any]]:
    """ResNet-18 without half of the channels inside its blocks, against the dense one: a forward pass."""
    dense, cut = resnet_18().eval(), resnet_18().eval()
    prune_(cut, random_ticket(cut, neuron_sparsity=0.5, neuron_scope="layer"))
    pixels = torch.randn(16, 3, 32, 32)
    seconds: dict[str, list[float]] = {"dense": [], "cut": []}
    for _ in range(2 * rounds + 1):
        for name, model in (("dense", dense), ("cut", cut)):
            began = time.process_time()
            model(pixel_values=pixels)
            seconds[name].append(time.process_time() - began)
    value = min(seconds["cut"][1:]) / min(seconds["dense"][1:])
    return [row("ResNet-18, half of the inner channels / dense, fastest pass of 16 images", value, 0.65)]
