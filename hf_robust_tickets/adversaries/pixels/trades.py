"""TRADES on the pixels of an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..registry import register_adversary
from ..text.trades import TRADES
from .space import PixelSpace


@dataclass(frozen=True)
class PixelTRADES(PixelSpace, TRADES):
    """`L(f(x), y) + coefficient * max KL(f(x) || f(x + delta))` over the pixels of an image.

    Zhang et al., "Theoretically Principled Trade-off between Robustness and Accuracy", ICML 2019, equation 5 and
    algorithm 1; see `TRADES`. The defaults are theirs for CIFAR-10 (section 5): ten steps of 0.007 in a ball of 0.031,
    a normal start of 0.001, `coefficient` (their `1/lambda`, `beta` in their code) 6.

    Cost: 2 + 2/3 K.
    Trains on: as `trades`.
    Use when: images; accuracy against robustness with one weight.

    Example:
        >>> AdversarialTrainer(model, args, adversary=PixelTRADES.from_processor(processor), train_dataset=train)
    """

    name: ClassVar[str] = "pixel-trades"


register_adversary("pixel-trades", PixelTRADES)
