"""FGSM: one step along the sign of the gradient, and training on its end alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ...errors import ConfigurationError
from ..registry import register_adversary
from ..units import Lengths
from .pgd import PGD


@dataclass(frozen=True)
class FGSM(PGD):
    """`delta = step_size * sign(g)`; unlike `FGM`, the clean loss is not trained on.

    Goodfellow, Shlens and Szegedy, "Explaining and Harnessing Adversarial Examples", ICLR 2015, section 4; their
    training (section 6) gives the clean loss half of the weight: `adversary_clean_weight=0.5`. With a random
    start, a ball, and a step of 1.25 times its radius it is the method of Wong, Rice and Kolter, "Fast is better than
    free: Revisiting adversarial training", ICLR 2020, algorithm 3; theirs is known to fail suddenly (catastrophic
    overfitting): watch the accuracy under `PGD` on development data.

    Cost: 1 + 2/3.
    Trains on: the loss after one sign step.
    Use when: linf, fast; watch for its sudden failure under PGD.

    Example:
        >>> FGSM(step_size=0.0625, max_norm=0.05, init_magnitude=0.05)      # fast adversarial training
    """

    steps: int = 2
    norm: str = "linf"

    name: ClassVar[str] = "fgsm"
    lengths: ClassVar[Mapping[str, Lengths]] = {
        "relative": Lengths(0.05),
        "absolute": Lengths(0.01),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps != 2 or self.norm != "linf":
            raise ConfigurationError(
                f"FGSM is one step in the linf norm (steps=2), got steps={self.steps}, norm={self.norm!r}: use PGD"
            )


register_adversary("fgsm", FGSM)
