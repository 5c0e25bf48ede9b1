"""The first-order score: how much the loss would change if a unit went."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from .base import Score
from .registry import register_score


class TaylorScore(Score):
    """Sum over examples of |c * dL/dc| at c = 1.

    The loss without a unit is L(c = 0), to first order L - c * dL/dc. Molchanov et al. ("Importance Estimation for
    Neural Network Pruning", CVPR 2019, section 3.1 with gates) rank neurons by it, Michel et al. ("Are Sixteen Heads
    Really Better than One?", NeurIPS 2019, equation 2) heads, by the mean over examples of the absolute value. The
    gradient of a gate is that of a batch, in which most of it cancels; here each example has its own, as the equation
    says, and a handful of batches tells what dozens did.

    Where the weights are at a minimum of the loss the score is small for every unit and mostly noise: score after a
    short training, not after a long one.

    Cost: `score_warmup` plain steps, and at most `score_batches` passes forward and back.
    Use when: the default: it stops by itself, in a fraction of an epoch.
    """

    name: ClassVar[str] = "taylor"
    by_example: ClassVar[bool] = True

    def of_units(self, gate: Tensor, gradient: Tensor | None) -> Tensor:
        """|c * dL/dc| of one batch, where the gradient is a sum over examples already."""
        return (gate * gradient).abs()


register_score("taylor", TaylorScore)
