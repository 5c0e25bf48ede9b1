"""The contract of methods that penalise how far the output moves under attack."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..errors import ConfigurationError
from .base import Adversary
from .divergence import symmetric_kl
from .geometry import expand_mask, normal_start, project, steepest_direction


@dataclass(frozen=True)
class Regularizer(Adversary):
    """Clean loss plus a penalty on the distance between the clean and the perturbed output.

    One training step computes the clean output, climbs its `divergence` to the perturbed output `steps` times, and
    trains on `L(x) + coefficient * divergence(f(x), f(x + delta))`. The ascent needs no labels (it is virtual): the
    model's own clean output takes their place.

    `steps` counts the ascents. The start must not be zero: there the divergence and its gradient vanish.

    Attributes:
        coefficient: Weight of the penalty.
    """

    coefficient: float = 1.0

    step: ClassVar[str] = "regularized"
    detach_clean: ClassVar[bool] = False
    """Whether the clean output is a constant in the penalty."""
    ascends_task_loss: ClassVar[bool] = False
    """Whether the ascent follows the task's loss, and labels decide the rest (`MART`), rather than the divergence."""
    perturbed_loss_weight: ClassVar[float] = 0.0
    """Weight of the task's loss at the perturbed input."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not math.isfinite(self.coefficient) or self.coefficient < 0:
            raise ConfigurationError(
                f"{self._title}: coefficient must be finite and not negative, got {self.coefficient!r}"
            )
        if self.steps > 0 and self.init_magnitude == 0:
            raise ConfigurationError(
                f"{self._title}: init_magnitude must be positive, got 0: at delta = 0 the divergence has no gradient"
            )

    @property
    def num_passes(self) -> int:
        """The clean pass, the ascents, and the pass of the penalty."""
        return self.steps + 2

    def init(self, x: Tensor, mask: Tensor) -> Tensor:
        """Normal with standard deviation `init_magnitude`, projected. Shapes as in `Adversary.init`."""
        return project(normal_start(x, mask, self.init_magnitude), self.max_norm, self.norm, self.scope).detach()

    def ascend(self, delta: Tensor, grad: Tensor, mask: Tensor) -> Tensor:
        """One projected step. Shapes as in `Adversary.ascend`."""
        direction = self._direction(grad * expand_mask(mask, grad))
        return project(delta + self.step_size * direction, self.max_norm, self.norm, self.scope).detach()

    def _direction(self, grad: Tensor) -> Tensor:
        return steepest_direction(grad, self.norm, self.scope)

    def loss_weight(self, k: int) -> float:
        """1 for the clean pass, 0 for the ascents, `coefficient` for the last."""
        if k == 0:
            return 1.0
        return self.coefficient if k == self.num_passes - 1 else 0.0

    def divergence(
        self, clean: Tensor, perturbed: Tensor, valid: Tensor | None = None, kind: str = "classes"
    ) -> Tensor:
        """What the ascent climbs and the penalty brings down; here the symmetric Kullback-Leibler divergence.

        Args:
            clean: Logits of the clean pass, `(batch, classes)` or `(batch, tokens, classes)`.
            perturbed: Logits of the perturbed pass, of the same shape.
            valid: `(batch, tokens)` for logits per token, 1 where a token counts.
            kind: What the logits are: `"classes"`, `"labels"` (several at once) or `"numbers"`; see `kl_divergence`.
        """
        return symmetric_kl(clean, perturbed, valid, kind)
