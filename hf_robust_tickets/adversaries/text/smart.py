"""SMART: smoothness-inducing adversarial regularisation with Bregman proximal point optimisation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ...errors import ConfigurationError
from ..geometry import normalized
from ..registry import register_adversary
from ..regularizer import Regularizer
from ..units import Lengths

# The fraction of training with the first of the two momenta: section 4.1.
_EARLY = 0.1


@dataclass(frozen=True)
class SMART(Regularizer):
    """A smoothness penalty against small perturbations, and a pull towards the weights of a moment ago.

    Jiang, He, Chen, Liu, Gao and Zhao, "SMART: Robust and Efficient Fine-Tuning for Pre-trained Natural Language
    Models through Principled Regularized Optimization", ACL 2020: the smoothness-inducing regulariser (section 3.1)
    with the symmetric Kullback-Leibler divergence, or the squared difference for a regression, and the momentum
    Bregman proximal point method (section 3.2): the same divergence between the outputs of the model and of a moving
    average of its weights. Algorithm 1 steps along `g / ||g||_inf`, the gradient itself and not its signs.

    The defaults are the paper's (section 4.1): `epsilon = sigma = 1e-5`, a step of 1e-3 (absolute; the relative ones
    are as long where the entries of embeddings are of size 0.05, as in BERT-base), one ascent, `mu = 1`,
    `lambda_s` from {1, 3, 5}, `beta` = 0.99 in the first tenth of training and 0.999 after it. The authors' code
    (namisan/mt-dnn) differs: it climbs `KL(f(x) || f(x + delta))`, divides each token's gradient by that token's
    largest entry (`scope="token"`), and does not project (`max_norm=0`).

    Cost: 3.
    Trains on: the clean loss, the divergence, and a pull to the average of the weights.
    Use when: small data, long training.

    Attributes:
        proximal_coefficient: `mu`, weight of the proximal term; 0 leaves it out, and the copy of the model it needs.
        momentum: `beta` of the moving average in the first tenth of training.
        late_momentum: `beta` after it.

    Example:
        >>> AdversarialTrainer(model, args, adversary=SMART(coefficient=3.0), train_dataset=train)
    """

    steps: int = 1
    norm: str = "linf"
    proximal_coefficient: float = 1.0
    momentum: float = 0.99
    late_momentum: float = 0.999

    name: ClassVar[str] = "smart"
    lengths: ClassVar[Mapping[str, Lengths]] = {
        "relative": Lengths(2e-2, 2e-4, 2e-4),
        "absolute": Lengths(1e-3, 1e-5, 1e-5),
    }

    @property
    def extensions(self) -> tuple[str, ...]:
        """The average of the weights, where the proximal term has a weight."""
        return ("weight-average",) if self.proximal_coefficient else ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not math.isfinite(self.proximal_coefficient) or self.proximal_coefficient < 0:
            raise ConfigurationError(
                f"SMART: proximal_coefficient must be finite and not negative, got {self.proximal_coefficient!r}"
            )
        for field in ("momentum", "late_momentum"):
            if not 0 <= getattr(self, field) < 1:
                raise ConfigurationError(f"SMART: {field} must be in [0, 1), got {getattr(self, field)!r}")

    @property
    def cost(self) -> float:
        """As in `Adversary.cost`, and a third for the forward pass of the averaged weights."""
        return super().cost + (1 / 3 if self.proximal_coefficient else 0.0)

    def momentum_at(self, progress: float) -> float:
        """`beta` when the fraction `progress` of training is done."""
        return self.momentum if progress <= _EARLY else self.late_momentum

    def _direction(self, grad: Tensor) -> Tensor:
        return normalized(grad, self.norm, self.scope)


register_adversary("smart", SMART)
