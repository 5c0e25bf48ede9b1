"""PGD on the pixels of an image, in the units of the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..registry import register_adversary
from ..text.pgd import PGD
from .space import PixelSpace


@dataclass(frozen=True)
class PixelPGD(PixelSpace, PGD):
    """PGD on images: linf or l2 ball and the box [0, 1], both in pixels before normalisation.

    Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks", ICLR 2018. The defaults are the
    training attack of "Sparsity Winning Twice" (Chen et al., ICLR 2022): radius 8/255, ten ascents of 2/255, a random
    start; `steps` counts passes, the last of which trains the weights.

    The perturbation lives in pixel units: it is added as `delta / image_std` to what the model is given, and
    after every step `x + delta` is brought back into [0, 1]. Give the constants of the image processor, or leave them
    `None` and let `AdversarialTrainer` take them from its `processing_class`; without either, the model's input must
    be the pixels in [0, 1] themselves.

    Cost: 2/3 (K - 1) + 1.
    Trains on: the loss at the end of K - 1 steps.
    Use when: images: the papers' training attack.

    Attributes:
        image_mean: Mean per channel that the processor subtracts.
        image_std: Standard deviation per channel that it divides by.

    Example:
        >>> AdversarialTrainer(model, args, adversary=PixelPGD.from_processor(processor), train_dataset=train)
        >>> evaluate_white_box(model, test, adversary=PixelPGD.from_processor(processor, steps=21), radii=[8 / 255])
    """

    steps: int = 11
    step_size: float = 2 / 255
    init_magnitude: float = 8 / 255
    max_norm: float = 8 / 255
    norm: str = "linf"

    name: ClassVar[str] = "pixel-pgd"


register_adversary("pixel-pgd", PixelPGD)
