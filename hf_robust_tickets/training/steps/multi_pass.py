"""The adversarial step: calls of the step that `transformers.Trainer` has already, each with its weight."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ...adversaries import Regularizer
from ...adversaries.text.infobert import anchored_information, anchored_tokens, bottleneck
from ..callbacks.cost import CostCallback
from ..checks.nan_guard import SoundTrainer
from ..extensions.infobert import hidden_states
from ..extensions.smart import WeightAverage
from .context import Attack
from .metrics import AttackMeter, Reading
from .outputs import find_logits, logits_of, share_of_flips, without_labels
from .regularized import PenaltyPasses
from .restarts import WorstEnd, losses_by_example


class PassesTrainer(PenaltyPasses, SoundTrainer):
    """`Trainer` that can take a step in several weighted passes; what it attacks with is its heirs' business.

    In each pass, `compute_loss` of this object stands behind a wrapper: a subclass may override it as in any Trainer.

    Attributes:
        meter: What the log says of the attack.
        weight_average: For the proximal term of SMART.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._loss_weight = 1.0
        self._in_last_pass = True
        self.meter = AttackMeter()
        self.weight_average = WeightAverage()
        super().__init__(*args, **kwargs)
        self.add_callback(CostCallback())

    @property
    def cost_callback(self) -> CostCallback:
        """The callback that measures the present phase (a new object after a checkpoint was resumed)."""
        return next(c for c in self.callback_handler.callbacks if isinstance(c, CostCallback))

    def _virtual_batch_step(self, model: nn.Module, attack: Attack, clean_weight: float, *args: Any) -> Tensor:
        """K passes over the batch, each its own call of `Trainer.training_step` (FreeLB, PGD and their kin).

        Args:
            clean_weight: Share of an additional clean pass in the loss; 0 leaves it out.
            *args: The rest of the arguments of `Trainer.training_step`.
        """
        adversary, total = attack.adversary, torch.zeros((), device=self.args.device)
        last = adversary.num_passes - 1
        if clean_weight:
            with attack.one_pass(self.args.device, perturbed=False, attached=False), self._defer_sync(model, True):
                total = total + self._pass(model, attack, clean_weight, False, *args)
        restarts = attack.restarts
        if restarts > 1:
            self._climb_from_many_starts(model, attack, *args)
        for k in range(last if restarts > 1 else 0, last + 1):
            weight = adversary.loss_weight(k) * (1 - clean_weight)
            if k == last and attack.weights is not None:
                self._perturb_weights(model, attack, *args)
            with attack.one_pass(self.args.device, attached=k == last), self._defer_sync(model, k < last):
                if weight == 0:
                    attack.perturbation.grad = self._delta_gradient(model, attack, *args)
                else:
                    total = total + self._pass(model, attack, weight, k == last, *args)
            if k < last or adversary.remembers:
                # The first layer alone has gradients of no weight to exchange.
                with self._defer_sync(model, k < last):
                    self._climb(attack, k < last)
        return total

    def _perturb_weights(self, model: nn.Module, attack: Attack, num_items_in_batch: Any = None) -> None:
        """AWP: moves the weights uphill on the loss at the end of the ascent, for the pass that trains them."""
        with attack.one_pass(self.args.device, attached=False), self._defer_sync(model, True):
            model.train()
            with self.compute_loss_context_manager():
                loss, _ = self._task_loss(attack, model, dict(attack.inputs), num_items_in_batch)
        attack.weights.climb(self._scaled(loss))

    def _regularized_step(self, model: nn.Module, attack: Attack, *args: Any) -> Tensor:
        """One call of `Trainer.training_step`, whose loss holds the clean pass, the ascents and the penalty."""
        return self._pass(model, attack, 1.0, True, *args)

    def _pass(self, model: nn.Module, attack: Attack, weight: float, last: bool, *args: Any) -> Tensor:
        self._loss_weight, self._in_last_pass = weight, last
        # An attribute of the object, in front of the method: overrides of compute_loss stay in force.
        self.compute_loss = partial(self._objective, attack)
        try:
            with self._watching_first_layer(attack):
                return super().training_step(model, dict(attack.inputs), *args)
        finally:
            del self.compute_loss
            self._loss_weight, self._in_last_pass = 1.0, True

    def _objective(
        self, attack: Attack, model: nn.Module, inputs: dict[str, Any], *, num_items_in_batch: Any = None
    ) -> Tensor:
        """What the present pass minimises."""
        if isinstance(attack.adversary, Regularizer):
            return self._regularized_loss(attack, model, inputs, num_items_in_batch)
        if attack.critic is not None and attack.perturbed:
            return self._informed_loss(attack, model, inputs, num_items_in_batch) * self._loss_weight
        return self._task_loss(attack, model, inputs, num_items_in_batch)[0] * self._loss_weight

    def _informed_loss(
        self, attack: Attack, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any
    ) -> Tensor:
        """InfoBERT: the task's loss, the information bottleneck and the anchored features."""
        adversary, perturbation = attack.adversary, attack.perturbation
        with attack.critic.armed():
            loss, outputs = self._task_loss(
                attack, model, {**inputs, "output_hidden_states": True}, num_items_in_batch
            )
        perturbation.require_delta()
        embeddings, *_, scores = hidden_states(outputs)
        spread = adversary.bottleneck_coefficient * bottleneck(embeddings, perturbation.mask)
        loss = loss + self._per_step(spread, num_items_in_batch)
        perturbation.grad = self._gradient(loss, perturbation.delta, retain_graph=True)
        anchors = anchored_tokens(perturbation.grad, perturbation.mask, adversary.lowest, adversary.highest)
        information = anchored_information(scores, anchors)
        return loss - self._per_step(adversary.anchor_coefficient * information, num_items_in_batch)

    def _task_loss(
        self, attack: Attack, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any
    ) -> tuple[Tensor, Any]:
        loss, outputs = type(self).compute_loss(
            self, model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch
        )
        if self.args.n_gpu > 1:
            loss = loss.mean()  # One of each replica, as in Trainer.training_step.
        self.cost_callback.passes += 1
        # A share of the step's loss is read as what it is the share of: the log has the mean over the micro-batches.
        read = loss.detach() * self._window(num_items_in_batch)
        attack.readings.append(Reading(read, [logits.detach() for logits in find_logits(outputs)]))
        return loss, outputs

    def _read(self, attack: Attack, clean_weight: float) -> None:
        """Takes what an attacked micro-batch has shown into the meter; `clean_weight` as in `_virtual_batch_step`."""
        adversary, perturbation = attack.adversary, attack.perturbation
        first, last = attack.readings[0], attack.readings[-1]
        labels = [attack.inputs[name] for name in self.label_names if name in attack.inputs]
        model = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        regularizer = isinstance(adversary, Regularizer)
        starts_clean = adversary.init_magnitude == 0 and not adversary.remembers
        self.meter.note(
            first,
            last,
            clean=regularizer or starts_clean or clean_weight > 0,
            penalty=regularizer,
            compared=adversary.num_passes > 1 or clean_weight > 0,
            flips=share_of_flips(first.logits, last.logits, labels, attack.inputs, model),
            delta_norm=perturbation.length(),
            skipped=perturbation.skipped_ascents,
        )

    def _delta_gradient(self, model: nn.Module, attack: Attack, num_items_in_batch: Any = None) -> Tensor:
        """Gradient of the loss with respect to delta alone: nothing reaches the weights."""
        model = self._inside_engine(model)
        model.train()
        self._in_last_pass = False
        try:
            with self.compute_loss_context_manager():
                loss, _ = self._task_loss(attack, model, dict(attack.inputs), num_items_in_batch)
        finally:
            self._in_last_pass = True
        attack.perturbation.require_delta()
        return self._gradient(loss, attack.perturbation.delta)

    def _climb(self, attack: Attack, inner: bool) -> None:
        """The ascent after a pass; with YOPO, more of them through the first layer."""
        attack.perturbation.ascend()
        if not inner or attack.first_layer is None:
            return
        model = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        inputs = without_labels(attack.inputs, self.label_names)
        co_state = attack.first_layer.co_state()
        for _ in range(attack.adversary.inner_steps - 1):
            with attack.one_pass(self.args.device, attached=False), self.compute_loss_context_manager():
                reached = attack.first_layer.run(model, inputs)
            attack.perturbation.grad = torch.autograd.grad((reached * co_state).sum(), attack.perturbation.delta)[0]
            attack.perturbation.ascend()

    def _climb_from_many_starts(self, model: nn.Module, attack: Attack, *args: Any) -> None:
        """All ascents from every random start, and a forward pass at each end to find each sentence's worst."""
        worst, bare = WorstEnd(), without_labels(attack.inputs, self.label_names)
        labels = [attack.inputs[name] for name in self.label_names if name in attack.inputs]
        for _ in range(attack.restarts):
            attack.perturbation.forget()
            for _ in range(attack.adversary.num_passes - 1):
                with attack.one_pass(self.args.device, attached=False), self._defer_sync(model, True):
                    attack.perturbation.grad = self._delta_gradient(model, attack, *args)
                attack.perturbation.ascend()
            with attack.one_pass(self.args.device, attached=False), torch.no_grad():
                outputs = self._bare_pass(model, bare)
            bare_model = self.accelerator.unwrap_model(model, keep_torch_compile=False)
            losses = losses_by_example(logits_of(outputs), labels, bare_model)
            worst.offer(attack.perturbation.delta.detach(), losses)
        attack.perturbation.delta = worst.delta.requires_grad_()

    def _inside_engine(self, model: nn.Module) -> nn.Module:
        """What runs a pass that a step does not end with.

        DeepSpeed's engine takes every gradient through an output of its own for the backward pass of a step, and
        reduces: such passes run on the module inside it, whose hooks gather the weights of ZeRO-3 as well.
        """
        return self.accelerator.unwrap_model(model) if self.is_deepspeed_enabled else model

    def _bare_pass(self, model: nn.Module, inputs: dict[str, Any]) -> Any:
        self.cost_callback.passes += 1
        return model(**inputs)

    def _gradient(self, loss: Tensor, delta: Tensor, retain_graph: bool = False) -> Tensor:
        return torch.autograd.grad(self._scaled(loss), delta, retain_graph=retain_graph)[0]

    def _scaled(self, loss: Tensor) -> Tensor:
        scaler = self.accelerator.scaler
        return loss if scaler is None else scaler.scale(loss)

    @contextmanager
    def _watching_first_layer(self, attack: Attack) -> Iterator[None]:
        if attack.first_layer is None:
            yield
        else:
            with attack.first_layer.watched():
                yield

    @contextmanager
    def _defer_sync(self, model: nn.Module, defer: bool) -> Iterator[None]:
        """Keeps gradients local during all passes but the last, so that ranks talk once per step."""
        gradient_state = self.accelerator.gradient_state
        before = gradient_state.sync_gradients
        # The Trainer defers all micro-batches but the last itself; leaving FSDP2's no_sync twice would end that.
        deferred = not before and not gradient_state.plugin_kwargs.get("sync_each_batch", False)
        if not defer or deferred:
            yield
            return
        gradient_state._set_sync_gradients(False)
        try:
            with self.accelerator.no_sync(model=model):
                yield
        finally:
            gradient_state._set_sync_gradients(before)
