"""Free adversarial training on the pixels of an image: every batch is replayed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..registry import register_adversary
from ..text.free_at import FreeAT
from .space import PixelSpace


@dataclass(frozen=True)
class PixelFree(PixelSpace, FreeAT):
    """Each batch `steps` times in a row; every pass moves delta and steps the optimiser.

    Shafahi et al., "Adversarial Training for Free!", NeurIPS 2019, algorithm 1; see `FreeAT`. The defaults are theirs
    for CIFAR-10 (section 4): radius and step 8/255, `steps` (their m) = 8, the best of 2 to 10 there. Delta goes on
    from batch to batch; each image brings it back into its own box. Divide `num_train_epochs` by `steps`.

    Cost: 1 per step, each batch K times.
    Trains on: every pass, which steps the optimiser.
    Use when: images, at the cost of plain training.

    Example:
        >>> AdversarialTrainer(model, args, adversary=PixelFree(steps=4), processing_class=processor, ...)
    """

    steps: int = 8

    name: ClassVar[str] = "pixel-free"


register_adversary("pixel-free", PixelFree)
