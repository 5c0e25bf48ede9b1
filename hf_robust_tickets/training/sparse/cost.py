"""What a sparse training cost: theoretical operations, measured seconds and bytes, side by side and never mixed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from ...adversaries import Adversary, Regularizer
from ...errors import ConfigurationError
from ...sparse import MaskedWeights, ModelFlops, count_flops, training_flops
from ...sparse.packing import masks_to_json_beside
from .callback import SparseTrainingCallback
from .facts import search_summary, sparse_callback

# Without the gradients of the weights a pass costs two thirds of a plain one.
_INPUT_PASS = 2 / 3


@dataclass(frozen=True)
class SparseCost:
    """The cost of one training with masks.

    Theoretical operations count a product with a masked weight as none; hardware for dense products performs it all
    the same, which the seconds show.

    Attributes:
        layers: Name of each masked weight -> `dense_flops` (operations of a forward pass over one example), `density`
            at the end, and `flops`, their product.
        density: `[step, density]` at the start and after each change of masks.
        inference_flops: Theoretical operations of a forward pass over one example at the end.
        dense_inference_flops: The same without masks.
        training_flops: Theoretical operations of the whole training, by density over time, stage 1 included; every
            step after stage 1 counts as attacked, and those of stage 1 where it was.
        dense_training_flops: The same number of attacked steps without masks and without stage 1.
        seconds: Measured, of the training loop, stage 1 included.
        steps: Optimiser steps, stage 1 included.
        peak_memory_bytes: Measured.
        weight_bytes: Size of the masked weights in memory; masks save none of it.
        mask_bytes: Size of the masks in memory.
        checkpoint_mask_bytes: Size of the masks in a checkpoint.
    """

    layers: dict[str, dict[str, float]]
    density: list[list[float]]
    inference_flops: float
    dense_inference_flops: float
    training_flops: float
    dense_training_flops: float
    seconds: float
    steps: int
    peak_memory_bytes: int
    weight_bytes: int
    mask_bytes: int
    checkpoint_mask_bytes: int

    @property
    def theoretical_saving(self) -> dict[str, float | None]:
        """Fraction of the dense operations that is left out, of inference and of training.

        None for the training where it ended before stage 2: there is no dense one to set beside it.
        """
        dense = self.dense_training_flops
        return {
            "inference": 1 - self.inference_flops / self.dense_inference_flops,
            "training": 1 - self.training_flops / dense if dense else None,
        }

    def as_dict(self) -> dict[str, Any]:
        """All fields, as plain JSON data."""
        return asdict(self)


def sparse_cost(trainer: Any, inputs: Mapping[str, Tensor]) -> SparseCost:
    """The cost of a training that has ended.

    Args:
        trainer: An `AdversarialTrainer` that trained with a `SparseTrainingCallback`, or a `SparseTrainer`.
        inputs: Any batch as keyword arguments of the model, on its device, the batch in the first dimension.

    Raises:
        ConfigurationError: If it has no such callback, or has not trained.
    """
    callback = _callback(trainer)
    model = trainer.accelerator.unwrap_model(trainer.model)
    layers = MaskedWeights({name: p for name, p in model.named_parameters() if name in callback.masks})
    flops = _per_example(count_flops(model, inputs, layers.weights))
    args, steps, density = trainer.args, trainer.state.global_step, _densities(callback.masks)
    examples = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    passes = step_passes(trainer.adversary, trainer.step_cost)
    measured, search = trainer.cost_meter.cost(trainer.state), _search_cost(trainer)
    plain = [each["step"] for each in callback.log if each["event"] == "ticket" and not each.get("attacked", False)]
    attacked = steps - max(plain, default=0)
    spent = training_flops(flops, callback.log, steps, **passes)
    spent += search["steps"] * flops.step(**search["step_passes"])
    weights = layers.weights.values()
    return SparseCost(
        layers={
            name: {"dense_flops": value, "density": density[name], "flops": value * density[name]}
            for name, value in flops.layers.items()
        },
        density=[[entry["step"], entry["density"]] for entry in callback.log],
        inference_flops=flops.forward(density),
        dense_inference_flops=flops.forward(),
        training_flops=spent * examples,
        dense_training_flops=attacked * flops.step(**passes) * examples,
        seconds=measured.seconds + search["seconds"],
        steps=steps + search["steps"],
        peak_memory_bytes=max(measured.peak_memory_bytes, search["peak_memory_bytes"]),
        weight_bytes=sum(weight.numel() * weight.element_size() for weight in weights),
        mask_bytes=sum(mask.numel() * mask.element_size() for mask in callback.masks.values()),
        checkpoint_mask_bytes=len(json.dumps(masks_to_json_beside(callback.masks, layers.weights))),
    )


def _callback(trainer: Any) -> SparseTrainingCallback:
    found = sparse_callback(trainer)
    if found is None or not hasattr(trainer, "cost_meter"):
        raise ConfigurationError(
            "expected an AdversarialTrainer that has trained with a SparseTrainingCallback, got none: train first, "
            "with adversary=None for plain training"
        )
    return found


def _per_example(flops: ModelFlops) -> ModelFlops:
    layers = {name: value // flops.examples for name, value in flops.layers.items()}
    return ModelFlops(layers, flops.other // flops.examples, 1)


def _densities(masks: Mapping[str, Tensor]) -> dict[str, float]:
    return {name: int(mask.sum()) / mask.numel() for name, mask in masks.items()}


def step_passes(adversary: Adversary | None, cost: float) -> dict[str, float]:
    """How many passes of an attacked step give gradients of the weights, and how many of the input alone.

    Args:
        adversary: None for plain steps.
        cost: Of a step, in plain ones.
    """
    if adversary is None:
        return {"full_passes": 1, "input_passes": 0}
    weighted = sum(1 for k in range(adversary.num_passes) if adversary.loss_weight(k))
    full = 2 if isinstance(adversary, Regularizer) else weighted
    return {"full_passes": full, "input_passes": max(0.0, (cost - full) / _INPUT_PASS)}


def _search_cost(trainer: Any) -> dict[str, Any]:
    summary = search_summary(trainer)
    if summary is None:
        return {"steps": 0, "seconds": 0.0, "peak_memory_bytes": 0, "step_passes": {}}
    return {**summary["cost"], "step_passes": summary["step_passes"]}
