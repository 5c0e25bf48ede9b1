"""Flying Bird+: masks that move, and whose density follows the robust generalisation gap."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from ..errors import ConfigurationError
from .base import REGULAR, Decision, register_sparse_method
from .density import TOLERANCE, count_down, count_up
from .flying_bird import FlyingBird


class RobustRecord(NamedTuple):
    """What one evaluation said.

    Attributes:
        step: Optimiser step of the evaluation.
        train_accuracy: Accuracy under the training attack since the evaluation before, in [0, 1].
        validation_accuracy: Accuracy under the same attack on the development split, in [0, 1].
        validation_loss: Mean loss there.
    """

    step: int
    train_accuracy: float
    validation_accuracy: float
    validation_loss: float

    @property
    def gap(self) -> float:
        """The robust generalisation gap."""
        return self.train_accuracy - self.validation_accuracy


@dataclass(frozen=True)
class FlyingBirdPlus(FlyingBird):
    """Flying Bird that prunes more while the robust generalisation gap widens, and grows more while the loss rises.

    Chen et al., "Sparsity Winning Twice", ICLR 2022, section 3.2. From `start_epoch` on, with the differences between
    the last `window + 1` records of a *development* split,

        prune more  if at least half of the differences of (train - validation robust accuracy) are > 0:
                    drop ceil(prune_ratio d n) weights besides
        grow more   if at least half of the differences of the validation adversarial loss are >= 0:
                    grow floor((1 + growth_ratio) G) in place of G, the number dropped in the regular way

    Both may fire in one update. A layer keeps at least one weight and at most all of them; one that is dense, from the
    start or grown so, is left alone, as in the released code. Before there are `window` differences, it is
    `FlyingBird`.

    Cost: as `flying-bird`, and an attack on a development split in each evaluation.
    Use when: the density too is to follow from robust overfitting.

    Attributes:
        start_epoch: Epoch from which the density adapts; below 1 a fraction of the training (the paper: 100 of 200).
        prune_ratio: Share of the regular drop that is dropped besides.
        growth_ratio: Share of the regular growth that is grown besides.
        window: Number of differences between records that are looked at.
    """

    start_epoch: float = 0.5
    prune_ratio: float = 0.4
    growth_ratio: float = 0.05
    window: int = 4

    name: ClassVar[str] = "flying-bird-plus"
    adapts: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.density, str):
            raise ConfigurationError(
                f"FlyingBirdPlus: density must be a fraction, which it adapts, got the pattern {self.density!r}: use "
                "FlyingBird"
            )
        for option in ("start_epoch", "prune_ratio", "growth_ratio"):
            if not 0 <= getattr(self, option) < math.inf:
                raise ConfigurationError(
                    f"FlyingBirdPlus: {option} must be finite and not negative, got {getattr(self, option)}"
                )
        if not isinstance(self.window, int) or self.window < 1:
            raise ConfigurationError(f"FlyingBirdPlus: window must be an integer of at least 1, got {self.window!r}")

    def decide(self, records: Sequence[RobustRecord], epoch: float, num_epochs: float) -> Decision:
        """What the records ask for.

        Args:
            records: Evaluations so far, oldest first.
            epoch: Epochs trained.
            num_epochs: Epochs of the whole training.
        """
        start = self.start_epoch * num_epochs if self.start_epoch < 1 else self.start_epoch
        recent = records[-self.window - 1 :]
        if epoch < start - TOLERANCE or len(recent) <= self.window:
            return REGULAR
        gaps = [later.gap - earlier.gap for earlier, later in itertools.pairwise(recent)]
        losses = [later.validation_loss - earlier.validation_loss for earlier, later in itertools.pairwise(recent)]
        return Decision(
            prune_more=2 * sum(difference > 0 for difference in gaps) >= len(gaps),
            grow_more=2 * sum(difference >= 0 for difference in losses) >= len(losses),
        )

    def counts(self, kept: int, size: int, fraction: float, decision: Decision) -> tuple[int, int]:
        """How many weights of a layer are dropped and grown; see `FlyingBird.counts`."""
        base, grow = super().counts(kept, size, fraction, decision)
        if kept == size:
            return base, grow
        if decision.grow_more:
            grow = count_down((1 + self.growth_ratio) * base)
        drop = base
        if decision.prune_more:
            extra = count_up(self.prune_ratio * fraction * kept)
            drop = min(base + extra, kept, kept + grow - 1)
        return drop, min(grow, size - kept + drop)


register_sparse_method(FlyingBirdPlus.name, FlyingBirdPlus)
