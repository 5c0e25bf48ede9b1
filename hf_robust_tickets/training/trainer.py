"""Adversarial training inside `transformers.Trainer`: K calls of the step that is there already."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from accelerate.data_loader import SeedableRandomSampler
from torch import Tensor, nn
from torch.utils.data import RandomSampler, Sampler

from .._compat import loss_uses_num_items_in_batch
from ..adversaries import YOPO, Adversary, InfoBERT, Injector, Memory, PixelInjector, PixelSpace, Regularizer
from ..architectures import get_architecture, layer_module
from ..errors import CheckpointError, ConfigurationError
from ..reporting.model_card import CardFacts
from .arguments import AdversaryOptions
from .callbacks.early_bird import first_step
from .checks.validation import refuse_adversary, refuse_lost_masks
from .extensions.awp import WeightPerturbation
from .extensions.data_parallel import ReplicaPerturbation, reach_replicas
from .extensions.infobert import CriticHook
from .extensions.layer_cache import LayerCache
from .extensions.replay import ReplaySampler
from .extensions.yopo import FirstLayer
from .hub.card import attack_facts
from .jobs.checkpoints import explain_failed_save, last_complete_checkpoint
from .steps.context import Attack
from .steps.cost import step_cost
from .steps.multi_pass import PassesTrainer
from .steps.perturbation import Perturbation, spared_tokens
from .steps.schedule import strength
from .steps.state import load_adversary_state, save_adversary_state

_FROM_ARGUMENTS: Any = object()


class AdversarialTrainer(PassesTrainer):
    """`Trainer` whose training step attacks its own input.

    Everything that surrounds the forward and backward pass (accumulation, mixed precision, label smoothing, clipping,
    distribution) stays the Trainer's business: a step is `adversary.num_passes` calls of `Trainer.training_step` on
    the same batch, with the perturbation added by a forward hook and the loss weighted by `adversary.loss_weight`; for
    a `Regularizer` it is one call, whose loss holds the penalty.

    With `adversary=None` it is `Trainer`, plus a repair of transformers#47688: text classifiers that accept
    `**kwargs` but ignore `num_items_in_batch` otherwise miss the division by the accumulation steps.

    The log gets, averaged since the last entry: `adversary_loss` (of the last pass), `adversary_clean_loss` (of the
    first, where it is clean; else `adversary_start_loss`), `adversary_gap` between them, `adversary_delta_norm`,
    `adversary_flips` (share of predictions that change), and `adversary_skipped_ascents`. A `Regularizer` has
    `adversary_divergence` in place of the second loss and the gap; a method of one pass has no gap and no flips.

    Args:
        *args: As for `Trainer`. `args` may be a plain `TrainingArguments`; the adversary is then FreeLB.
        adversary: An `Adversary`, a name (with the hyper-parameters of the arguments), or `None` for plain training;
            default: what the arguments say.
        **kwargs: As for `Trainer`.

    Attributes:
        skipped_ascents: Ascents left out so far because a gradient was not finite.

    Raises:
        ConfigurationError: If the surroundings cannot be right (context parallelism).
    """

    def __init__(self, *args: Any, adversary: Adversary | str | None = _FROM_ARGUMENTS, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if not loss_uses_num_items_in_batch(self.accelerator.unwrap_model(self.model)):
            self.model_accepts_loss_kwargs = False
        self._asked_adversary = adversary
        self.memories: dict[str, Memory] = {}
        self.skipped_ascents: Tensor | int = 0
        self._injectors: dict[int, Injector | PixelInjector] = {}
        self._critic: CriticHook | None = None
        self._replicas: ReplicaPerturbation | None = None
        self._micro_batch = 0
        self._take_adversary()

    def _take_adversary(self) -> None:
        """The adversary that was asked for, with the hyper-parameters of the present arguments."""
        options = self.args if isinstance(self.args, AdversaryOptions) else AdversaryOptions()
        adversary = self._asked_adversary
        if adversary is _FROM_ARGUMENTS or isinstance(adversary, str):
            adversary = options.build_adversary(name=adversary if isinstance(adversary, str) else options.adversary)
        self._set_adversary(adversary, options)

    def _set_adversary(self, adversary: Adversary | None, options: AdversaryOptions) -> None:
        self.adversary = adversary
        self.adversary_options = options
        self._spared_tokens: list[int] = []
        if self.adversary is not None:
            self._spared_tokens = spared_tokens(options, self.processing_class)
            refuse_adversary(self, self.adversary, options)

    def training_step(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Tensor:
        """One step under attack; see `Trainer.training_step` for the arguments and the result.

        The returned loss is the sum of the passes' losses, each times its weight.
        """
        if self.adversary is not None:
            # Before the first attacked step: a compiled model misses hooks that come later, and callbacks may measure.
            injector, attacks = self._injector(), self.is_attacking
            for callback in self.callback_handler.callbacks:
                if hasattr(callback, "meet_adversary"):
                    callback.meet_adversary(self.adversary, injector, attacks=attacks)
        if not self.is_attacking:
            self.cost_callback.passes += 1
            return super().training_step(model, inputs, *args, **kwargs)
        args = (*args, *kwargs.values())  # num_items_in_batch, which the loop gives by position
        self._replicas = reach_replicas(self._replicas, model, injector)
        attack = self._make_attack(self._prepare_inputs(inputs), injector)
        try:
            if isinstance(self.adversary, Regularizer):
                loss = self._regularized_step(model, attack, *args)
            else:
                loss = self._virtual_batch_step(model, attack, self.adversary_options.adversary_clean_weight, *args)
        finally:
            attack.close()
        self._close(attack)
        return loss

    def _make_attack(self, inputs: dict[str, Any], injector: Injector) -> Attack:
        options, whole = self.adversary_options, self._bare_model()
        gamma = options.adversary_weight_perturbation
        adversary = self.adversary.scaled(strength(options, self.state))
        memory = self.memories.setdefault(str(self._micro_batch) if adversary.remembers == "batch" else "run", {})
        if getattr(adversary, "proximal_coefficient", 0.0) and self._micro_batch == 0:
            bare = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
            self.weight_average.update(bare, adversary.momentum_at(self.state.global_step / self.state.max_steps))
        layers = (
            get_architecture(whole).layers(whole) if options.adversary_layer or isinstance(adversary, YOPO) else []
        )
        return Attack(
            inputs,
            Perturbation(adversary, inputs, options.adversary_share_dropout, memory, self._spared_tokens),
            injector,
            LayerCache(layers, options.adversary_layer) if self._caches_layers else None,
            FirstLayer(layers[options.adversary_layer]) if isinstance(adversary, YOPO) else None,
            options.adversary_restarts,
            self._critic,
            WeightPerturbation(whole, gamma) if gamma else None,
            self._replicas,
        )

    def _close(self, attack: Attack) -> None:
        adversary, perturbation = attack.adversary, attack.perturbation
        perturbation.require_delta()
        if adversary.remembers:
            perturbation.remember()
        self._micro_batch = 0 if self.accelerator.gradient_state.sync_gradients else self._micro_batch + 1
        self.skipped_ascents = self.skipped_ascents + perturbation.skipped_ascents
        self._read(attack, self.adversary_options.adversary_clean_weight)

    def floating_point_ops(self, inputs: dict[str, Tensor | Any]) -> float:
        """Theoretical operations of a step, all of its passes counted."""
        flops = super().floating_point_ops(inputs)
        return flops * self.step_cost if self.is_attacking else flops

    @property
    def step_cost(self) -> float:
        """Theoretical cost of an attacked step in units of a plain one; see `step_cost.step_cost`."""
        layers = 1
        if self.adversary_options.adversary_layer or isinstance(self.adversary, YOPO):
            whole = self._bare_model()
            layers = len(get_architecture(whole).layers(whole))
        return step_cost(self.adversary, self.adversary_options, layers, self._caches_layers)

    @property
    def is_attacking(self) -> bool:
        """Whether the present step is attacked: there is an adversary, it is its turn, and no callback pauses it.

        A callback may ask for the attack out of turn, once it has begun (`demands_attack`).
        """
        callbacks = self.callback_handler.callbacks
        if self.adversary is None or any(getattr(callback, "pauses_attack", False) for callback in callbacks):
            return False
        since = self.state.global_step - first_step(self.adversary_options.adversary_start_step, self.state)
        on_turn = int(since) % self.adversary_options.adversary_every == 0
        return since >= 0 and (on_turn or any(getattr(callback, "demands_attack", False) for callback in callbacks))

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """As in `Trainer.log`; an entry on training also says what the attack did, the mean over all ranks."""
        if "loss" in logs and self.meter.steps:
            for name, value in self.meter.pop().items():
                gathered = self.accelerator.gather(value.reshape(1))
                total = gathered.sum() if name == "adversary_skipped_ascents" else gathered.mean()
                logs[name] = total.item()
        super().log(logs, *args, **kwargs)

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
        self._forget_steps()
        try:
            return super().train(resume_from_checkpoint, *args, **kwargs)
        finally:
            for injector in self._injectors.values():
                injector.remove()
            self._injectors = {}
            if self._replicas is not None:
                self._replicas.remove()
                self._replicas = None
            if self._critic is not None:
                self._critic.remove()
                self._critic = None

    def card_facts(self, **options: Any) -> CardFacts:
        """As in `PublishingTrainer.card_facts`, with the adversary and the cost."""
        facts = super().card_facts(**options)
        return replace(facts, **attack_facts(self)) if self.state.global_step else facts

    def _update_auto_batch_size(self, *args: Any, **kwargs: Any) -> None:
        # What an attempt with a batch that was too large has left behind.
        self._forget_steps()
        super()._update_auto_batch_size(*args, **kwargs)

    def _forget_steps(self) -> None:
        self.memories, self.weight_average.tensors, self._micro_batch = {}, {}, 0
        self.meter.pop()

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Sampler | None:
        sampler = super()._get_train_sampler(*args, **kwargs)
        if self.adversary is None or self.adversary.replays == 1:
            return sampler
        if sampler is None:
            raise ConfigurationError(
                f"{self.adversary.name} replays batches of a data set with a length, got a stream"
            )
        if isinstance(sampler, RandomSampler):
            # As accelerate does with the samplers it knows: the order is that of seed and epoch, on every rank.
            seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
            sampler = SeedableRandomSampler(sampler.data_source, generator=torch.Generator(), data_seed=seed)
        # Not args.train_batch_size, which auto_find_batch_size leaves as it was.
        block = self._train_batch_size * self.args.world_size * self.args.gradient_accumulation_steps
        return ReplaySampler(sampler, block, self.adversary.replays)

    def _hp_search_setup(self, trial: Any) -> None:
        # Every training comes here with its model made, and no checkpoint loaded yet.
        super()._hp_search_setup(trial)
        if trial is not None:
            self._take_adversary()
        if isinstance(self.adversary, InfoBERT):
            self._critic = CriticHook(self.model)

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        save_adversary_state(output_dir, self.args, self.memories, self.weight_average)

    def _load_callback_state(self) -> None:
        super()._load_callback_state()
        refuse_lost_masks(self.state, self.callback_handler.callbacks)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            self.memories = load_adversary_state(checkpoint, self.args, self.weight_average)

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        with explain_failed_save(self.args.output_dir):
            super()._save_checkpoint(*args, **kwargs)

    @property
    def _caches_layers(self) -> bool:
        several = self.adversary is not None and self.adversary.num_passes > 1
        return self.adversary_options.adversary_layer > 0 and several and self._may_cache

    @property
    def _may_cache(self) -> bool:
        # A compiled model does not see that layers were replaced; sharded weights are gathered by the layers' hooks;
        # replicas have layers of their own.
        return not (
            self.args.torch_compile or self.args.n_gpu > 1 or self.is_fsdp_enabled or self.is_deepspeed_enabled
        )

    def _bare_model(self) -> nn.Module:
        """The model of transformers inside all wrappers, PEFT's included: where the layers are."""
        model = self.accelerator.unwrap_model(self.model)
        return model.get_base_model() if hasattr(model, "get_base_model") else model

    def _injector(self) -> Injector | PixelInjector:
        model = self._bare_model()
        layer = self.adversary_options.adversary_layer
        if isinstance(self.adversary, PixelSpace):
            if id(model) not in self._injectors:
                box = self.adversary.with_processor(self.processing_class).box
                self._injectors = {id(model): PixelInjector(model, box)}
            return self._injectors[id(model)]
        module = layer_module(model, layer)
        if id(module) not in self._injectors:
            self._injectors = {id(module): Injector(module)}
        return self._injectors[id(module)]
