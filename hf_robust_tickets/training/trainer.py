"""Adversarial training inside `transformers.Trainer`: K calls of the step that is there already."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments

from .._compat import loss_uses_num_items_in_batch
from ..adversaries import Adversary, Injector, PixelInjector, PixelPGD, perturbation_mask
from ..architectures import get_architecture
from ..errors import CheckpointError, ConfigurationError
from .arguments import AdversaryOptions
from .callbacks import first_step
from .cost import CostCallback
from .perturbation import Perturbation
from .saving import explain_failed_save, last_complete_checkpoint

_FROM_ARGUMENTS: Any = object()
# A forward pass costs one unit, the gradients of activations and of weights one each.
_DELTA_PASS_COST = 2 / 3


class AdversarialTrainer(Trainer):
    """`Trainer` whose training step attacks its own input.

    Everything that surrounds the forward and backward pass (accumulation, mixed precision, label smoothing, clipping,
    distribution) stays the Trainer's business: a step is `adversary.num_passes` calls of `Trainer.training_step` on
    the same batch, with the perturbation added by a forward hook and the loss weighted by `adversary.loss_weight`.

    With `adversary=None` it is `Trainer`, plus a repair of transformers#47688: text classifiers that accept
    `**kwargs` but ignore `num_items_in_batch` otherwise miss the division by the accumulation steps.

    Args:
        *args: As for `Trainer`. `args` may be a plain `TrainingArguments`; the adversary is then FreeLB.
        adversary: An `Adversary`, a name (with the hyper-parameters of the arguments), or `None` for plain training;
            default: what the arguments say.
        **kwargs: As for `Trainer`.

    Raises:
        ConfigurationError: If the surroundings cannot be right (context parallelism, `DataParallel`).
    """

    def __init__(self, *args: Any, adversary: Adversary | str | None = _FROM_ARGUMENTS, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if not loss_uses_num_items_in_batch(self.accelerator.unwrap_model(self.model)):
            self.model_accepts_loss_kwargs = False
        options = self.args if isinstance(self.args, AdversaryOptions) else AdversaryOptions()
        if adversary is _FROM_ARGUMENTS or isinstance(adversary, str):
            adversary = options.build_adversary(name=adversary if isinstance(adversary, str) else options.adversary)
        self._set_adversary(adversary, options)
        self._loss_weight = 1.0
        self._in_last_pass = True
        self._injectors: dict[int, Injector | PixelInjector] = {}
        self.skipped_ascents = 0
        self.add_callback(CostCallback())

    def _set_adversary(self, adversary: Adversary | None, options: AdversaryOptions) -> None:
        self.adversary = adversary
        self.adversary_options = options
        if self.adversary is not None:
            refuse_surroundings(self.args, self.accelerator)

    def training_step(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Tensor:
        """One step under attack; see `Trainer.training_step` for the arguments and the result.

        The returned loss is the sum of the passes' losses, each times its weight.
        """
        if self.adversary is not None:
            injector = self._injector()
        if not self.is_attacking:
            self.cost_callback.passes += 1
            return super().training_step(model, inputs, *args, **kwargs)
        for callback in self.callback_handler.callbacks:
            if hasattr(callback, "meet_adversary"):
                callback.meet_adversary(self.adversary, injector)
        inputs = self._prepare_inputs(inputs)
        perturbation = Perturbation(
            self.adversary, lambda x: perturbation_mask(inputs, x), self.adversary_options.adversary_share_dropout
        )
        total: Tensor | float = 0.0
        last = self.adversary.num_passes - 1
        for k in range(last + 1):
            weight = self.adversary.loss_weight(k)
            perturbation.begin_pass(self.args.device)
            with injector.armed(perturbation.add), self._defer_sync(model, k < last), self._pass(weight, k == last):
                if weight == 0:
                    perturbation.grad = self._delta_gradient(model, inputs, perturbation, *args, **kwargs)
                else:
                    total = total + super().training_step(model, dict(inputs), *args, **kwargs)
            self.cost_callback.passes += 1
            if k < last:
                perturbation.ascend()
        self.skipped_ascents = self.skipped_ascents + perturbation.skipped_ascents
        return total

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """As in `Trainer.compute_loss`; in training, times the weight of the present pass."""
        result = super().compute_loss(model, inputs, *args, **kwargs)
        if self._loss_weight == 1.0 or not model.training:
            return result
        if isinstance(result, tuple):
            return (result[0] * self._loss_weight, *result[1:])
        return result * self._loss_weight

    def floating_point_ops(self, inputs: dict[str, Tensor | Any]) -> float:
        """Theoretical operations of a step, all of its passes counted."""
        flops = super().floating_point_ops(inputs)
        return flops * self.step_cost if self.is_attacking else flops

    @property
    def step_cost(self) -> float:
        """Cost of an attacked step in units of a plain one: a pass without weight gradients counts 2/3."""
        if self.adversary is None:
            return 1.0
        weights = [self.adversary.loss_weight(k) for k in range(self.adversary.num_passes)]
        return sum(1.0 if weight else _DELTA_PASS_COST for weight in weights)

    @property
    def is_attacking(self) -> bool:
        """Whether the present step is attacked: there is an adversary, its start has come, no callback pauses it."""
        paused = any(getattr(callback, "pauses_attack", False) for callback in self.callback_handler.callbacks)
        if self.adversary is None or paused:
            return False
        return self.state.global_step >= first_step(self.adversary_options.adversary_start_step, self.state)

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """As in `Trainer.train`; `resume_from_checkpoint=True` takes the last checkpoint that is complete.

        Raises:
            CheckpointError: If `resume_from_checkpoint` is true and no checkpoint is complete.
        """
        if resume_from_checkpoint is True:
            resume_from_checkpoint = last_complete_checkpoint(self.args.output_dir)
            if resume_from_checkpoint is None:
                raise CheckpointError(
                    f"no complete checkpoint in {self.args.output_dir}: train without resume_from_checkpoint"
                )
        try:
            return super().train(resume_from_checkpoint, *args, **kwargs)
        finally:
            for injector in self._injectors.values():
                injector.remove()
            self._injectors = {}

    @property
    def cost_callback(self) -> CostCallback:
        """The callback that measures the present phase (a new object after a checkpoint was resumed)."""
        return next(c for c in self.callback_handler.callbacks if isinstance(c, CostCallback))

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        with explain_failed_save(self.args.output_dir):
            super()._save_checkpoint(*args, **kwargs)

    def _injector(self) -> Injector | PixelInjector:
        model = self.accelerator.unwrap_model(self.model)
        layer = self.adversary_options.adversary_layer
        if isinstance(self.adversary, PixelPGD):
            if id(model) not in self._injectors:
                box = self.adversary.with_processor(self.processing_class).box
                self._injectors = {id(model): PixelInjector(model, box)}
            return self._injectors[id(model)]
        module = model.get_input_embeddings() if layer == 0 else _layer_output(model, layer)
        if id(module) not in self._injectors:
            self._injectors = {id(module): Injector(module)}
        return self._injectors[id(module)]

    def _delta_gradient(
        self, model: nn.Module, inputs: dict[str, Any], perturbation: Perturbation, *args: Any, **kwargs: Any
    ) -> Tensor:
        """Gradient of the loss with respect to delta alone: nothing reaches the weights."""
        model.train()
        with self.compute_loss_context_manager(), self._pass(weight=1.0, last=False):
            loss = self.compute_loss(model, dict(inputs), **_num_items(args, kwargs))
        scaler = self.accelerator.scaler
        return torch.autograd.grad(loss if scaler is None else scaler.scale(loss), perturbation.delta)[0]

    @contextmanager
    def _pass(self, weight: float, last: bool) -> Iterator[None]:
        before = self._loss_weight, self._in_last_pass
        self._loss_weight, self._in_last_pass = weight, last
        try:
            yield
        finally:
            self._loss_weight, self._in_last_pass = before

    @contextmanager
    def _defer_sync(self, model: nn.Module, defer: bool) -> Iterator[None]:
        """Keeps gradients local during all passes but the last, so that ranks talk once per step."""
        if not defer:
            yield
            return
        gradient_state = self.accelerator.gradient_state
        before = gradient_state.sync_gradients
        gradient_state._set_sync_gradients(False)
        try:
            with self.accelerator.no_sync(model=model):
                yield
        finally:
            gradient_state._set_sync_gradients(before)


def _layer_output(model: nn.Module, layer: int) -> nn.Module:
    layers = get_architecture(model).layers(model)
    if layer > len(layers):
        raise ConfigurationError(f"adversary_layer must be at most {len(layers)}, the number of layers, got {layer}")
    return layers[layer - 1]


def _num_items(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    return {"num_items_in_batch": args[0] if args else kwargs.get("num_items_in_batch")}


def refuse_surroundings(args: TrainingArguments, accelerator: Any) -> None:
    """Raises ConfigurationError where an adversary cannot be right."""
    if args.n_gpu > 1:
        raise ConfigurationError(
            "an adversary and torch.nn.DataParallel do not go together, got "
            f"{args.n_gpu} devices in one process: launch with `torchrun --nproc_per_node {args.n_gpu}`"
        )
    parallelism = getattr(accelerator, "parallelism_config", None)
    if parallelism is not None and (parallelism.cp_enabled or parallelism.sp_enabled):
        raise ConfigurationError(
            "an adversary and context or sequence parallelism do not go together: a rank sees only a part of the "
            "sentence that one perturbation belongs to; use data parallelism"
        )
