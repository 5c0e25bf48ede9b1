"""Whether training is still sound: losses and weights that are finite, asked for without slowing a step down."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import Trainer

from ...errors import DivergenceError
from ..jobs.checkpoints import last_complete_checkpoint

# Steps: an fp16 scaler leaves out those that overflow and halves its scale, from 65536 to 1 in 16 of them; a loss that
# is not finite for longer is not its doing.
SCALER_PATIENCE = 20


class FiniteWatch:
    """Notes, on the device and without waiting for it, since when the loss has not been finite.

    The Trainer's own log hides such a loss behind the mean of those before (`logging_nan_inf_filter`).

    Args:
        patience: Optimiser steps in a row with a loss that is not finite before training counts as lost.
    """

    def __init__(self, patience: int = 1) -> None:
        self._patience = patience
        self._step: int | None = None
        self._bad: Tensor | None = None
        self._row_before: Tensor | None = None
        self._row: Tensor | None = None
        self._since: Tensor | None = None
        self._lost: Tensor | None = None

    def note(self, loss: Tensor, step: int) -> None:
        """Takes in a loss of optimiser step `step`, which may have several: of micro-batches, of passes over one."""
        bad = ~torch.isfinite(loss.detach())
        if self._row is None:
            self._row = torch.zeros_like(bad, dtype=torch.long)
            self._since = self._lost = torch.full_like(self._row, -1)
        if step != self._step:
            self._step, self._bad, self._row_before = step, bad, self._row
        self._bad = self._bad | bad
        self._row = torch.where(self._bad, self._row_before + 1, 0)
        self._since = torch.where(self._row == 1, step, self._since)
        self._lost = torch.where((self._row >= self._patience) & (self._lost < 0), self._since, self._lost)

    def lost_since(self, device: torch.device) -> Tensor:
        """The step at which training was lost, `(1,)`; -1 while it was not."""
        return torch.full((1,), -1, device=device) if self._lost is None else self._lost.reshape(1)


@torch.no_grad()
def has_finite_weights(model: nn.Module) -> Tensor:
    """1 if all weights that train are finite on this rank, else 0, `(1,)`."""
    # Sharded weights are asked shard by shard.
    local = [p.to_local() if hasattr(p, "to_local") else p for p in model.parameters() if p.requires_grad]
    if not local:
        return torch.ones(1, dtype=torch.long)
    return torch.stack([torch.isfinite(p).all() for p in local]).all().long().reshape(1)


class NanGuard:
    """Ends a training, on all ranks together, when the loss or the weights are no longer finite.

    The loss is asked for when there is a log, an evaluation or a checkpoint to write, the weights when there is a
    checkpoint: none is ever written with weights that are not finite.

    Args:
        trainer: Whose training is guarded.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._watch = FiniteWatch()

    def begin(self) -> None:
        """A training begins."""
        self._watch = FiniteWatch(1 if self._trainer.accelerator.scaler is None else SCALER_PATIENCE)

    def note(self, loss: Tensor) -> None:
        """Takes in the loss of a micro-batch, without waiting for the device."""
        self._watch.note(loss, self._trainer.state.global_step + 1)

    def check_loss(self) -> None:
        """Asks all ranks.

        Raises:
            DivergenceError: If the loss has not been finite for too long.
        """
        trainer = self._trainer
        since = trainer.accelerator.gather(self._watch.lost_since(trainer.args.device)).max().item()
        if since >= 0:
            raise self._lost(f"the loss is not finite since step {since}")

    def check_weights(self) -> None:
        """Asks all ranks.

        Raises:
            DivergenceError: If a weight that trains is not finite.
        """
        trainer = self._trainer
        finite = has_finite_weights(trainer.model).to(trainer.args.device)
        if not trainer.accelerator.gather(finite).all():
            raise self._lost(f"the weights are not finite after step {trainer.state.global_step}")

    def _lost(self, what: str) -> DivergenceError:
        trainer = self._trainer
        last = last_complete_checkpoint(trainer._get_output_dir(trainer._trial))
        adversary = getattr(trainer, "adversary", None)
        remedy = f"lower learning_rate ({trainer.args.learning_rate:g})"
        if adversary is not None:
            remedy += f" or the adversary's step size ({adversary.step_size:g}), or let it start later"
        again = f" with resume_from_checkpoint={last!r}" if last else ""
        return DivergenceError(
            f"{what} (of {trainer.state.max_steps}); the last good checkpoint is {last or 'none'}: {remedy}, then "
            f"train again{again}"
        )
