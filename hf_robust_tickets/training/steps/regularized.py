"""One loss with a penalty on how far the output moves under attack: TRADES, SMART, ALUM, VAT, MART, R-Drop."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ...errors import DataError
from .base import AdversarialStep
from .context import StepContext
from .metrics import Reading
from .outputs import divergence, kind_of_outputs, logits_of


class RegularizedStep(AdversarialStep):
    """One call of the Trainer's step, whose loss holds the clean pass, the ascents and the penalty.

    The adversary is a `Regularizer`.
    """

    has_penalty = True

    def run(self, context: StepContext) -> Tensor:
        """As in `AdversarialStep.run`."""

        def objective(model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any) -> Tensor:
            return self._loss(context, model, inputs, num_items_in_batch)

        return self.runner.train_pass(
            context.model, context.inputs, context.num_items_in_batch, objective, ends_step=True
        )

    def _loss(self, context: StepContext, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any) -> Tensor:
        loss, clean = self._clean_loss(context, model, inputs, num_items_in_batch)
        constant = [logits.detach() for logits in clean]
        for _ in range(context.adversary.steps):
            if context.adversary.ascends_task_loss:
                self._labelled_ascent(context)
            else:
                self._virtual_ascent(context, model, constant)
        objective = self._penalised(context, model, inputs, num_items_in_batch, loss, clean)
        if context.weights is None:
            return objective
        context.weights.climb(self.runner.scaled(objective))
        loss, clean = self._clean_loss(context, model, inputs, num_items_in_batch)
        return self._penalised(context, model, inputs, num_items_in_batch, loss, clean)

    def _clean_loss(
        self, context: StepContext, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any
    ) -> tuple[Tensor, list[Tensor]]:
        with context.one_pass(perturbed=False):
            inside = self.runner.inside_engine(model)
            loss, outputs = self._task_loss(context, inside, dict(inputs), num_items_in_batch)
        return loss, logits_of(outputs)

    def _penalised(
        self,
        context: StepContext,
        model: nn.Module,
        inputs: dict[str, Any],
        num_items_in_batch: Any,
        loss: Tensor,
        clean: list[Tensor],
    ) -> Tensor:
        """The clean loss with the penalty, after the pass at the end of the ascent."""
        adversary = context.adversary
        with context.one_pass():
            if adversary.perturbed_loss_weight:
                second, outputs = self._task_loss(context, model, dict(inputs), num_items_in_batch)
                loss = loss + adversary.perturbed_loss_weight * second
            else:
                outputs = self.runner.forward(model, context.bare_inputs)
        perturbed = logits_of(outputs)
        if adversary.ascends_task_loss:
            penalty = adversary.objective(clean[0], perturbed[0], _class_labels(context, clean))
            context.readings.append(Reading(penalty.detach(), [logits.detach() for logits in perturbed]))
            return self.runner.per_step(penalty, num_items_in_batch)
        target = [logits.detach() for logits in clean] if adversary.detach_clean else clean
        penalty = divergence(adversary, target, perturbed, context.bare_inputs, self._kind(context, clean))
        context.readings.append(Reading(penalty.detach(), [logits.detach() for logits in perturbed]))
        penalty = adversary.coefficient * penalty
        for extension in context.extensions:
            term = extension.penalty(context, clean)
            penalty = penalty if term is None else penalty + term
        return loss + self.runner.per_step(penalty, num_items_in_batch)

    def _kind(self, context: StepContext, clean: list[Tensor]) -> str:
        return kind_of_outputs(self.runner.unwrapped(), clean, context.labels)

    def _labelled_ascent(self, context: StepContext) -> None:
        with context.one_pass(attached=False), self.runner.defer_sync(context.model, True):
            self._take_gradients(context)
        context.perturbation.ascend()

    def _virtual_ascent(self, context: StepContext, model: nn.Module, clean: list[Tensor]) -> None:
        with context.one_pass(attached=False), self.runner.defer_sync(model, True):
            perturbed = logits_of(self.runner.forward(self.runner.inside_engine(model), context.bare_inputs))
        context.perturbation.require_delta()
        kind = self._kind(context, clean)
        climbed = divergence(context.adversary, clean, perturbed, context.bare_inputs, kind)
        self._take_gradients(context, climbed)
        context.perturbation.ascend()


def _class_labels(context: StepContext, logits: list[Tensor]) -> Tensor:
    labels = context.labels
    if len(labels) != 1 or len(logits) != 1:
        raise DataError(
            f"{context.adversary.name} needs one class label per example, got {len(labels)} tensors of labels and "
            f"{len(logits)} of logits: use trades"
        )
    return labels[0]
