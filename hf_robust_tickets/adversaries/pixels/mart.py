"""MART on the pixels of an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..registry import register_adversary
from ..text.mart import MART
from .space import PixelSpace


@dataclass(frozen=True)
class PixelMART(PixelSpace, MART):
    """`BCE(p(x'), y) + coefficient * KL(p(x) || p(x')) * (1 - p_y(x))` over the pixels of an image.

    Wang et al., "Improving Adversarial Robustness Requires Revisiting Misclassified Examples", ICLR 2020, equation 11;
    see `MART`. The defaults are theirs for CIFAR-10 (section 4.2): radius 8/255, ten ascents of 2/255 from a uniform
    start, `coefficient` (their `lambda`) 5.

    Cost: 2 + 2/3 K.
    Trains on: as `mart`.
    Use when: images; errors that matter more than sure hits.

    Example:
        >>> AdversarialTrainer(model, args, adversary=PixelMART.from_processor(processor), train_dataset=train)
    """

    name: ClassVar[str] = "pixel-mart"


register_adversary("pixel-mart", PixelMART)
