"""The step of methods that penalise how far the output moves under attack."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...adversaries import Regularizer
from ...errors import DataError
from .context import Attack
from .metrics import Reading
from .outputs import logits_of, valid_rows, without_labels


class PenaltyPasses:
    """The part of `PassesTrainer` that is `Regularizer`s' alone: one loss with ascents and a penalty inside."""

    def _regularized_loss(
        self, attack: Attack, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any
    ) -> Tensor:
        bare = without_labels(inputs, self.label_names)
        averaged = self._averaged_logits(attack.adversary, bare)
        loss, clean = self._clean_loss(attack, model, inputs, num_items_in_batch)
        constant = [logits.detach() for logits in clean]
        for _ in range(attack.adversary.steps):
            if attack.adversary.ascends_task_loss:
                self._labelled_ascent(attack, model, num_items_in_batch)
            else:
                self._virtual_ascent(attack, model, bare, constant)
        objective = self._penalised(attack, model, inputs, num_items_in_batch, loss, clean, averaged)
        if attack.weights is None:
            return objective
        attack.weights.climb(self._scaled(objective))
        loss, clean = self._clean_loss(attack, model, inputs, num_items_in_batch)
        return self._penalised(attack, model, inputs, num_items_in_batch, loss, clean, averaged)

    def _clean_loss(
        self, attack: Attack, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any
    ) -> tuple[Tensor, list[Tensor]]:
        with attack.one_pass(self.args.device, perturbed=False):
            loss, outputs = self._task_loss(attack, self._inside_engine(model), dict(inputs), num_items_in_batch)
        return loss, logits_of(outputs)

    def _penalised(
        self,
        attack: Attack,
        model: nn.Module,
        inputs: dict[str, Any],
        num_items_in_batch: Any,
        loss: Tensor,
        clean: list[Tensor],
        averaged: list[Tensor],
    ) -> Tensor:
        """The clean loss with the penalty, after the pass at the end of the ascent."""
        adversary, bare = attack.adversary, without_labels(inputs, self.label_names)
        with attack.one_pass(self.args.device):
            if adversary.perturbed_loss_weight:
                second, outputs = self._task_loss(attack, model, dict(inputs), num_items_in_batch)
                loss = loss + adversary.perturbed_loss_weight * second
            else:
                outputs = self._bare_pass(model, bare)
        perturbed = logits_of(outputs)
        if adversary.ascends_task_loss:
            penalty = adversary.objective(clean[0], perturbed[0], self._class_labels(attack, clean))
            attack.readings.append(Reading(penalty.detach(), [logits.detach() for logits in perturbed]))
            return self._per_step(penalty, num_items_in_batch)
        target = [logits.detach() for logits in clean] if adversary.detach_clean else clean
        penalty = self._divergence(adversary, target, perturbed, bare)
        attack.readings.append(Reading(penalty.detach(), [logits.detach() for logits in perturbed]))
        penalty = adversary.coefficient * penalty
        if averaged:
            penalty = penalty + adversary.proximal_coefficient * self._divergence(adversary, averaged, clean, bare)
        return loss + self._per_step(penalty, num_items_in_batch)

    def _class_labels(self, attack: Attack, logits: list[Tensor]) -> Tensor:
        labels = [attack.inputs[name] for name in self.label_names if name in attack.inputs]
        if len(labels) != 1 or len(logits) != 1:
            raise DataError(
                f"{attack.adversary.name} needs one class label per example, got {len(labels)} tensors of labels and "
                f"{len(logits)} of logits: use trades"
            )
        return labels[0]

    def _labelled_ascent(self, attack: Attack, model: nn.Module, num_items_in_batch: Any) -> None:
        with attack.one_pass(self.args.device, attached=False), self._defer_sync(model, True):
            attack.perturbation.grad = self._delta_gradient(model, attack, num_items_in_batch)
        attack.perturbation.ascend()

    def _virtual_ascent(self, attack: Attack, model: nn.Module, inputs: dict[str, Any], clean: list[Tensor]) -> None:
        with attack.one_pass(self.args.device, attached=False), self._defer_sync(model, True):
            perturbed = logits_of(self._bare_pass(self._inside_engine(model), inputs))
        attack.perturbation.require_delta()
        divergence = self._divergence(attack.adversary, clean, perturbed, inputs)
        attack.perturbation.grad = self._gradient(divergence, attack.perturbation.delta)
        attack.perturbation.ascend()

    def _averaged_logits(self, adversary: Regularizer, inputs: dict[str, Any]) -> list[Tensor]:
        """For SMART's pull towards the moving average of the weights, the output with these; nothing for others."""
        if not getattr(adversary, "proximal_coefficient", 0.0):
            return []
        whole = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        return logits_of(self.weight_average.outputs(whole, inputs))

    @staticmethod
    def _divergence(adversary: Regularizer, clean: list[Tensor], other: list[Tensor], inputs: Any) -> Tensor:
        heads = [adversary.divergence(a, b, valid_rows(a, inputs)) for a, b in zip(clean, other, strict=True)]
        return torch.stack(heads).sum()

    def _per_step(self, mean: Tensor, num_items_in_batch: Any) -> Tensor:
        """A mean over the micro-batch, such that the accumulated step has the mean of these means.

        Where the loss is normalised over the whole accumulated batch already, the Trainer does not divide it again.
        """
        return mean / self._window(num_items_in_batch)

    def _window(self, num_items_in_batch: Any) -> int:
        """The micro-batches over which the task's loss of one of them is normalised: 1, or all of the step's."""
        scaled = self.loss_is_scaled_for_ga
        if scaled is None:
            scaled = (self.model_accepts_loss_kwargs and num_items_in_batch is not None) or self.compute_loss_func
        return self.current_gradient_accumulation_steps if scaled else 1
