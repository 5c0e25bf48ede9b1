"""MART: adversarial training that minds misclassified examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import DataError
from ..geometry import uniform_start
from ..registry import register_adversary
from ..regularizer import Regularizer
from ..units import Lengths


@dataclass(frozen=True)
class MART(Regularizer):
    """`BCE(p(x'), y) + coefficient * KL(p(x) || p(x')) * (1 - p_y(x))`, x' the end of an ascent on the cross-entropy.

    Wang, Zou, Yi, Bailey, Ma and Gu, "Improving Adversarial Robustness Requires Revisiting Misclassified Examples",
    ICLR 2020, equation 11 and algorithm 1. The boosted cross-entropy (equation 9) is
    `BCE(p, y) = -log p_y - log(1 - max_{k != y} p_k)`; the divergence counts the more, the less sure the clean output
    is of the class. `coefficient` is their `lambda`, 5 in their experiments (section 4.2); ten ascents of a quarter of
    the radius, 2/255 of 8/255 in absolute units, from a uniform random start, are those of their PGD-10.

    The ascent follows the task's own loss, and needs class labels, one per example. The authors' code ascends with
    the model in evaluation mode and adds 1e-12 to probabilities; here all passes are in train mode, and the logarithms
    are taken from the logits.

    Cost: 2 + 2/3 K.
    Trains on: a boosted loss at the end of the ascent, and the divergence where the class is unsure.
    Use when: class labels; errors that matter more than sure hits.

    Example:
        >>> MART(steps=3, step_size=0.02, init_magnitude=0.02, max_norm=0.05, norm="l2")      # on word embeddings
    """

    steps: int = 10
    norm: str = "linf"
    coefficient: float = 5.0

    name: ClassVar[str] = "mart"
    lengths: ClassVar[Mapping[str, Lengths]] = {
        "relative": Lengths(0.0125, 0.05, 0.05),
        "absolute": Lengths(2 / 255, 8 / 255, 8 / 255),
    }
    ascends_task_loss: ClassVar[bool] = True

    def init(self, x: Tensor, mask: Tensor) -> Tensor:
        """Uniform of size `init_magnitude`. Shapes as in `Adversary.init`."""
        return uniform_start(x, mask, self.init_magnitude, self.norm, self.scope).detach()

    def objective(self, clean: Tensor, perturbed: Tensor, labels: Tensor) -> Tensor:
        """What the weights are trained on, the mean over the examples.

        Args:
            clean: Logits of the clean pass, `(batch, classes)`.
            perturbed: Logits at the end of the ascent, of the same shape.
            labels: Classes, `(batch,)`.

        Returns:
            A scalar, with gradient in both logits.

        Raises:
            DataError: If these are no classes of examples.
        """
        if clean.dim() != 2 or clean.shape[-1] < 2 or labels.shape != clean.shape[:1] or labels.is_floating_point():
            raise DataError(
                f"mart needs one class label per example, got logits {tuple(clean.shape)} and labels "
                f"{tuple(labels.shape)} of {labels.dtype}: use trades for other tasks"
            )
        log_clean, log_perturbed = clean.float().log_softmax(-1), perturbed.float().log_softmax(-1)
        own = labels.unsqueeze(1)
        others = log_perturbed.scatter(1, own, -torch.inf)
        strongest = others.argmax(1, keepdim=True)
        # log(1 - p_k), as the logarithm of the sum of all other probabilities: exact where p_k is near 1.
        rest = log_perturbed.scatter(1, strongest, -torch.inf).logsumexp(1)
        boosted = -log_perturbed.gather(1, own).squeeze(1) - rest
        divergence = F.kl_div(log_perturbed, log_clean, reduction="none", log_target=True).sum(-1)
        unsure = 1 - log_clean.gather(1, own).squeeze(1).exp()
        return (boosted + self.coefficient * divergence * unsure).mean()


register_adversary("mart", MART)
