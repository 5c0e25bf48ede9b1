"""Several random starts of one ascent, of which each sentence keeps the end that hurts most."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...errors import ConfigurationError
from .outputs import example_losses, is_regression, predicts_next_token


class WorstEnd:
    """Of the perturbations it is offered, keeps for every sentence the one with the highest loss.

    Attributes:
        delta: What was kept, `(rows, tokens, dim)`; `None` before the first offer.
    """

    def __init__(self) -> None:
        self.delta: Tensor | None = None
        self._losses: Tensor | None = None

    def offer(self, delta: Tensor, losses: Tensor) -> None:
        """Compares another perturbation with what was kept.

        Args:
            delta: `(rows, tokens, dim)`; with multiple choice, rows is batch x choices.
            losses: Loss of every example at delta, `(batch,)`.
        """
        losses = losses.repeat_interleave(len(delta) // len(losses))
        if self.delta is None:
            self.delta, self._losses = delta, losses
            return
        worse = losses > self._losses
        self._losses = torch.where(worse, losses, self._losses)
        self.delta = torch.where(worse.reshape((-1,) + (1,) * (delta.dim() - 1)), delta, self.delta)


def losses_by_example(logits: Sequence[Tensor], labels: Sequence[Tensor], model: nn.Module) -> Tensor:
    """The task's loss of every example, `(batch,)`, summed over the heads of the task.

    Raises:
        ConfigurationError: If there is not one tensor of labels for every head.
    """
    if len(logits) != len(labels):
        raise ConfigurationError(
            f"adversary_restarts compares the losses of examples, expected labels for {len(logits)} heads, got "
            f"{len(labels)}: name them in label_names, or use adversary_restarts=1"
        )
    kind = predicts_next_token(model), is_regression(model)
    return torch.stack([example_losses(a, b, *kind) for a, b in zip(logits, labels)]).sum(0)
