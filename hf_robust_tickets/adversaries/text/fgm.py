"""FGM: the fast gradient method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...errors import ConfigurationError
from ..base import Adversary
from ..geometry import expand_mask, project, steepest_direction
from ..registry import register_adversary
from ..units import Lengths


@dataclass(frozen=True)
class FGM(Adversary):
    r"""One step uphill from the clean input, and the loss there added to the clean loss.

    `r = step_size * g / ||g||_2` with `g` the gradient of the clean loss with respect to the word embeddings (Miyato,
    Dai and Goodfellow, "Adversarial Training Methods for Semi-Supervised Text Classification", ICLR 2017, equation 3),
    and the gradient of `L(x) + L(x + r)` reaches the weights (their section 3). With `norm="linf"` the step is
    `step_size * sign(g)`: the fast gradient sign method of Goodfellow et al. (2015), equation 1.

    Two passes, of weight 1 each: the reported loss is the sum of both, as in the paper. Cheapest of the methods, and
    the only one that never sees more than one step of ascent; `PGD` with more steps generalises it. The paper's step
    is 5 on sentences of 400 normalised embeddings of 256 entries, 1.6 % of their norm.

    Beside the paper, an example can be attacked as far as the model is sure of its truth (`adaptive`):
    $s = \max(0, 1 - \ell / \log C)$, with $\ell$ its loss in the clean pass and $C$ the number of classes, and its
    share of the step is $\min(1, s / s_0)$, with $s_0$ the attribute `adaptive`. What the model has wrong it meets
    twice as it is. Where an attack raises the mean loss above that of a guess, training finds the guess: it falls to
    chance and stays there. Balaji, Goldstein and Hoffman fit attacks to examples too ("Instance adaptive adversarial
    training", 2019), and Zhang et al. stop them early ("Attacks Which Do Not Kill Training Make Adversarial Learning
    Stronger", ICML 2020). Where outputs are numbers, every share is 1.

    Attributes:
        adaptive: How sure of an example, in [0, 1], the model has to be for the whole step; 0: it always gets that.

    Cost: 2.
    Trains on: the clean loss and the loss after one step.
    Use when: a cheap first try.

    Example:
        >>> AdversarialTrainer(model, args, adversary=FGM(step_size=0.02), train_dataset=train)
    """

    steps: int = 2
    adaptive: float = 0.0

    name: ClassVar[str] = "fgm"
    lengths: ClassVar[Mapping[str, Lengths]] = {
        "relative": Lengths(0.05),
        "absolute": Lengths(1.0),
    }

    @property
    def extensions(self) -> tuple[str, ...]:
        """Steps as long as the model is sure, where `adaptive` asks for them."""
        return ("adaptive",) if self.adaptive else ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps != 2:
            raise ConfigurationError(
                f"FGM has exactly 2 passes (clean, perturbed), got steps={self.steps}: use PGD or FreeLB for more"
            )
        if self.init_magnitude != 0:
            raise ConfigurationError(
                f"FGM starts at the clean input, got init_magnitude={self.init_magnitude}: use PGD for a random start"
            )
        if not 0 <= self.adaptive <= 1:
            raise ConfigurationError(f"{type(self).__name__}: adaptive must be in [0, 1], got {self.adaptive}: e.g. 1")

    def init(self, x: Tensor, mask: Tensor) -> Tensor:
        """Zero: the first pass is clean. Shapes as in `Adversary.init`."""
        return torch.zeros_like(x)

    def ascend(self, delta: Tensor, grad: Tensor, mask: Tensor) -> Tensor:
        """`delta + step_size * g / ||g||`. Shapes as in `Adversary.ascend`."""
        grad = grad * expand_mask(mask, grad)
        delta = delta + self.step_size * steepest_direction(grad, self.norm, self.scope)
        return project(delta, self.max_norm, self.norm, self.scope).detach()

    def loss_weight(self, k: int) -> float:
        """1 for the clean and 1 for the perturbed pass."""
        return 1.0


register_adversary("fgm", FGM)
