"""Robust Bird: a static mask, found early in cheap standard training."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ..errors import ConfigurationError
from .base import SparseMethod, global_masks, register_sparse_method
from .mask import Masks, mask_difference
from .packing import masks_from_json, masks_to_json


@dataclass(frozen=True)
class RobustBird(SparseMethod):
    """Trains in the standard way until the mask of largest weights settles, then adversarially with that mask.

    Chen et al., "Sparsity Winning Twice: Better Robust Generalization from More Efficient Training", ICLR 2022,
    section 3.1. Stage 1 is standard training of the dense model; after each `interval` the mask keeps the weights of
    largest magnitude of all layers together. When the newest of `patience` masks differs from each of the others by at
    most `tolerance` (normalised Hamming distance), the model is pruned with it: current weights, no rewind, a fresh
    optimiser. Stage 2 is adversarial training of the masked model.

    Cost: standard training until the mask settles, for at most `budget`.
    Use when: one mask is to be found before the attack begins.

    Attributes:
        tolerance: Largest distance between masks that have settled, in (0, 1].
        patience: Length of the queue of masks, the newest included; at least 2.
        interval: Epochs between two masks.
        budget: Where stage 1 ends if the mask has not settled: a fraction of the training below 1, else epochs.
        attack_search: Whether stage 1 is under the adversary of the training too. The paper's is plain; its code has
            `--stage1 pgd` and `fast` besides.

    Example:
        >>> AdversarialTrainer(model, args, callbacks=[SparseTrainingCallback(RobustBird(density=0.2))], ...)
    """

    tolerance: float = 0.08
    patience: int = 5
    interval: float = 1.0
    budget: float = 0.5
    attack_search: bool = False

    name: ClassVar[str] = "robust-bird"
    searches: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.tolerance <= 1:
            raise ConfigurationError(f"RobustBird: tolerance must be in (0, 1], got {self.tolerance}")
        if not isinstance(self.patience, int) or self.patience < 2:
            raise ConfigurationError(f"RobustBird: patience must be an integer of at least 2, got {self.patience!r}")
        for option in ("interval", "budget"):
            if not getattr(self, option) > 0:
                raise ConfigurationError(f"RobustBird: {option} must be positive, got {getattr(self, option)}")
        if not isinstance(self.attack_search, bool):
            raise ConfigurationError(f"RobustBird: attack_search must be True or False, got {self.attack_search!r}")

    def initial_masks(self, weights: Mapping[str, Tensor], seed: int) -> None:
        """None: stage 1 is dense."""

    def draw(self, weights: Mapping[str, Tensor]) -> Masks:
        """The mask of the largest magnitudes of all layers together."""
        return global_masks({name: weight.detach().abs() for name, weight in weights.items()}, self.density)


class MaskQueue:
    """The last masks, and whether they have settled: pure logic.

    Args:
        tolerance: Largest distance between the newest mask and each of the others.
        patience: How many masks are compared, the newest included.

    Attributes:
        distances: For each mask since the queue was full: its largest distance to the others; None before.
    """

    def __init__(self, tolerance: float, patience: int) -> None:
        self.tolerance = tolerance
        self.distances: list[float | None] = []
        self._masks: deque[Masks] = deque(maxlen=patience)

    def update(self, masks: Masks) -> bool:
        """Takes the next masks.

        Returns:
            Whether the queue is full and they differ from each of the others by at most the tolerance.
        """
        older = list(self._masks)[-(self._masks.maxlen - 1) :]
        self._masks.append({name: mask.cpu() for name, mask in masks.items()})
        full = len(older) == self._masks.maxlen - 1
        newest = self._masks[-1]
        self.distances.append(max(mask_difference(newest, other) for other in older) if full else None)
        return full and self.distances[-1] <= self.tolerance

    def state_dict(self) -> dict[str, Any]:
        """Everything that `update` depends on, as JSON; masks but the first as changes to the one before."""
        masks = list(self._masks)
        changes = [_differences(earlier, later) for earlier, later in itertools.pairwise(masks)]
        return {"distances": self.distances, "masks": [masks_to_json(item) for item in [*masks[:1], *changes]]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where another queue stopped."""
        self.distances = list(state["distances"])
        changes = [masks_from_json(masks) for masks in state["masks"]]
        self._masks = deque(itertools.accumulate(changes, _differences), self._masks.maxlen)


def _differences(first: Masks, second: Masks) -> Masks:
    return {name: mask ^ second[name] for name, mask in first.items()}


register_sparse_method(RobustBird.name, RobustBird)
