"""Theoretical operations of a sparse model, per layer and per pass.

A product of a masked weight counts as none, as the papers count it. Masks save no time on hardware for dense products:
these figures belong beside measured seconds, never in their place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ..errors import ConfigurationError
from .selection import select_weights


@dataclass(frozen=True)
class ModelFlops:
    """Operations of one forward pass over one batch; a multiplication and an addition count as two.

    Attributes:
        layers: Name of a weight that can be masked -> operations with it when dense.
        other: All other operations (attention products, layers that are not masked).
        examples: Size of the batch.
    """

    layers: Mapping[str, int]
    other: int
    examples: int

    def forward(self, density: Mapping[str, float] | None = None) -> float:
        """Operations of a forward pass.

        Args:
            density: Weight -> fraction kept; None for dense.
        """
        return self.other + sum(value * _of(density, name) for name, value in self.layers.items())

    def step(
        self,
        density: Mapping[str, float] | None = None,
        *,
        full_passes: float = 1,
        input_passes: float = 0,
        dense_weight_gradient: bool = False,
    ) -> float:
        """Operations of a training step.

        The backward pass costs one forward pass for the gradient of the activations and one for that of the weights.

        Args:
            density: As for `forward`.
            full_passes: Forward and backward passes that give weight gradients.
            input_passes: Passes that give the gradient of the input alone (the ascents of PGD).
            dense_weight_gradient: Whether the gradient of masked weights is wanted, as in a growth step.
        """
        forward = self.forward(density)
        weight_gradient = self.forward() if dense_weight_gradient else forward
        return full_passes * (2 * forward + weight_gradient) + input_passes * 2 * forward


def count_flops(
    model: nn.Module, inputs: Mapping[str, Tensor], weights: Mapping[str, Tensor] | None = None
) -> ModelFlops:
    """Counts the operations of a forward pass over `inputs`, per layer.

    Args:
        model: The model; its mode and gradients are left as they are.
        inputs: One batch as keyword arguments, the batch in the first dimension.
        weights: Weights that can be masked; None for those of `select_weights`, frozen or not.

    Raises:
        ConfigurationError: If a weight belongs to no layer of the model.
    """
    weights = select_weights(model, trainable_only=False) if weights is None else weights
    names = {id(weight): name for name, weight in weights.items()}
    modules = [(names[id(m.weight)], m) for m in model.modules() if id(getattr(m, "weight", None)) in names]
    if {name for name, _ in modules} != weights.keys():
        raise ConfigurationError(f"expected weights of {type(model).__name__}, got others: use select_weights(model)")
    flops = dict.fromkeys(weights, 0)

    def hook_for(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Tensor) -> None:
            flops[name] += 2 * module.weight.numel() * _positions(module, output)

        return hook

    handles = [module.register_forward_hook(hook_for(name)) for name, module in modules]
    training = model.training
    try:
        # The fused attention of a CPU is unknown to the counter; the plain one is products.
        plain = sdpa_kernel(SDPBackend.MATH)
        with plain, FlopCounterMode(display=False) as counter, torch.no_grad():
            model.eval()(**inputs)
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    examples = len(next(iter(inputs.values())))
    return ModelFlops(flops, counter.get_total_flops() - sum(flops.values()), examples)


def _positions(module: nn.Module, output: Tensor) -> int:
    """How often a weight is used: once per row, or per pixel of the output."""
    channels = output.shape[1] if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)) else output.shape[-1]
    return output.numel() // channels


def _of(density: Mapping[str, float] | None, name: str) -> float:
    return 1.0 if density is None else density[name]


def training_flops(
    flops: ModelFlops,
    log: Sequence[Mapping[str, Any]],
    steps: int,
    *,
    full_passes: float = 1,
    input_passes: float = 0,
) -> float:
    """Operations of a whole training, by density over time.

    Args:
        flops: Operations of one batch of the size that was trained with.
        log: `SparseTrainingCallback.log`: entries with `step`, `event`, `layer_density` and `dense_gradient`.
        steps: Optimiser steps of the training.
        full_passes: As for `ModelFlops.step`, of an attacked step.
        input_passes: The same.

    Returns:
        Operations; steps before the first entry count as dense, those before a `"ticket"` as dense, and as attacked
        where its entry says so.
    """
    passes = {"full_passes": full_passes, "input_passes": input_passes}
    total, done, density = 0.0, 0, None
    for entry in [*log, {"step": steps, "event": "end"}]:
        plain = entry["event"] == "ticket" and not entry.get("attacked", False)
        total += (entry["step"] - done) * flops.step(density, **({} if plain else passes))
        if entry.get("dense_gradient"):
            extra = flops.step(density, full_passes=full_passes, dense_weight_gradient=True)
            total += extra - flops.step(density, full_passes=full_passes)
        done, density = entry["step"], entry.get("layer_density")
    return total
