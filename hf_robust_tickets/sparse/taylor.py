"""A static mask by the first-order change of the loss, added up over many batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..errors import ConfigurationError
from .base import register_sparse_method
from .scored import ScoredMethod


@dataclass(frozen=True)
class Taylor(ScoredMethod):
    """Keeps the weights whose removal would change the loss most, as the gradients of many batches see it.

    Score of a weight w: the sum of `|w * dL/dw|` over `scored_steps` steps, after `warmup_steps` in which a fresh
    classifier learns what to look at. Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019,
    equation 8, with the absolute value of "Pruning Convolutional Neural Networks for Resource Efficient Inference"
    (ICLR 2017, equation 7) in place of the square. SNIP is the same score of one batch. L is the loss of the training:
    where that is adversarial, at the end of the ascent.

    The scored steps train the dense model; what they have learned is kept, and so is the state of the optimiser.

    Cost: none, but the first `warmup_steps + scored_steps` steps are dense.
    Use when: fine-tuning: a fresh classifier knows nothing in the first step.

    Attributes:
        warmup_steps: Dense steps before the first one that is scored.
        scored_steps: Steps whose scores are added up.

    Example:
        >>> SparseTrainingCallback(Taylor(density=0.2, warmup_steps=60, scored_steps=30))
    """

    warmup_steps: int = 60
    scored_steps: int = 30

    name: ClassVar[str] = "taylor"

    def __post_init__(self) -> None:
        super().__post_init__()
        for option, least in (("warmup_steps", 0), ("scored_steps", 1)):
            value = getattr(self, option)
            if type(value) is not int or value < least:
                raise ConfigurationError(
                    f"Taylor: {option} must be a number of steps of at least {least}, got {value!r}"
                )

    def score(self, weights: Mapping[str, Tensor], derivatives: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`|w * g|`; see `ScoredMethod.score`."""
        return {name: (w.detach() * derivatives[name]).abs().float() for name, w in weights.items()}


register_sparse_method(Taylor.name, Taylor)
