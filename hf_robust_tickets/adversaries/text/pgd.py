"""PGD: projected gradient descent (on the negative loss)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..base import Adversary
from ..geometry import expand_mask, project, steepest_direction, uniform_start
from ..registry import register_adversary
from ..units import Lengths


@dataclass(frozen=True)
class PGD(Adversary):
    """Steps uphill, each projected on the ball; only the loss at the end trains the weights.

    `delta <- project(delta + step_size * g / ||g||, max_norm)`, `steps - 1` times; the last of the `steps` passes is
    the one whose gradient reaches the weights (Madry et al., "Towards Deep Learning Models Resistant to Adversarial
    Attacks", ICLR 2018, section 2.1; for word embeddings with l2 balls: Zhu et al., FreeLB, ICLR 2020, equation 2).

    The passes before the last need the gradient with respect to delta alone, which saves about a third of their cost;
    `FreeLB` spends that third and uses every pass for the weights.

    Cost: 2/3 (K - 1) + 1.
    Trains on: the loss at the end of K - 1 steps.
    Use when: worst-case robustness inside a ball.

    Example:
        >>> PGD(steps=4, step_size=0.02, max_norm=0.05)            # three ascents of 2 % of the norm, 5 % at most
        >>> PGD(steps=4, step_size=0.05, max_norm=0.1, norm="linf", init_magnitude=0.1)      # with a random start
    """

    steps: int = 4

    name: ClassVar[str] = "pgd"
    lengths: ClassVar[Mapping[str, Lengths]] = {
        "relative": Lengths(0.02, 0.0, 0.05),
        "absolute": Lengths(0.3, 0.0, 1.0),
    }

    def init(self, x: Tensor, mask: Tensor) -> Tensor:
        """Zero, or uniform of size `init_magnitude`. Shapes as in `Adversary.init`."""
        start = uniform_start(x, mask, self.init_magnitude, self.norm, self.scope)
        return project(start, self.max_norm, self.norm, self.scope).detach()

    def ascend(self, delta: Tensor, grad: Tensor, mask: Tensor) -> Tensor:
        """One projected step. Shapes as in `Adversary.ascend`."""
        grad = grad * expand_mask(mask, grad)
        delta = delta + self.step_size * steepest_direction(grad, self.norm, self.scope)
        return project(delta, self.max_norm, self.norm, self.scope).detach()

    def loss_weight(self, k: int) -> float:
        """0 for all passes but the last, 1 for that."""
        return 1.0 if k == self.num_passes - 1 else 0.0


register_adversary("pgd", PGD)
