"""Adversarial weight perturbation: the pass that trains the weights is computed at worse ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch import distributed as dist


class WeightPerturbation:
    """Moves every weight matrix uphill on the adversarial loss, and back.

    `v_l = gamma * ||w_l|| * g_l / ||g_l||` for each layer l, with g the gradient of the loss at the end of the ascent;
    the gradient that trains w is that at w + v (Wu, Xia and Wang, "Adversarial Weight Perturbation Helps Robust
    Generalization", NeurIPS 2020, equations 8 to 11 and algorithm 1 with one step). Their gamma: 0.01 with PGD, 0.005
    with TRADES (section 4.1). As in their code biases and norms stay where they are.

    A weight that is exactly zero stays so: pruned weights are not moved. Weights come back bit for bit.

    Args:
        model: The model, not wrapped.
        gamma: Length of v relative to the weights of its layer.
    """

    def __init__(self, model: nn.Module, gamma: float) -> None:
        self.gamma = gamma
        self.weights = [weight for weight in model.parameters() if weight.requires_grad and weight.dim() > 1]
        self._kept: list[Tensor] | None = None

    def climb(self, loss: Tensor) -> None:
        """Moves the weights by v; a layer whose gradient is not finite, or zero, stays where it is.

        Under data parallelism g is the mean over the ranks, so that all have the same weights.

        Args:
            loss: The adversarial loss, with its graph.
        """
        gradients = torch.autograd.grad(loss, self.weights, allow_unused=True)
        gradients = [torch.zeros_like(w) if g is None else g for g, w in zip(gradients, self.weights, strict=True)]
        _average_over_ranks(gradients)
        self._kept = [weight.detach().clone() for weight in self.weights]
        with torch.no_grad():
            for weight, gradient in zip(self.weights, gradients, strict=True):
                gradient = gradient.masked_fill(weight == 0, 0)
                factor = self.gamma * weight.norm() / gradient.norm()
                weight.add_(torch.where(torch.isfinite(factor), factor * gradient, torch.zeros_like(gradient)))

    @torch.no_grad()
    def restore(self) -> None:
        """Puts the weights back."""
        if self._kept is not None:
            for weight, kept in zip(self.weights, self._kept, strict=True):
                weight.copy_(kept)
            self._kept = None


def _average_over_ranks(tensors: list[Tensor]) -> None:
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        for tensor in tensors:
            dist.all_reduce(tensor)
            tensor /= dist.get_world_size()
