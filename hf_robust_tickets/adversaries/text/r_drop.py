"""R-Drop: two passes with different dropout, and no adversary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...errors import ConfigurationError
from ..divergence import is_squared, symmetric_kl
from ..registry import register_adversary
from ..regularizer import Regularizer


@dataclass(frozen=True)
class RDrop(Regularizer):
    """The control that only repeats the pass: the two outputs differ by their dropout masks alone.

    Wu, Li, Wang, Meng, Qin, Chen, Zhang and Liu, "R-Drop: Regularized Dropout for Neural Networks", NeurIPS 2021,
    equation 4: `L1 + L2 + alpha * (KL(P1 || P2) + KL(P2 || P1)) / 2`, the task's loss of both passes counted. The
    paper takes `alpha` from {0.1, 0.5, 1.0} for language understanding. For a regression the divergence is the squared
    difference, as in the authors' code. Without dropout it is two equal passes.

    Cost: 2.
    Trains on: two passes with different dropout.
    Use when: a control: what repetition alone gives.
    """

    steps: int = 0
    step_size: float = 0.0
    init_magnitude: float = 0.0
    max_norm: float = 0.0

    name: ClassVar[str] = "r-drop"
    perturbed_loss_weight: ClassVar[float] = 1.0
    _least_steps: ClassVar[int] = 0
    _climbs: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.steps != 0 or self.init_magnitude != 0:
            raise ConfigurationError(
                f"R-Drop perturbs nothing, got steps={self.steps}, init_magnitude={self.init_magnitude}: use ALUM or "
                "TRADES for a perturbation"
            )
        super().__post_init__()

    def init(self, x: Tensor, mask: Tensor) -> Tensor:
        """Zero. Shapes as in `Adversary.init`."""
        return torch.zeros_like(x)

    def divergence(
        self, clean: Tensor, perturbed: Tensor, valid: Tensor | None = None, kind: str = "classes"
    ) -> Tensor:
        """Half the symmetric divergence; the squared difference for a regression. See `Regularizer.divergence`."""
        divergence = symmetric_kl(clean, perturbed, valid, kind)
        return divergence if is_squared(clean, kind) else divergence / 2


register_adversary("r-drop", RDrop)
