"""The contract of static masks that are drawn from scores which the first steps of a training give."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from .base import SparseMethod, global_masks
from .mask import Masks


@dataclass(frozen=True)
class ScoredMethod(SparseMethod):
    """Trains `warmup_steps` dense steps, adds up a score per weight over `scored_steps` more, and keeps the highest.

    The last of these steps is masked before the optimiser moves anything. No checkpoint is written between the first
    and the last of the scored steps: it would have to hold a score per weight.

    Attributes:
        warmup_steps: Dense steps before the first one that is scored.
        scored_steps: Steps whose scores are added up.
    """

    by_curvature: ClassVar[bool] = False  # scores look at Hessian-vector products in place of gradients (GraSP)
    # Not annotated: fields in those methods alone that offer them.
    warmup_steps = 0
    scored_steps = 1

    def initial_masks(self, weights: Mapping[str, Tensor], seed: int) -> None:
        """None: nothing is scored yet."""

    @abstractmethod
    def score(self, weights: Mapping[str, Tensor], derivatives: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What one step says about each weight.

        Args:
            weights: Parameter name -> weight before the step.
            derivatives: Parameter name -> tensor of its shape: the step's gradient, clipped as the optimiser sees it;
                with `by_curvature` the Hessian times that gradient.

        Returns:
            Parameter name -> score of its shape; weights of high score are kept.
        """

    def masks_from_scores(self, scores: Mapping[str, Tensor]) -> Masks:
        """Keeps the highest scores of all layers together (of each group, for a pattern).

        Args:
            scores: What `score` gave, added up over the scored steps.
        """
        return global_masks(scores, self.density)
