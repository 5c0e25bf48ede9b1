"""Adversarial training inside `transformers.Trainer`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.utils.data import Sampler

from .._compat import loss_uses_num_items_in_batch
from ..adversaries import Adversary
from ..architectures import layers_of
from ..reporting.model_card import CardFacts
from .arguments import AdversaryOptions
from .augmentation.trainer import AugmentingTrainer
from .callbacks.base import AttackCallback
from .callbacks.robustness import RobustSelectionCallback
from .captured.trainer import CapturingTrainer
from .checks.nan_guard import NanGuard
from .checks.validation import check_adversary, check_resumed_callbacks, warn_of_half_weights
from .extensions.replay import replay_batches
from .finetuning.trainer import FineTuningTrainer
from .hub.card import attack_facts, facts_of_trainer
from .hub.upload import Publisher, card_options
from .jobs.checkpoints import checkpoint_to_resume, explain_failed_save, seal
from .jobs.console import quieten_replicas, without_farewell
from .jobs.cost import CostMeter
from .jobs.folder import SEARCH
from .jobs.lock import OutputFolderLock
from .jobs.stopping import GracefulStop
from .steps.base import AdversarialStep
from .steps.cost import step_cost
from .steps.registry import build_step
from .steps.runner import StepRunner
from .steps.schedule import first_step

_FROM_ARGUMENTS: Any = object()


class AdversarialTrainer(FineTuningTrainer, AugmentingTrainer, CapturingTrainer):
    """`Trainer` whose training step attacks its own input.

    Everything that surrounds the forward and backward pass (accumulation, mixed precision, label smoothing, clipping,
    distribution) stays the Trainer's business: an attacked step is `adversary.num_passes` calls of
    `Trainer.training_step` on the same batch, with the perturbation added by a forward hook and the loss weighted by
    `adversary.loss_weight`; for a `Regularizer` it is one call, whose loss holds the penalty.

    With `adversary=None` training is that of `Trainer`, plus a repair of transformers#47688: text classifiers that
    accept `**kwargs` but ignore `num_items_in_batch` otherwise miss the division by the accumulation steps. Beside it
    there are the model card, a `training_cost.json` in checkpoints, and an end where the loss is no longer finite.

    The log gets, averaged since the last entry: `adversary_loss` (of the last pass), `adversary_clean_loss` (of the
    first, where it is clean; else `adversary_start_loss`), `adversary_gap` between them, `adversary_delta_norm`,
    `adversary_flips` (share of predictions that change), and `adversary_skipped_ascents`. A `Regularizer` has
    `adversary_divergence` in place of the second loss and the gap; a method of one pass has no gap and no flips.

    Args:
        *args: As for `Trainer`. `args` may be a plain `TrainingArguments`; the adversary is then FreeLB.
        adversary: An `Adversary`, a name (with the hyper-parameters of the arguments), or `None` for plain training;
            default: what the arguments say.
        **kwargs: As for `FineTuningTrainer`: `Trainer`'s, and `teacher`.

    Attributes:
        adversary: The method; `None` for plain training.
        adversary_options: How it is used.
        adversarial_step: Runs attacked steps; `None` for plain training.
        runner: Runs passes; `runner.terms` are penalties on the weights.
        cost_meter: Measures the present training.
        stopping: With `enable_jit_checkpoint`, stops it on SIGTERM; `stopping.stopped` says that it did.
        card_options: Default keyword arguments of `create_model_card`, e.g. `{"dataset": "my reviews"}`.

    Raises:
        ConfigurationError: If the surroundings cannot be right (context parallelism).
    """

    card_options: dict[str, Any] | None = None

    def __init__(self, *args: Any, adversary: Adversary | str | None = _FROM_ARGUMENTS, **kwargs: Any):
        self.runner = StepRunner(self, super().training_step)
        self.cost_meter, self.nan_guard = CostMeter(self.runner), NanGuard(self)
        self.publisher = Publisher(self, super().create_model_card)
        self._trial: Any = None
        super().__init__(*args, **kwargs)
        quieten_replicas(self.args)
        # The Trainer sets it in its loop alone, and reads it in every `training_step`.
        self.current_gradient_accumulation_steps = self.args.gradient_accumulation_steps
        self.folder_lock, self.stopping = OutputFolderLock(self), GracefulStop.put_into(self)
        if not loss_uses_num_items_in_batch(self.accelerator.unwrap_model(self.model)):
            self.model_accepts_loss_kwargs = False
        warn_of_half_weights(self.model)
        self._put_selection_first()
        self._asked_adversary = adversary
        self._take_adversary()

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """One step, attacked or plain; see `Trainer.training_step` for the arguments and the result.

        The returned loss of an attacked step is the sum of the passes' losses, each times its weight.
        """
        self.cost_meter.start()
        attacks = self.is_attacking
        self._introduce_adversary(attacks)
        step = self.adversarial_step if attacks else self.runner.plain_step
        loss = self.take_step(step, model, self._prepare_inputs(inputs) if attacks else inputs, num_items_in_batch)
        self.nan_guard.note(loss)
        return loss

    @property
    def is_attacking(self) -> bool:
        """Whether the present step is attacked: there is an adversary, it is its turn, and no callback pauses it.

        A callback may ask for the attack out of turn, once it has begun (`AttackCallback.demands_attack`).
        """
        callbacks = self._attack_callbacks
        if self.adversary is None or any(callback.pauses_attack for callback in callbacks):
            return False
        since = self.state.global_step - first_step(self.adversary_options.adversary_start_step, self.state)
        on_turn = int(since) % self.adversary_options.adversary_every == 0
        return since >= 0 and (on_turn or any(callback.demands_attack for callback in callbacks))

    @property
    def step_cost(self) -> float:
        """Theoretical cost of an attacked step in units of a plain one; see `steps.cost.step_cost`."""
        if self.adversary is None:
            return 1.0
        extensions = self.adversarial_step.extensions.values()
        layered = self.adversary_options.adversary_layer or any(extension.counts_layers for extension in extensions)
        layers = len(layers_of(self.runner.unwrapped())) if layered else 1
        return step_cost(self.adversary, self.adversary_options, layers, self.adversarial_step.caches_layers)

    @property
    def skipped_ascents(self) -> Tensor | int:
        """Ascents left out so far because a gradient was not finite."""
        return 0 if self.adversarial_step is None else self.adversarial_step.skipped_ascents

    @property
    def cost(self) -> dict[str, dict[str, float]]:
        """Per phase, here `train` alone, the fields of `PhaseCost`."""
        return {"train": self.cost_meter.cost(self.state).as_dict()}

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """As in `Trainer.train`; `resume_from_checkpoint=True` takes the last checkpoint that is complete.

        Raises:
            CheckpointError: If another training runs in the output folder, `resume_from_checkpoint` is true and no
                checkpoint is complete, or the one that it names is not there or damaged.
            DivergenceError: When the loss or the weights are no longer finite.
        """
        with self.folder_lock.held():
            resume_from_checkpoint = checkpoint_to_resume(self.args.output_dir, resume_from_checkpoint)
            self._forget_steps()
            self.nan_guard.begin()
            self.stopping.begin()
            try:
                output = super().train(resume_from_checkpoint, *args, **kwargs)
                self.nan_guard.check_loss()
                return output
            finally:
                self.cost_meter.stop()
                if self.adversarial_step is not None:
                    self.adversarial_step.end_training()

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """As in `Trainer.log`; an entry on training also says what the attack did, the mean over all ranks."""
        if "loss" in logs and self.adversarial_step is not None:
            for name, value in self.adversarial_step.meter.pop().items():
                gathered = self.accelerator.gather(value.reshape(1))
                total = gathered.sum() if name == "adversary_skipped_ascents" else gathered.mean()
                logs[name] = total.item()
        super().log(logs, *args, **kwargs)

    def floating_point_ops(self, inputs: dict[str, Tensor | Any]) -> float:
        """Theoretical operations of a step, all of its passes counted."""
        flops = super().floating_point_ops(inputs)
        return (flops * self.step_cost if self.is_attacking else flops) + self.teacher_flops(inputs)

    def add_callback(self, callback: Any) -> None:
        """As in `Trainer.add_callback`; what adds to the metrics goes to the front, where trackers see it."""
        super().add_callback(callback)
        self._put_selection_first()

    def card_facts(self, **options: Any) -> CardFacts:
        """What the card says of model, data, adversary and cost; `options` are those of `create_model_card`."""
        facts = facts_of_trainer(self, **options)
        return replace(facts, **attack_facts(self)) if self.state.global_step else facts

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Writes the card into `args.output_dir`; see `Trainer.create_model_card` for the arguments.

        A `README.md` that somebody edited is kept. Robustness reports in the folder are shown if they are of these
        very weights.

        Raises:
            CheckpointError: If a report in the folder is damaged.
        """
        self.publisher.write_card(Path(self.args.output_dir), card_options(self, args, kwargs))

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As in `Trainer.save_model`, with the card."""
        super().save_model(output_dir, _internal_call)
        if not _internal_call:
            self.publisher.after_save(output_dir)

    def push_to_hub(self, *args: Any, **kwargs: Any) -> Any:
        """As in `Trainer.push_to_hub`, but for what leaves: what reopens the model, its card and its reports alone.

        Raises:
            HubError: If the upload failed; local files are as they were, and another push completes it.
        """
        with self.publisher.explained(kwargs.get("revision") or self.args.hub_revision):
            return self.publisher.push(*args, **kwargs)

    def init_hf_repo(self, *args: Any, **kwargs: Any) -> None:
        """As in `Trainer.init_hf_repo`.

        Raises:
            ConfigurationError: If `hub_strategy` asks for whole checkpoints.
            HubError: If the repository cannot be created.
        """
        self.publisher.check_strategy()
        with self.publisher.explained():
            super().init_hf_repo(*args, **kwargs)

    @property
    def _attack_callbacks(self) -> list[AttackCallback]:
        return [callback for callback in self.callback_handler.callbacks if isinstance(callback, AttackCallback)]

    def _take_adversary(self) -> None:
        """The adversary that was asked for, with the hyper-parameters of the present arguments."""
        options = self.args if isinstance(self.args, AdversaryOptions) else AdversaryOptions()
        adversary = self._asked_adversary
        if adversary is _FROM_ARGUMENTS or isinstance(adversary, str):
            adversary = options.build_adversary(name=adversary if isinstance(adversary, str) else options.adversary)
        self._set_adversary(adversary, options)

    def _set_adversary(self, adversary: Adversary | None, options: AdversaryOptions) -> None:
        self.adversary, self.adversary_options = adversary, options
        self.adversarial_step: AdversarialStep | None = None
        if adversary is not None:
            check_adversary(self, adversary, options)
            self.adversarial_step = build_step(self.runner, adversary, options)
        self._take_capture()

    def _introduce_adversary(self, attacks: bool) -> None:
        """Tells callbacks what the step is attacked with, whether it is its turn or not."""
        if self.adversarial_step is not None:
            # Before the first attacked step: a compiled model misses hooks that come later.
            hook = self.adversarial_step.hook
            for callback in self._attack_callbacks:
                callback.meet_adversary(self.adversary, hook, attacks=attacks)

    def _put_selection_first(self) -> None:
        for callback in reversed(self.callback_handler.callbacks.copy()):
            if isinstance(callback, RobustSelectionCallback):
                callback.join(self)

    def _forget_steps(self) -> None:
        self.cost_meter.reset()
        if self.adversarial_step is not None:
            self.adversarial_step.forget()

    def _update_auto_batch_size(self, *args: Any, **kwargs: Any) -> None:
        # What an attempt with a batch that was too large has left behind.
        self._forget_steps()
        super()._update_auto_batch_size(*args, **kwargs)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        self.publisher.push_checkpoint(Path(checkpoint_folder))

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Sampler | None:
        sampler = super()._get_train_sampler(*args, **kwargs)
        return sampler if self.adversary is None else replay_batches(sampler, self, self.adversary)

    def _hp_search_setup(self, trial: Any) -> None:
        # Every training comes here with its model made, and no optimiser and no checkpoint yet.
        super()._hp_search_setup(trial)
        if trial is not None:
            self._take_adversary()
        if self.adversarial_step is not None:
            self.adversarial_step.begin_training()

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        if self.args.should_save:
            self.cost_meter.save(Path(output_dir))
        if self.adversarial_step is not None:
            self.adversarial_step.save(Path(output_dir))
        # The state is written next, and an older checkpoint deleted: all processes must be through by then.
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            seal(Path(output_dir), self.args.world_size)

    def _load_callback_state(self) -> None:
        super()._load_callback_state()
        check_resumed_callbacks(self.state, self.callback_handler.callbacks)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            self.cost_meter.load(Path(checkpoint))
            if self.adversarial_step is not None:
                self.adversarial_step.load(Path(checkpoint))

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        self.stopping.skip_end_of_epoch(self.control)
        if self.control.should_log or self.control.should_evaluate or self.control.should_save:
            self.nan_guard.check_loss()
        super()._maybe_log_save_evaluate(*args, **kwargs)

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        self.nan_guard.check_weights()
        with explain_failed_save(self.args.output_dir):
            super()._save_checkpoint(*args, **kwargs)

    def _finalize_training(self, *args: Any, **kwargs: Any) -> Any:
        unfinished = self.stopping.stopped or Path(self.args.output_dir).name == SEARCH
        with self.stopping.keeping_checkpoint(), without_farewell(unfinished):
            return super()._finalize_training(*args, **kwargs)
