"""How gates train: a rate of their own, no weight decay, and the L1 norm that pushes them down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...tickets import get_gates


@dataclass(frozen=True)
class GateTraining:
    """Trains the gates of a model along with its weights (Xi et al., EarlyRobust, EMNLP 2022, equation 5).

    Gates get their own learning rate (the weights' rate of 2e-5 moves a gate by 2e-4 in a hundred steps, which leaves
    the ranking to the noise of Adam's signs), no weight decay, and an L1 norm in the loss.

    Attributes:
        learning_rate: Of the gates; it follows the schedule of the run.
        l1_heads: Weight of the sum of the absolute head gates in the loss.
        l1_neurons: The same for the neurons' gates.
    """

    learning_rate: float = 1e-2
    l1_heads: float = 1e-4
    l1_neurons: float = 1e-4

    def penalty(self, model: nn.Module) -> Tensor:
        """The weighted L1 norms: a term for `StepRunner.terms`.

        Args:
            model: The model with gates, not wrapped.
        """
        heads, neurons = get_gates(model).l1()
        return self.l1_heads * heads + self.l1_neurons * neurons

    def create_optimizer(self, model: nn.Module, create: Callable[[], torch.optim.Optimizer]) -> torch.optim.Optimizer:
        """An optimiser with the gates in a parameter group of their own.

        Args:
            model: The model with gates.
            create: Makes the optimiser of all other parameters: of those that require a gradient.
        """
        parameters = get_gates(model).parameters()
        for parameter in parameters:
            parameter.requires_grad_(False)
        try:
            optimizer = create()
        finally:
            for parameter in parameters:
                parameter.requires_grad_(True)
        optimizer.add_param_group({"params": parameters, "lr": self.learning_rate, "weight_decay": 0.0})
        return optimizer
