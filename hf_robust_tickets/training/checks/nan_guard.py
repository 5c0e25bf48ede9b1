"""Whether training is still sound: losses and weights that are finite, asked for without slowing a step down."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...errors import DivergenceError
from ..callbacks.robustness import RobustSelectionCallback
from ..hub.upload import PublishingTrainer
from ..jobs.checkpoints import last_complete_checkpoint

# Steps: an fp16 scaler leaves out those that overflow and halves its scale, from 65536 to 1 in 16 of them; a loss that
# is not finite for longer is none of its searching.
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


class SoundTrainer(PublishingTrainer):
    """`Trainer` that stops, on all ranks together, when the loss or the weights are no longer finite.

    The loss is asked for when there is a log, an evaluation or a checkpoint to write, the weights when there is a
    checkpoint: none is ever written with weights that are not finite.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._watch = FiniteWatch()
        self._trial: Any = None
        super().__init__(*args, **kwargs)
        self._attack_before_others()

    def add_callback(self, callback: Any) -> None:
        """As in `Trainer.add_callback`; a `RobustSelectionCallback` goes to the front."""
        super().add_callback(callback)
        self._attack_before_others()

    def _attack_before_others(self) -> None:
        # Trackers and early stopping read what it adds to the metrics.
        for callback in reversed(self.callback_handler.callbacks.copy()):
            if isinstance(callback, RobustSelectionCallback):
                callback.join(self)

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """As in `Trainer.training_step`; notes whether the loss is finite."""
        loss = super().training_step(*args, **kwargs)
        self._watch.note(loss, self.state.global_step + 1)
        return loss

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """As in `Trainer.train`.

        Raises:
            DivergenceError: When the loss or the weights are no longer finite.
        """
        self._watch = FiniteWatch(1 if self.accelerator.scaler is None else SCALER_PATIENCE)
        output = super().train(*args, **kwargs)
        self._refuse_lost_training()
        return output

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        if self.control.should_log or self.control.should_evaluate or self.control.should_save:
            self._refuse_lost_training()
        super()._maybe_log_save_evaluate(*args, **kwargs)

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        finite = has_finite_weights(self.model).to(self.args.device)
        if not self.accelerator.gather(finite).all():
            raise self._lost(f"the weights are not finite after step {self.state.global_step}")
        super()._save_checkpoint(*args, **kwargs)

    def _refuse_lost_training(self) -> None:
        since = self.accelerator.gather(self._watch.lost_since(self.args.device)).max().item()
        if since >= 0:
            raise self._lost(f"the loss is not finite since step {since}")

    def _lost(self, what: str) -> DivergenceError:
        last = last_complete_checkpoint(self._get_output_dir(self._trial))
        adversary = getattr(self, "adversary", None)
        remedy = f"lower learning_rate ({self.args.learning_rate:g})"
        if adversary is not None:
            remedy += f" or the adversary's step size ({adversary.step_size:g}), or let it start later"
        again = f" with resume_from_checkpoint={last!r}" if last else ""
        return DivergenceError(
            f"{what} (of {self.state.max_steps}); the last good checkpoint is {last or 'none'}: {remedy}, then train "
            f"again{again}"
        )
