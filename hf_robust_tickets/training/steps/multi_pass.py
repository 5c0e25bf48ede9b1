"""Several weighted passes over a batch, each its own call of the Trainer's step: FreeLB, PGD and the like."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from .base import AdversarialStep
from .context import StepContext
from .outputs import logits_of
from .restarts import WorstEnd, losses_by_example


class MultiPassStep(AdversarialStep):
    """K passes, with an ascent after each but the last.

    The gradient that reaches the weights is the sum of the passes', each times `Adversary.loss_weight`; a pass of
    weight 0 gives the gradient of delta alone (Zhu et al., FreeLB, ICLR 2020, algorithm 1; Madry et al., PGD, ICLR
    2018).
    """

    has_penalty = False

    def run(self, context: StepContext) -> Tensor:
        """As in `AdversarialStep.run`."""
        adversary, total = context.adversary, torch.zeros((), device=context.device)
        last = adversary.num_passes - 1
        if context.clean_weight:
            total = total + self._clean_pass(context)
        if context.restarts > 1:
            self._climb_from_many_starts(context)
        for k in range(last if context.restarts > 1 else 0, last + 1):
            weight = self._weight(context, k)
            if k == last and context.weights is not None:
                self._perturb_weights(context)
            with context.one_pass(attached=k == last), self.runner.defer_sync(context.model, k < last):
                if weight == 0:
                    self._take_gradients(context)
                else:
                    total = total + self._train_pass(context, weight, ends_step=k == last)
            if k < last or adversary.remembers:
                # What extensions run alone has gradients of no weight to exchange.
                with self.runner.defer_sync(context.model, k < last):
                    self._ascend(context, another_pass=k < last)
        return total

    def _weight(self, context: StepContext, k: int) -> float:
        """The share of pass `k` in the gradient that reaches the weights."""
        return context.adversary.loss_weight(k) * (1 - context.clean_weight)

    def _clean_pass(self, context: StepContext) -> Tensor:
        with (
            context.one_pass(perturbed=False, attached=False),
            self.runner.defer_sync(context.model, True),
        ):
            return self._train_pass(context, context.clean_weight, ends_step=False)

    def _train_pass(self, context: StepContext, weight: float, ends_step: bool) -> Tensor:
        """A pass whose gradient, times `weight`, reaches the weights."""

        def objective(model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any) -> Tensor:
            return self._loss(context, model, inputs, num_items_in_batch) * weight

        with ExitStack() as stack:
            for extension in context.extensions:
                stack.enter_context(extension.around_train_pass(context))
            return self.runner.train_pass(
                context.model, context.inputs, context.num_items_in_batch, objective, ends_step=ends_step
            )

    def _loss(self, context: StepContext, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any) -> Tensor:
        """The task's loss, or what an extension puts in its place."""
        for extension in context.extensions if context.perturbed else ():
            loss = extension.loss(context, model, inputs, num_items_in_batch)
            if loss is not None:
                return loss
        return self._task_loss(context, model, inputs, num_items_in_batch)[0]

    def _ascend(self, context: StepContext, another_pass: bool) -> None:
        extensions = context.extensions if another_pass else ()
        for extension in extensions:
            extension.before_ascent(context)
        context.perturbation.ascend()
        for extension in extensions:
            extension.after_ascent(context)

    def _perturb_weights(self, context: StepContext) -> None:
        """AWP: moves the weights uphill on the loss at the end of the ascent, for the pass that trains them."""
        with context.one_pass(attached=False), self.runner.defer_sync(context.model, True):
            loss = self._loss_apart(context)
        context.weights.climb(self.runner.scaled(loss))

    def _climb_from_many_starts(self, context: StepContext) -> None:
        """All ascents from every random start, and a forward pass at each end to find each sentence's worst."""
        worst, model = WorstEnd(), context.model
        for _ in range(context.restarts):
            context.perturbation.forget()
            for _ in range(context.adversary.num_passes - 1):
                with context.one_pass(attached=False), self.runner.defer_sync(model, True):
                    self._take_gradients(context)
                context.perturbation.ascend()
            with context.one_pass(attached=False), torch.no_grad():
                outputs = self.runner.forward(model, context.bare_inputs)
            losses = losses_by_example(logits_of(outputs), context.labels, self.runner.unwrapped(model))
            worst.offer(context.perturbation.delta.detach(), losses)
        context.perturbation.delta = worst.delta.requires_grad_()


class EndOfAscentStep(MultiPassStep):
    """The same passes, of which only the last, at the end of the ascent, has a gradient that reaches the weights."""

    def _weight(self, context: StepContext, k: int) -> float:
        return float(k == context.adversary.num_passes - 1)
