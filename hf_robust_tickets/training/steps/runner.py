"""Passes of a training step, each the Trainer's own: the only code that stands between the Trainer and its loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer

from ..._compat import token_counts

Objective = Callable[[nn.Module, dict[str, Any], Any], Tensor]
"""`(model, inputs, num_items_in_batch)` -> the loss of a pass."""

PenaltyTerm = Callable[[nn.Module], Tensor]
"""The unwrapped model -> a scalar that is added to the loss of every optimiser step, whatever the attack."""


class StepRunner:
    """Runs passes over a micro-batch by the training step that the Trainer has already.

    Accumulation, mixed precision, label smoothing, clipping and distribution stay the Trainer's business: a pass is a
    call of its `training_step`, whose loss is another one for that call.

    Args:
        trainer: The trainer.
        trainer_step: Its `training_step` without an attack: that of the classes it extends.

    Attributes:
        terms: Penalties on the weights. Each has its gradient once per optimiser step, and stays out of the loss that
            the log shows.
        passes: Forward and backward passes over micro-batches so far, in this training.
    """

    def __init__(self, trainer: Trainer, trainer_step: Callable[..., Tensor]) -> None:
        self.trainer = trainer
        self.terms: list[PenaltyTerm] = []
        self.passes = 0
        self._trainer_step = trainer_step
        self._counts: dict[str, Any] = {}

    @property
    def device(self) -> torch.device:
        """Where the batches are."""
        return self.trainer.args.device

    def begin_batch(self) -> None:
        """Another micro-batch comes, over which there may be several passes: what the loss counts, it counts once."""
        self._counts = token_counts(self.trainer)

    def plain_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any) -> Tensor:
        """The Trainer's step as it is, with the penalties where there are any."""
        self.passes += 1
        if not self.terms:
            return self._trainer_step(model, inputs, num_items_in_batch)
        with self._intercepted(None, with_terms=True):
            return self._trainer_step(model, inputs, num_items_in_batch)

    def train_pass(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        num_items_in_batch: Any,
        objective: Objective,
        *,
        ends_step: bool,
    ) -> Tensor:
        """One forward and backward pass, with another loss than the task's.

        Args:
            model: What the Trainer trains with.
            inputs: The batch.
            num_items_in_batch: As in `Trainer.training_step`.
            objective: Gives the loss.
            ends_step: Whether it is the last pass over this micro-batch: the one that the penalties come with.

        Returns:
            The loss, detached, as `Trainer.training_step` returns it.
        """
        with self._intercepted(objective, with_terms=ends_step):
            return self._trainer_step(model, dict(inputs), num_items_in_batch)

    def task_loss(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any) -> tuple[Tensor, Any]:
        """The loss of the task, as the trainer (or a class that extends it) computes it, and the model's outputs."""
        self.passes += 1
        vars(self.trainer).update(self._counts)
        loss, outputs = self._compute_loss()(model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch)
        # One loss of each replica of DataParallel, as in Trainer.training_step.
        return (loss.mean() if self.trainer.args.n_gpu > 1 else loss), outputs

    def task_loss_apart(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any) -> tuple[Tensor, Any]:
        """As `task_loss`, for a pass outside of the Trainer's step: its graph is the caller's."""
        model = self.inside_engine(model)
        model.train()
        with self.trainer.compute_loss_context_manager():
            return self.task_loss(model, dict(inputs), num_items_in_batch)

    def forward(self, model: nn.Module, inputs: dict[str, Any]) -> Any:
        """The model's outputs without a loss."""
        self.passes += 1
        return model(**inputs)

    def gradient(self, loss: Tensor, of: Tensor, retain_graph: bool = False) -> Tensor:
        """The gradient of a loss with respect to one tensor alone, under the loss scale of fp16 if there is one."""
        return torch.autograd.grad(self.scaled(loss), of, retain_graph=retain_graph)[0]

    def gradients(self, loss: Tensor, of: Sequence[Tensor]) -> Sequence[Tensor | None]:
        """As `gradient`, with respect to several tensors; `None` for those that the loss does not depend on."""
        return torch.autograd.grad(self.scaled(loss), of, allow_unused=len(of) > 1)

    def scaled(self, loss: Tensor) -> Tensor:
        """A loss times the loss scale of fp16."""
        scaler = self.trainer.accelerator.scaler
        return loss if scaler is None else scaler.scale(loss)

    def per_step(self, mean: Tensor, num_items_in_batch: Any) -> Tensor:
        """A mean over the micro-batch, such that the accumulated step has the mean of these means.

        Where the loss is normalised over the whole accumulated batch already, the Trainer does not divide it again.
        """
        return mean / self.window(num_items_in_batch)

    def window(self, num_items_in_batch: Any) -> int:
        """The micro-batches over which the task's loss of one of them is normalised: 1, or all of the step's."""
        trainer = self.trainer
        scaled = trainer.loss_is_scaled_for_ga
        if scaled is None:
            counted = trainer.model_accepts_loss_kwargs and num_items_in_batch is not None
            scaled = counted or trainer.compute_loss_func
        return trainer.current_gradient_accumulation_steps if scaled else 1

    def unwrapped(self, model: nn.Module | None = None) -> nn.Module:
        """The module inside wrappers and compilation; that of the trainer by default."""
        model = self.trainer.model if model is None else model
        return self.trainer.accelerator.unwrap_model(model, keep_torch_compile=False)

    def inside_engine(self, model: nn.Module) -> nn.Module:
        """What runs a pass that a step does not end with.

        DeepSpeed's engine takes every gradient through an output of its own for the backward pass of a step, and
        reduces: such passes run on the module inside it, whose hooks gather the weights of ZeRO-3 as well.
        """
        return self.trainer.accelerator.unwrap_model(model) if self.trainer.is_deepspeed_enabled else model

    @contextmanager
    def defer_sync(self, model: nn.Module, defer: bool) -> Iterator[None]:
        """Keeps gradients local during all passes but the last, so that ranks talk once per step."""
        accelerator = self.trainer.accelerator
        gradient_state = accelerator.gradient_state
        before = gradient_state.sync_gradients
        # The Trainer defers all micro-batches but the last itself; leaving FSDP2's no_sync twice would end that.
        deferred = not before and not gradient_state.plugin_kwargs.get("sync_each_batch", False)
        if not defer or deferred:
            yield
            return
        gradient_state._set_sync_gradients(False)
        try:
            with accelerator.no_sync(model=model):
                yield
        finally:
            gradient_state._set_sync_gradients(before)

    def _compute_loss(self) -> Callable[..., Any]:
        """`compute_loss` of the trainer, without what `_intercepted` puts in front of it."""
        own = self.trainer.__dict__.get("compute_loss")
        given = getattr(own, "in_front_of", own)
        return given or type(self.trainer).compute_loss.__get__(self.trainer)

    @contextmanager
    def _intercepted(self, objective: Objective | None, with_terms: bool) -> Iterator[None]:
        """While it lasts, the Trainer's step finds another loss.

        It stands in front of the method, as an attribute of the object: a class that overrides `compute_loss` without
        calling its parent's stays in force.
        """
        given, compute = self.trainer.__dict__.get("compute_loss"), self._compute_loss()

        def compute_loss(model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
            if objective is None:
                loss = compute(model, inputs, num_items_in_batch=num_items_in_batch)
            else:
                loss = objective(model, inputs, num_items_in_batch)
            return loss + self._penalty(num_items_in_batch) if with_terms and self.terms else loss

        compute_loss.in_front_of = given
        self.trainer.compute_loss = compute_loss
        try:
            yield
        finally:
            del self.trainer.compute_loss
            if given is not None:
                self.trainer.compute_loss = given

    def _penalty(self, num_items_in_batch: Any) -> Tensor:
        """The gradient of the penalties without their value: the loss in the log stays that of the task."""
        model = self.trainer.accelerator.unwrap_model(self.trainer.model)
        penalty = self.per_step(torch.stack([term(model) for term in self.terms]).sum(), num_items_in_batch)
        return penalty - penalty.detach()


def bare_optimizer(optimizer: Any) -> torch.optim.Optimizer:
    """The optimiser inside Accelerate's wrapper."""
    return getattr(optimizer, "optimizer", optimizer)
