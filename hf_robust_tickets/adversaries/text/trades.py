"""TRADES: the trade-off between accuracy and robustness."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..divergence import kl_divergence
from ..registry import register_adversary
from ..regularizer import Regularizer
from ..units import Lengths


@dataclass(frozen=True)
class TRADES(Regularizer):
    """`L(f(x), y) + coefficient * max KL(f(x) || f(x + delta))`.

    Zhang, Yu, Jiao, Xing, El Ghaoui and Jordan, "Theoretically Principled Trade-off between Robustness and Accuracy",
    ICML 2019, equation 5 and algorithm 1; `coefficient` is their `1/lambda`. The start is normal with standard
    deviation 0.001, and the ascent takes signs of gradients inside an linf ball.

    The authors' code computes the ascent with the model in evaluation mode; here dropout stays on in all passes, the
    clean one included (`adversary_share_dropout` gives them the same masks).

    The absolute defaults are the paper's for CIFAR-10 (section 5): ten steps of 0.007 in a ball of 0.031, `1/lambda` =
    6, all in units of pixels between 0 and 1. Word embeddings are of another size: choose the lengths on development
    data.

    Cost: 2 + 2/3 K.
    Trains on: the clean loss and the divergence at the perturbed input.
    Use when: accuracy against robustness with one weight.

    Example:
        >>> TRADES(steps=3, step_size=0.02, init_magnitude=0.002, max_norm=0.05, norm="l2", coefficient=1.0)
    """

    steps: int = 10
    norm: str = "linf"
    coefficient: float = 6.0

    name: ClassVar[str] = "trades"
    lengths: ClassVar[Mapping[str, Lengths]] = {
        "relative": Lengths(0.0125, 0.002, 0.05),
        "absolute": Lengths(0.007, 0.001, 0.031),
    }

    def divergence(
        self, clean: Tensor, perturbed: Tensor, valid: Tensor | None = None, kind: str = "classes"
    ) -> Tensor:
        """`KL(f(x) || f(x + delta))`. Shapes as in `Regularizer.divergence`."""
        return kl_divergence(clean, perturbed, valid, kind)


register_adversary("trades", TRADES)
