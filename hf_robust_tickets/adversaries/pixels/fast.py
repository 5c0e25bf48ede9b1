"""Fast adversarial training on the pixels of an image: FGSM with a random start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..registry import register_adversary
from ..text.fgsm import FGSM
from .space import PixelSpace


@dataclass(frozen=True)
class PixelFast(PixelSpace, FGSM):
    """One step from a uniform random start: `delta = project(delta_0 + step_size * sign(g))`, `delta_0 ~ U(-r, r)`.

    Wong, Rice and Kolter, "Fast is better than free: Revisiting adversarial training", ICLR 2020, algorithm 3. The
    defaults are theirs for CIFAR-10 (section 5): radius 8/255, a step of 10/255, 1.25 times the radius. Two passes, of
    which the first has no weight gradients: about 5/3 of plain training.

    It can fail within an epoch (catastrophic overfitting, their section 5.4: accuracy under PGD falls to 0 while that
    under FGSM rises): add a `CatastrophicOverfittingCallback`, as they do with a batch of training data.

    Cost: 1 + 2/3.
    Trains on: the loss after one sign step from a random start.
    Use when: images, fast; watch it with CatastrophicOverfittingCallback.

    Example:
        >>> watch = CatastrophicOverfittingCallback(held_out, stop=True)
        >>> AdversarialTrainer(model, args, adversary=PixelFast(), callbacks=[watch], processing_class=processor, ...)
    """

    step_size: float = 10 / 255
    init_magnitude: float = 8 / 255
    max_norm: float = 8 / 255

    name: ClassVar[str] = "pixel-fast"


register_adversary("pixel-fast", PixelFast)
