"""Adversarial weight perturbation: the pass that trains the weights is computed at worse ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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

        Args:
            loss: The adversarial loss, with its graph.
        """
        gradients = torch.autograd.grad(loss, self.weights, allow_unused=True)
        gradients = [torch.zeros_like(w) if g is None else g for g, w in zip(gradients, self.weights, strict=True)]
        self._kept = [weight.detach().clone() for weight in self.weights]
        with torch.no_grad():
            for weight, gradient in zip(self.weights, gradients, strict=True):
                gradient = gradient.masked_fill(weight == 0, 0)
                length = gradient.norm()
                # An infinite length divides to a finite zero, which times an infinite entry is not a number.
                moves = torch.isfinite(length) & (length > 0)
                weight.add_(torch.where(moves, self.gamma * weight.norm() / length * gradient, 0.0))

    @torch.no_grad()
    def restore(self) -> None:
        """Puts the weights back."""
        if self._kept is not None:
            for weight, kept in zip(self.weights, self._kept, strict=True):
                weight.copy_(kept)
            self._kept = None
