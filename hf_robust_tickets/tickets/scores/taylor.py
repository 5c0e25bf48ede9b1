"""The first-order score: how much the loss would change if a unit went."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from .base import Score
from .registry import register_score


class TaylorScore(Score):
    """Sum over batches of |c * dL/dc| at c = 1.

    The loss without a unit is L(c = 0), to first order L - c * dL/dc. Molchanov et al. ("Importance Estimation for
    Neural Network Pruning", CVPR 2019, section 3.1 with gates) rank neurons by it, Michel et al. ("Are Sixteen Heads
    Really Better than One?", NeurIPS 2019, equation 2) heads. L is the mean over a batch; the absolute value is taken
    batch by batch, so that gradients of opposite signs do not cancel.

    Where the weights are at a minimum of the loss the score is small for every unit and mostly noise: score after a
    short training, not after a long one.
    """

    name: ClassVar[str] = "taylor"

    def of_units(self, gate: Tensor, gradient: Tensor | None) -> Tensor:
        """|c * dL/dc| of one batch."""
        return (gate * gradient).abs()


register_score("taylor", TaylorScore)
