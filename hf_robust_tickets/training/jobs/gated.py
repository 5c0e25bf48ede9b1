"""Training with gates in the model: their own parameter group, and the L1 norm that pushes them down."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...tickets import get_gates
from ..trainer import AdversarialTrainer


class GatedTrainer(AdversarialTrainer):
    """`AdversarialTrainer` that knows what gates need; without gates in the model it is `AdversarialTrainer`.

    Gates get their own learning rate (the weights' rate of 2e-5 moves a gate by 2e-4 in a hundred steps, which leaves
    the ranking to the noise of Adam's signs), no weight decay, and the L1 norm of EarlyRobust's equation 5 in the loss
    of the last pass.

    Attributes:
        gate_learning_rate: Learning rate of the gates; it follows the schedule of the run.
        gate_l1: Weights of the L1 norm of head gates and of neuron gates.
    """

    gate_learning_rate: float = 1e-2
    gate_l1: tuple[float, float] = (1e-4, 1e-4)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """As in `Trainer.create_optimizer`, with the gates in a parameter group of their own."""
        gates = get_gates(self.model)
        if gates is None or self.optimizer is not None:
            return super().create_optimizer(model)
        parameters = gates.parameters()
        # The Trainer's groups take what requires a gradient.
        for parameter in parameters:
            parameter.requires_grad_(False)
        try:
            optimizer = super().create_optimizer(model)
        finally:
            for parameter in parameters:
                parameter.requires_grad_(True)
        optimizer.add_param_group({"params": parameters, "lr": self.gate_learning_rate, "weight_decay": 0.0})
        return optimizer

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """As in `Trainer.compute_loss`; in training, plus the gates' penalty in the last pass."""
        result = super().compute_loss(model, inputs, *args, **kwargs)
        if not (model.training and self._in_last_pass):
            return result
        penalty = self._gate_penalty(kwargs.get("num_items_in_batch"))
        if penalty is None:
            return result
        return (result[0] + penalty, *result[1:]) if isinstance(result, tuple) else result + penalty

    def _gate_penalty(self, num_items_in_batch: Tensor | int | None) -> Tensor | None:
        gates = get_gates(self.accelerator.unwrap_model(self.model))
        if gates is None:
            return None
        heads, neurons = gates.l1()
        penalty = self._per_step(self.gate_l1[0] * heads + self.gate_l1[1] * neurons, num_items_in_batch)
        # Once per optimiser step, whatever the weight of the pass that it comes with.
        penalty = penalty / self._loss_weight
        # Its gradient without its value: the loss in the log stays that of the task.
        return penalty - penalty.detach()
