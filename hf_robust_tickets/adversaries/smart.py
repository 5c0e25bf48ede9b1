"""SMART: smoothness-inducing adversarial regularisation with Bregman proximal point optimisation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from ..errors import ConfigurationError
from .registry import register_adversary
from .regularizer import Regularizer


@dataclass(frozen=True)
class SMART(Regularizer):
    """A smoothness penalty against small perturbations, and a pull towards the weights of a moment ago.

    Jiang, He, Chen, Liu, Gao and Zhao, "SMART: Robust and Efficient Fine-Tuning for Pre-trained Natural Language
    Models through Principled Regularized Optimization", ACL 2020: the smoothness-inducing regulariser (section 3.1)
    with the symmetric Kullback-Leibler divergence, or the squared difference for a regression, and the momentum
    Bregman proximal point method (section 3.2, equations 4 and 5): the same divergence between the outputs of the
    model and of a moving average of its weights.

    The defaults are the paper's (section 4.1): `epsilon = sigma = 1e-5`, a step of 1e-3, one ascent, `mu = 1`,
    `lambda_s` from {1, 3, 5}, `beta = 0.99` (the paper raises it to 0.999 after a tenth of training).

    Attributes:
        proximal_coefficient: `mu`, weight of the proximal term; 0 leaves it out, and the copy of the model it needs.
        momentum: `beta` of the moving average.

    Example:
        >>> AdversarialTrainer(model, args, adversary=SMART(coefficient=3.0), train_dataset=train)
    """

    steps: int = 1
    step_size: float = 1e-3
    init_magnitude: float = 1e-5
    max_norm: float = 1e-5
    norm: str = "linf"
    proximal_coefficient: float = 1.0
    momentum: float = 0.99

    name: ClassVar[str] = "smart"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not math.isfinite(self.proximal_coefficient) or self.proximal_coefficient < 0:
            raise ConfigurationError(
                f"SMART: proximal_coefficient must be finite and not negative, got {self.proximal_coefficient!r}"
            )
        if not 0 <= self.momentum < 1:
            raise ConfigurationError(f"SMART: momentum must be in [0, 1), got {self.momentum!r}")


register_adversary("smart", SMART)
