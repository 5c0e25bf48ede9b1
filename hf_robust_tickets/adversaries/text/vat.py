"""VAT: virtual adversarial training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ...errors import ConfigurationError
from ..divergence import kl_divergence
from ..geometry import expand_mask, normal_start, steepest_direction
from ..registry import register_adversary
from ..regularizer import Regularizer
from ..units import Lengths


@dataclass(frozen=True)
class VAT(Regularizer):
    """The penalty `KL(f(x) || f(x + r))` at the direction in which the output changes fastest.

    Miyato, Maeda, Koyama and Ishii, "Virtual Adversarial Training", TPAMI 2019, equations 5 to 12; for word embeddings
    Miyato, Dai and Goodfellow, ICLR 2017, equations 5 to 7. The start is a random direction of length `init_magnitude`
    (their xi); one step of power iteration gives `r = step_size * g / ||g||`, of length exactly `step_size` (their
    epsilon). The clean output is a constant, and no label is used: batches without labels train too where the model
    gives a loss for them.

    Cost: 2 + 2/3.
    Trains on: the clean loss and the divergence after one power iteration, without labels.
    Use when: smoothness, semi-supervised data.
    """

    steps: int = 1

    name: ClassVar[str] = "vat"
    lengths: ClassVar[Mapping[str, Lengths]] = {
        "relative": Lengths(0.05, 2e-3),
        "absolute": Lengths(1.0, 1e-2),
    }
    detach_clean: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps != 1:
            raise ConfigurationError(
                f"VAT takes exactly 1 step of power iteration, got steps={self.steps}: use TRADES"
            )

    def init(self, x: Tensor, mask: Tensor) -> Tensor:
        """A random direction of length `init_magnitude`. Shapes as in `Adversary.init`."""
        return self.init_magnitude * steepest_direction(normal_start(x, mask, 1.0), self.norm, self.scope)

    def ascend(self, delta: Tensor, grad: Tensor, mask: Tensor) -> Tensor:
        """`step_size * g / ||g||`. Shapes as in `Adversary.ascend`."""
        return self.step_size * steepest_direction(grad * expand_mask(mask, grad), self.norm, self.scope)

    def divergence(
        self, clean: Tensor, perturbed: Tensor, valid: Tensor | None = None, kind: str = "classes"
    ) -> Tensor:
        """`KL(f(x) || f(x + r))`. Shapes as in `Regularizer.divergence`."""
        return kl_divergence(clean, perturbed, valid, kind)


register_adversary("vat", VAT)
