"""A training step under attack: what all of them share, and their registry."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..._compat import without_adapter
from ...adversaries import Adversary, AdversaryState, PerturbationHook
from ...architectures import layer_module, layer_number, layers_of
from ..arguments import AdversaryOptions
from ..extensions import Extension, get_extension
from ..extensions.awp import WeightPerturbation
from ..extensions.data_parallel import ReplicaPerturbation, reach_replicas
from ..extensions.layer_cache import LayerCache
from .context import StepContext
from .metrics import AttackMeter
from .outputs import share_of_flips
from .perturbation import Perturbation, spared_tokens
from .runner import StepRunner
from .schedule import strength
from .state import load_states, save_states


class AdversarialStep(ABC):
    """One training step under attack: `run` over a `StepContext`, for each micro-batch.

    One object serves all steps of a training with one adversary.

    Args:
        runner: Runs the passes, and knows the trainer.
        adversary: The method.
        options: How it is used.

    Attributes:
        meter: What the log says of the attack.
        skipped_ascents: Ascents left out so far because a gradient was not finite (a tensor, or 0).
        states: What the method keeps between steps: one for the run, or one per micro-batch.
        extensions: What the method needs beside delta, by name.
    """

    def __init__(self, runner: StepRunner, adversary: Adversary, options: AdversaryOptions) -> None:
        self.runner = runner
        self.adversary = adversary
        self.options = options
        self.meter = AttackMeter()
        self.skipped_ascents: Tensor | int = 0
        self.states: dict[str, AdversaryState] = {}
        self.extensions: dict[str, Extension] = {
            name: get_extension(name)(runner, options) for name in adversary.extensions
        }
        self._spared = spared_tokens(options, runner.trainer.processing_class)
        self._hook: PerturbationHook | None = None
        self._hooked: nn.Module | None = None
        self._replicas: ReplicaPerturbation | None = None
        self._micro_batch = 0

    def __call__(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any) -> Tensor:
        """Trains on one micro-batch under attack.

        Args:
            model: What the Trainer trains with.
            inputs: The batch, on its device.
            num_items_in_batch: As in `Trainer.training_step`.

        Returns:
            The sum of the losses of the passes, each times its weight, detached.
        """
        context = self._context(model, inputs, num_items_in_batch)
        self.runner.begin_batch()
        passes = self.runner.passes
        try:
            for extension in context.extensions:
                extension.begin_batch(context)
            loss = self.run(context)
        except RuntimeError as error:
            if "out of memory" in str(error):
                # A note, not another error: the Trainer knows the first by its kind and tries a smaller batch.
                error.add_note(
                    f"in pass {self.runner.passes - passes} of a step under {self.adversary.name}, whose passes need "
                    "the memory of a plain step each, one after the other: lower per_device_train_batch_size, or set "
                    "auto_find_batch_size=True"
                )
            raise
        finally:
            context.close()
        self._finish(context)
        return loss

    @abstractmethod
    def run(self, context: StepContext) -> Tensor:
        """All passes over one micro-batch; see `__call__` for the result."""

    @property
    def hook(self) -> PerturbationHook:
        """What adds delta, in the model that the trainer has now."""
        model = without_adapter(self.runner.unwrapped())
        module = None if self.adversary.space == "pixels" else layer_module(model, self.options.adversary_layer)
        if self._hooked is not (model if module is None else module):
            self._let_go()
            self._hook = self.adversary.hook(model, module, self.runner.trainer.processing_class)
            self._hooked = model if module is None else module
        return self._hook

    @property
    def caches_layers(self) -> bool:
        """Whether the layers below the perturbed one run once per micro-batch."""
        args, trainer = self.runner.trainer.args, self.runner.trainer
        if not self.options.adversary_layer or self.adversary.num_passes == 1:
            return False
        # A compiled model does not see that layers were replaced; sharded weights are gathered by the layers' hooks;
        # replicas have layers of their own.
        return not (args.torch_compile or args.n_gpu > 1 or trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled)

    @property
    def starts_ahead(self) -> bool:
        """Whether delta is drawn before the forward pass of a compiled model, which is then one graph for all passes.

        Not where the clean output costs more than a look into the embedding, and not where dropout masks are replayed
        at the module or weights are gathered in the forward pass alone.
        """
        args, trainer = self.runner.trainer.args, self.runner.trainer
        if not args.torch_compile or self.adversary.space == "pixels":
            return False
        inside = self.options.adversary_layer or self.options.adversary_share_dropout
        return not (inside or args.n_gpu > 1 or trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled)

    def begin_training(self) -> None:
        """The model of the training is made, and its optimiser is not yet."""
        for extension in self.extensions.values():
            extension.begin_training()

    def end_training(self) -> None:
        """Takes everything out of the model that the attack has put there."""
        self._let_go()
        for extension in self.extensions.values():
            extension.end_training()

    def forget(self) -> None:
        """Drops what the steps so far have left."""
        self.states, self._micro_batch = {}, 0
        for extension in self.extensions.values():
            extension.forget()
        self.meter.pop()

    def save(self, folder: Path) -> None:
        """Writes what a checkpoint needs of the attack."""
        save_states(folder, self.runner.trainer.args, self.states)
        for extension in self.extensions.values():
            extension.save(folder)

    def load(self, folder: Path) -> None:
        """Takes back what `save` wrote.

        Raises:
            CheckpointError: If other ranks left a state and this one did not.
        """
        self.states = load_states(folder, self.runner.trainer.args)
        for extension in self.extensions.values():
            extension.load(folder)

    def _context(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any) -> StepContext:
        options, trainer = self.options, self.runner.trainer
        adversary = self.adversary.scaled(strength(options, trainer.state))
        slot = str(self._micro_batch) if adversary.remembers == "batch" else "run"
        hook = self.hook
        if slot not in self.states:
            self.states[slot] = adversary.new_state(self._hooked, trainer.args.device)
        self._replicas = reach_replicas(self._replicas, model, hook)
        whole, gamma = without_adapter(self.runner.unwrapped()), options.adversary_weight_perturbation
        return StepContext(
            model=model,
            inputs=inputs,
            num_items_in_batch=num_items_in_batch,
            label_names=trainer.label_names,
            device=trainer.args.device,
            perturbation=Perturbation(
                adversary,
                inputs,
                options.adversary_share_dropout,
                self.states[slot],
                self._spared,
                self._why_alone(adversary),
                in_layers=options.adversary_layer != 0,
            ),
            hook=hook,
            clean_weight=options.adversary_clean_weight,
            restarts=options.adversary_restarts,
            extensions=tuple(self.extensions.values()),
            cache=self._cache(whole) if self.caches_layers else None,
            weights=WeightPerturbation(whole, gamma) if gamma else None,
            traced=self.runner.unwrapped() if self.starts_ahead else None,
            replicas=self._replicas,
            first_of_step=self._micro_batch == 0,
        )

    def _cache(self, model: nn.Module) -> LayerCache:
        return LayerCache(layers_of(model), layer_number(model, self.options.adversary_layer))

    def _why_alone(self, adversary: Adversary) -> str | None:
        """Why a pass may call the model only once; `None` where each call has a perturbation of its own."""
        options = self.options
        reasons = {
            f"{adversary.name} needs one output per batch": adversary.step == "regularized" or adversary.extensions,
            f"{adversary.name} remembers one perturbation": adversary.remembers,
            "adversary_restarts compares one perturbation per sentence": options.adversary_restarts > 1,
            "adversary_share_dropout speaks of one call": options.adversary_share_dropout,
            "adversary_layer speaks of one call": options.adversary_layer != 0,
            "replicas of torch.nn.DataParallel share one perturbation": self.runner.trainer.args.n_gpu > 1,
        }
        return next((reason for reason, holds in reasons.items() if holds), None)

    def _finish(self, context: StepContext) -> None:
        """Keeps what the next step needs of this micro-batch, and reads what the log says of it."""
        perturbation = context.perturbation
        perturbation.require_delta()
        if context.adversary.remembers:
            perturbation.remember()
        ends_step = self.runner.trainer.accelerator.gradient_state.sync_gradients
        self._micro_batch = 0 if ends_step else self._micro_batch + 1
        self.skipped_ascents = self.skipped_ascents + perturbation.skipped_ascents
        self._read(context)

    def _read(self, context: StepContext) -> None:
        adversary, perturbation = context.adversary, context.perturbation
        first, last = context.readings[0], context.readings[-1]
        model = self.runner.unwrapped()
        starts_clean = adversary.init_magnitude == 0 and not adversary.remembers
        self.meter.note(
            first,
            last,
            clean=self.has_penalty or starts_clean or context.clean_weight > 0,
            penalty=self.has_penalty,
            compared=adversary.num_passes > 1 or context.clean_weight > 0,
            flips=share_of_flips(first.logits, last.logits, context.labels, context.inputs, model),
            delta_norm=perturbation.length(),
            skipped=perturbation.skipped_ascents,
        )

    @property
    @abstractmethod
    def has_penalty(self) -> bool:
        """Whether the first pass is clean and the last reading that of a penalty."""

    def _task_loss(
        self, context: StepContext, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any
    ) -> tuple[Tensor, Any]:
        """`StepRunner.task_loss`, read for the log."""
        loss, outputs = self.runner.task_loss(model, inputs, num_items_in_batch)
        # A share of the step's loss is read as what it is the share of: the log has the mean over the micro-batches.
        context.note(loss * self.runner.window(num_items_in_batch), outputs)
        return loss, outputs

    def _take_gradients(self, context: StepContext, loss: Tensor | None = None) -> None:
        """Gradients of the task's loss, or another, with respect to delta alone: nothing reaches the weights."""
        loss = self._loss_apart(context) if loss is None else loss
        context.perturbation.require_delta()
        context.perturbation.take_gradients(self.runner.gradients(loss, context.perturbation.deltas))

    def _loss_apart(self, context: StepContext) -> Tensor:
        loss, outputs = self.runner.task_loss_apart(context.model, context.inputs, context.num_items_in_batch)
        context.note(loss * self.runner.window(context.num_items_in_batch), outputs)
        return loss

    def _let_go(self) -> None:
        if self._hook is not None:
            self._hook.remove()
        if self._replicas is not None:
            self._replicas.remove()
        self._hook = self._hooked = self._replicas = None
