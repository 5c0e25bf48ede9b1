"""The temperature of a classifier: what its logits have to be divided by to give the right probabilities."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from ...errors import CheckpointError, DataError

BISECTIONS = 200
"""More than float64 has bits: the interval ends as two neighbouring numbers."""


@dataclass(frozen=True)
class Temperature:
    """The temperature that minimises the negative log-likelihood on development data.

    Attributes:
        value: The temperature T*: probabilities are softmax(scores / T*).
        nll: Mean negative log-likelihood on the development data at T*, in nats.
        nll_at_1: The same at T = 1.
        num_examples: Size of the development data.
        smoothed: Whether targets were smoothed, because every development example was right: the likelihood then has
            no maximum.
        head: The layer that the scores come from, see `ScoredVictim`; None for the logits as they are.
    """

    value: float
    nll: float
    nll_at_1: float
    num_examples: int
    smoothed: bool = False
    head: str | None = None

    @classmethod
    def from_dict(cls, values: Any, origin: str = "") -> Temperature:
        """The inverse of `vars`; `origin` is for the error.

        Raises:
            CheckpointError: If it is something else.
        """
        try:
            found = cls(**{each.name: values[each.name] for each in fields(cls)})
            positive = 0 < found.value < math.inf
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"expected a temperature{origin}, got {values!r}: remove the file") from error
        if not positive:
            raise CheckpointError(f"expected a temperature above 0{origin}, got {found.value}: remove the file")
        return found


def fit_temperature(scores: Tensor, labels: Tensor, head: str | None = None) -> Temperature:
    """Temperature scaling: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 4.2.

    The negative log-likelihood is convex in 1 / T; its derivative is bisected. Scores that are multiplied by c have a
    temperature that is multiplied by c. Where every example is right, the likelihood grows as T falls to 0; targets
    are then smoothed to (n + 1) / (n + 2) for the true class, the rest spread over the others (Platt, "Probabilistic
    Outputs for Support Vector Machines", 1999, section 2.2).

    Args:
        scores: (examples, classes), float64.
        labels: True classes, (examples,).
        head: Kept in the result.

    Raises:
        DataError: If there are no scores, or they are no better than chance: no temperature makes them right.
    """
    if not len(scores):
        raise DataError("expected development data to calibrate on, got no example")
    total, classes = scores.shape
    centred = scores - scores.mean(dim=1, keepdim=True)
    scale = centred.square().mean().sqrt()
    smoothed = bool((scores.gather(1, labels[:, None])[:, 0] >= scores.max(dim=1).values).all())
    off = (1 / (total + 2)) / (classes - 1) if smoothed else 0.0
    targets = torch.full_like(scores, off)
    targets.scatter_(1, labels[:, None], (total + 1) / (total + 2) if smoothed else 1.0)
    if not scale > 0:
        raise DataError("expected scores that differ between classes, got equal ones for all development data")
    unit = centred / scale
    wanted = (targets * unit).sum(dim=1).mean()

    def slope(inverse: float) -> float:
        return float(((unit * inverse).softmax(dim=1) * unit).sum(dim=1).mean() - wanted)

    if slope(0.0) >= 0:
        raise DataError(
            "expected a model that is better than chance on the development data, got one that no temperature "
            "calibrates: check that labels and model fit"
        )
    low, high = 0.0, 1.0
    while slope(high) < 0:
        low, high = high, 2 * high
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    value = float(scale) / high
    return Temperature(value, _nll(scores / value, labels), _nll(scores, labels), total, smoothed, head)


def log_odds(scores: Tensor, label: int) -> Tensor:
    """Log-odds of a class against all others, log p / (1 - p), without going through p.

    Args:
        scores: Scores over the temperature, (..., classes), float64.
        label: The class.
    """
    others = torch.cat([scores[..., :label], scores[..., label + 1 :]], dim=-1)
    return scores[..., label] - others.logsumexp(dim=-1)


def _nll(scores: Tensor, labels: Tensor) -> float:
    return float(torch.nn.functional.cross_entropy(scores, labels))
