"""A stop on request: SIGTERM on a machine that is taken away, with the Trainer's just-in-time checkpoint."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_jit_checkpoint import JITCheckpointCallback

from ...errors import TrainingStopped


class GracefulStop(JITCheckpointCallback):
    """The Trainer's `JITCheckpointCallback` (`enable_jit_checkpoint`), exact: what goes on ends as if uninterrupted.

    The stock one saves where it is asked: between the backward pass and the optimiser, where random states belong to a
    step that is not done, or before other callbacks have seen the step. This one asks for the Trainer's own checkpoint
    at the next step that can be resumed from (callbacks may veto a step), once all ranks know of it, and then stops
    the loop. One object serves all phases of a job. Without `enable_jit_checkpoint` it does nothing.

    Args:
        trainer: Whose loop it stops.
        manager: The Trainer's, which takes the signal; `None` without `enable_jit_checkpoint`.

    Attributes:
        stopped: Whether the last training was ended by a request, before its own end.
    """

    def __init__(self, trainer: Trainer, manager: Any = None) -> None:
        super().__init__()
        self.trainer, self.jit_manager = trainer, manager
        self.stopped = False
        self._asked = False

    @classmethod
    def put_into(cls, trainer: Trainer) -> GracefulStop:
        """Takes the place of the Trainer's callback, where there is one."""
        callbacks = trainer.callback_handler.callbacks
        for i, callback in enumerate(callbacks):
            if type(callback) is JITCheckpointCallback:
                callbacks[i] = cls(trainer, callback.jit_manager)
                return callbacks[i]
        return cls(trainer)

    @property
    def is_requested(self) -> bool:
        """Whether a stop was asked for that no training has obeyed yet, on any rank: all ranks must ask."""
        if self.jit_manager is None:
            return False
        asked = self.jit_manager.is_checkpoint_requested
        if self.trainer.args.world_size == 1:
            return asked
        flag = torch.tensor([int(asked)], device=self.trainer.args.device)
        return bool(self.trainer.accelerator.gather(flag).max())

    def begin(self) -> None:
        """A training begins: another may have been stopped before it."""
        self.stopped = self._asked = False

    def require_going_on(self) -> None:
        """Called where a job of several phases would go on to the next.

        Raises:
            TrainingStopped: If the phase was stopped, or a stop was asked for as it ended.
        """
        if not (self.stopped or self.is_requested):
            return
        self._obeyed()
        state, folder = self.trainer.state, Path(self.trainer.args.output_dir)
        raise TrainingStopped(
            f"stopped as asked at step {state.global_step} of {state.max_steps} in {folder}: train again with "
            "resume_from_checkpoint=True to go on"
        )

    @contextmanager
    def keeping_checkpoint(self) -> Iterator[None]:
        """While it lasts, the Trainer does not delete what a stopped training goes on from.

        With `save_total_limit=1` it deletes all checkpoints but the best when a training ends.
        """
        args = self.trainer.args
        limit, args.save_total_limit = args.save_total_limit, None if self.stopped else args.save_total_limit
        try:
            yield
        finally:
            args.save_total_limit = limit

    def skip_end_of_epoch(self, control: TrainerControl) -> None:
        """After a stop within an epoch the Trainer says that it has ended: nothing is due, or it would be twice.

        Args:
            control: What callbacks have asked for; changed.
        """
        if self.stopped:
            control.should_log = control.should_evaluate = control.should_save = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Takes the signal again: the phase before has given it back."""
        manager = self.jit_manager
        if manager is None or threading.current_thread() is not threading.main_thread():
            return
        if getattr(signal.getsignal(signal.SIGTERM), "__self__", None) is not manager:
            manager.setup_signal_handler()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: TrainerControl, **kwargs: Any) -> None:
        """The step is not done."""

    def on_step_begin(self, args: Any, state: Any, control: TrainerControl, **kwargs: Any) -> None:
        """The batch of the next step was drawn already, maybe with random numbers."""

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Asks for a checkpoint; callbacks that come later may veto it. What is due at the epoch's end comes first."""
        self._asked = self.is_requested
        if self._asked and not control.should_training_stop and state.epoch != int(state.epoch):
            control.should_save = True

    def on_epoch_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """As `on_step_end`, after the last step of an epoch."""
        if self._asked and not self.stopped and not control.should_training_stop:
            control.should_save = True

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """A checkpoint is there: stops, unless the training ends with this step anyway."""
        if self._asked and not control.should_training_stop:
            control.should_training_stop = self.stopped = True

    def on_train_end(self, args: Any, state: Any, control: TrainerControl, **kwargs: Any) -> None:
        """Gives the signal back."""
        super().on_train_end(args, state, control, **kwargs)
        if self.stopped:
            self._obeyed()

    def _obeyed(self) -> None:
        if self.jit_manager is not None:
            self.jit_manager.is_checkpoint_requested = False
