"""The first-order score under attack."""

from __future__ import annotations

from typing import ClassVar

from .registry import register_score
from .taylor import TaylorScore


class AdversarialTaylorScore(TaylorScore):
    """Sum over examples of |c * dL/dc| at c = 1, where L is the loss at the end of the adversary's ascent.

    What a unit is worth to the attacked model, as Sehwag et al. ("HYDRA: Pruning Adversarially Robust Neural
    Networks", NeurIPS 2020) ask of weights: the score, not only the training, should see the attack.

    Cost: as `taylor`, each scored batch at the price of an attacked step.
    Use when: the score, not only the training, should see the attack.
    """

    name: ClassVar[str] = "adversarial-taylor"
    under_attack: ClassVar[bool] = True


register_score("adversarial-taylor", AdversarialTaylorScore)
