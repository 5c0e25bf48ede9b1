"""The one loop that attacks without training: an adversary climbs, and every example is judged.

White-box evaluation, the callbacks that follow accuracy under attack, and the records of adaptive densities all run
it, so that "accuracy under attack" differs between them by the `criterion` alone, which each of them records.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..errors import ConfigurationError
from .base import Adversary
from .geometry import expand_mask
from .regularizer import Regularizer
from .units import in_tensor_units

CRITERIA = ("last", "any")
"""When an example counts as robust: right at the end of the ascent, or at every point that the ascent visits."""

IGNORED_LABEL = -100
"""Labels of this value count for nothing, as in `torch.nn.functional.cross_entropy`."""


class AttackTarget(Protocol):
    """A batch as a function of the perturbation.

    Attributes:
        x: What is perturbed, `(batch, tokens, dim)` or `(batch, channels, height, width)`.
        mask: 1 where a perturbation may be, `(batch, tokens)`, or `(batch,)` for images.
        labels: True classes, `(batch,)`, or `(batch, tokens)` for a class per token.
    """

    x: Tensor
    mask: Tensor
    labels: Tensor

    def logits(self, delta: Tensor) -> Tensor:
        """Logits under a perturbation of the shape of `x`: the shape of `labels`, and the classes."""

    def project(self, delta: Tensor) -> Tensor:
        """The nearest perturbation that leaves the input valid: the pixels of an image in their range."""


@dataclass(frozen=True)
class AttackOutcome:
    """What one ascent did to a batch.

    Attributes:
        right: Whether each label is predicted, by the criterion, of the shape of the labels; False where ignored.
        loss: Cross-entropy of each label, of the same shape: at the end of the ascent with `"last"`, the largest that
            was visited with `"any"`; 0 where ignored.
        delta: The last perturbation.
    """

    right: Tensor
    loss: Tensor
    delta: Tensor


def run_attack(target: AttackTarget, adversary: Adversary, criterion: str = "any") -> AttackOutcome:
    """Runs one ascent of an adversary; no gradient reaches the weights.

    The loss that is climbed is the sum over the batch: an example's perturbation does not depend on its company. A
    gradient entry that is not finite moves nothing.

    Args:
        target: The batch that is attacked.
        adversary: What starts and moves the perturbation, in its own unit of length; nothing is remembered from one
            call to the next.
        criterion: `"last"`, right at the end of the ascent; `"any"`, right at every point that it visits.

    Raises:
        ConfigurationError: If the criterion is another.
    """
    check_criterion(criterion)
    # perturbations of half-precision models are kept in float32: steps are smaller than a half's spacing
    x = target.x.detach()
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    unit = adversary.unit(x, target.mask)
    if unit is not None:
        target = _InUnits(target, unit)
    start = adversary.init(x, target.mask) * expand_mask(target.mask, x)
    delta = target.project(start.detach())
    visited: list[tuple[Tensor, Tensor]] = []
    for _ in range(num_ascents(adversary)):
        logits, gradient = loss_gradient(target, delta, adversary)
        if criterion == "any":
            visited.append((is_right(logits, target.labels), label_losses(logits, target.labels)))
        gradient = torch.nan_to_num(gradient, posinf=0.0, neginf=0.0)
        delta = target.project(adversary.ascend(delta, in_tensor_units(gradient, unit), target.mask))
    with torch.no_grad():
        logits = target.logits(adversary.added(delta))
    delta = delta if unit is None else delta * unit
    visited.append((is_right(logits, target.labels), label_losses(logits, target.labels)))
    right = torch.stack([right for right, _ in visited]).all(dim=0)
    loss = torch.stack([loss for _, loss in visited]).amax(dim=0)
    return AttackOutcome(right, loss, delta)


class _InUnits:
    """A target whose perturbations are in units of their own.

    Args:
        target: The target.
        unit: The unit of each example, `(batch, 1, 1)`.
    """

    def __init__(self, target: AttackTarget, unit: Tensor) -> None:
        self.x, self.mask, self.labels = target.x, target.mask, target.labels
        self._target, self._unit = target, unit

    def logits(self, delta: Tensor) -> Tensor:
        """As in `AttackTarget`."""
        return self._target.logits(delta * self._unit)

    def project(self, delta: Tensor) -> Tensor:
        """As in `AttackTarget`."""
        moved = self._target.project(delta * self._unit)
        return torch.where(self._unit > 0, moved / self._unit, delta)


def num_ascents(adversary: Adversary) -> int:
    """How often an adversary ascends where nothing is trained: between its passes, but once at least.

    A `Regularizer` counts its ascents apart from its clean pass and that of its penalty.
    """
    return adversary.steps if isinstance(adversary, Regularizer) else max(1, adversary.num_passes - 1)


def loss_gradient(target: AttackTarget, delta: Tensor, adversary: Adversary | None = None) -> tuple[Tensor, Tensor]:
    """Logits, detached, and the gradient of the summed loss with respect to a perturbation.

    Args:
        target: The batch.
        delta: The perturbation.
        adversary: Says what of `delta` is added to the input (`Adversary.added`); None: all of it.
    """
    delta = delta.detach().requires_grad_()
    with torch.enable_grad():
        logits = target.logits(delta if adversary is None else adversary.added(delta))
        loss = label_losses(logits, target.labels).sum()
        (gradient,) = torch.autograd.grad(loss, delta)
    return logits.detach(), gradient.detach()


def is_right(logits: Tensor, labels: Tensor) -> Tensor:
    """Which labels are predicted, of their shape; False where a label is ignored."""
    return (logits.argmax(dim=-1) == labels) & (labels != IGNORED_LABEL)


def label_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each label, of their shape; 0 where a label is ignored."""
    losses = torch.nn.functional.cross_entropy(
        logits.flatten(0, -2), labels.flatten(), ignore_index=IGNORED_LABEL, reduction="none"
    )
    return losses.reshape(labels.shape)


def check_criterion(criterion: str) -> None:
    """Raises ConfigurationError if there is no such criterion."""
    if criterion not in CRITERIA:
        raise ConfigurationError(f"expected a criterion among {', '.join(CRITERIA)}, got {criterion!r}")
