"""A moving average of the weights, and the model's output with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call


class WeightAverage:
    """`average <- momentum * average + (1 - momentum) * weights`, of the parameters that train.

    Only tensors are kept: the output comes from the model itself, called with the average in place of its weights.

    Attributes:
        tensors: Name of the parameter -> its average; empty before the first update.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self, model: nn.Module, momentum: float) -> None:
        """Takes in the present weights; the first call copies them."""
        weights = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
        if not self.tensors:
            self.tensors = {name: weight.clone() for name, weight in weights.items()}
            return
        kept = [self.tensors[name] for name in weights]
        torch._foreach_lerp_(kept, list(weights.values()), 1 - momentum)

    @torch.no_grad()
    def outputs(self, model: nn.Module, inputs: Mapping[str, Any]) -> Any:
        """The model's output with the averaged weights, without dropout."""
        training = model.training
        model.eval()
        try:
            return functional_call(model, self.tensors, (), dict(inputs), tie_weights=True)
        finally:
            model.train(training)
