"""What the search has of its own, where the rest of its arguments are those of the fine-tuning."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import IntervalStrategy, SaveStrategy, SchedulerType

from ..._sharding import whole
from ...errors import ConfigurationError
from ...tickets import attach_gates, detach_gates, get_gates
from ..arguments import AdversaryOptions, TicketOptions
from ..callbacks.early_bird import EarlyBirdCallback
from .folder import JobFolder

# Options that decide which ticket is found.
_DECISIVE = (
    "ticket_tolerance",
    "ticket_patience",
    "ticket_interval",
    "search_epochs",
    "search_max_steps",
    "search_learning_rate",
    "gate_learning_rate",
    "gate_l1_heads",
    "gate_l1_neurons",
    "head_sparsity",
    "neuron_sparsity",
    "head_scope",
    "neuron_scope",
    "round_to",
    "rewind",
)
# Where the fine-tuning saves by epoch or by the best metric, the search, which has neither, saves this often.
_SEARCH_SAVES = 0.25


class LogRemainder(TrainerCallback):
    """Logs the last steps of a search, which may be shorter than `logging_steps`: they belong to no later phase."""

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Asks for a log entry in the last step."""
        if control.should_training_stop and args.logging_strategy != IntervalStrategy.NO:
            control.should_log = True


def early_bird_callback(options: TicketOptions, adversary: AdversaryOptions) -> EarlyBirdCallback:
    """The callback that ends the search, with the options of the job."""
    return EarlyBirdCallback(
        head_sparsity=options.head_sparsity,
        neuron_sparsity=options.neuron_sparsity,
        head_scope=options.head_scope,
        neuron_scope=options.neuron_scope,
        interval=options.ticket_interval,
        patience=options.ticket_patience,
        tolerance=options.ticket_tolerance,
        round_to=options.round_to,
        keep_one=options.keep_one,
        start_step=adversary.adversary_start_step if adversary.build_adversary() else 0,
    )


def search_arguments(args: TrainingArguments, options: TicketOptions) -> TrainingArguments:
    """The arguments of the fine-tuning, with those that the search has of its own."""
    search = copy.copy(args)
    search.output_dir = JobFolder(args.output_dir, writes=False).search.as_posix()
    search.num_train_epochs = options.search_epochs
    search.max_steps = options.search_max_steps
    if options.search_learning_rate is not None:
        search.learning_rate = options.search_learning_rate
    search.lr_scheduler_type = SchedulerType.LINEAR
    search.lr_scheduler_kwargs = None
    search.warmup_steps = options.search_warmup
    search.eval_strategy = IntervalStrategy.NO
    search.eval_on_start = False
    search.load_best_model_at_end = False
    search.push_to_hub = False
    search.save_total_limit = 1
    if args.save_strategy in (SaveStrategy.EPOCH, SaveStrategy.BEST):
        search.save_strategy = SaveStrategy.STEPS
        search.save_steps = _SEARCH_SAVES
    return search


def describe_search(log: Sequence[Mapping[str, Any]], options: TicketOptions | None = None) -> dict[str, Any] | None:
    """How a search ended, and the options that decided it, as JSON scalars; None if there was none.

    Args:
        log: `EarlyBirdCallback.log`.
        options: Those of the search, if they are known.
    """
    if not log:
        return None
    last = log[-1]
    found = {"converged": last["stop"], "epoch": last["epoch"], "step": last["step"], "tickets": len(log)}
    found |= {f"last_{kind}_distance": last[f"{kind}_distance"] for kind in ("head", "neuron")}
    decisive = {} if options is None else {name: getattr(options, name) for name in _DECISIVE}
    # What is off says nothing.
    return found | {name: value for name, value in decisive.items() if value not in (None, -1)}


def describe_origin(converged: bool | None) -> str:
    """Where a ticket is from, as a reader is told; `converged` is None if it was not searched for."""
    if converged is None:
        return "one that was given, not searched for"
    return "the early bird of the search" if converged else "the last one of a search that did not settle"


@contextmanager
def gated_model(trainer: Trainer, fold: bool) -> Iterator[None]:
    """While it lasts, the trainer's model has gates.

    FSDP cuts a model's parameters into shards in place and never puts them together again, but pruning needs whole
    ones: there, the search trains a copy.

    Args:
        trainer: Its `model` is the dense one before and after.
        fold: Whether the dense model gets what was trained, gates included; otherwise only a search without FSDP
            leaves its weights behind.
    """
    dense = trainer.model
    if trainer.is_fsdp_enabled:
        trainer.model = trainer.model_wrapped = copy.deepcopy(dense)
    attach_gates(trainer.model)
    try:
        yield
        if fold and trainer.model is not dense:
            attach_gates(dense)
            _take_weights(dense, trainer.model)
    finally:
        trainer.model = trainer.model_wrapped = dense
        detach_gates(dense, fold=fold)


def _take_weights(dense: nn.Module, sharded: nn.Module) -> None:
    # One at a time: gathered on the accelerator, kept on the CPU.
    dense.load_state_dict({name: whole(tensor).cpu() for name, tensor in sharded.state_dict().items()})


def refuse_prepared(trainer: Trainer) -> None:
    """Raises ConfigurationError for what is made before its time: an optimiser, and gates in the model."""
    if trainer.optimizer is not None or trainer.lr_scheduler is not None:
        raise ConfigurationError(
            "a ready-made optimiser or scheduler holds the dense parameters, which pruning replaces: pass "
            "optimizer_cls_and_kwargs=(cls, kwargs) and lr_scheduler_type instead of optimizers"
        )
    if get_gates(trainer.model) is not None:
        raise ConfigurationError("the model has gates already: call detach_gates(model) first")


def refuse_sharding(trainer: Trainer) -> None:
    """Raises ConfigurationError where a search and what follows it cannot be right."""
    if trainer.is_deepspeed_enabled:
        raise ConfigurationError(
            "a DeepSpeed engine keeps weights and optimiser in buffers of its own, which gates and pruning cannot "
            "reach: use DDP or FSDP2 for the job, and DeepSpeed for the pruned model"
        )
    if not trainer.is_fsdp_enabled:
        return
    plugin = trainer.accelerator.state.fsdp_plugin
    if plugin.fsdp_version != 2 or plugin.cpu_ram_efficient_loading:
        raise ConfigurationError(
            f"a ticket is searched under FSDP2 with the weights on every rank at the start, got version "
            f"{plugin.fsdp_version} and cpu_ram_efficient_loading={plugin.cpu_ram_efficient_loading}: set "
            "fsdp_config={'version': 2, 'cpu_ram_efficient_loading': False}"
        )
    if "FULL_STATE_DICT" not in str(plugin.state_dict_type):
        raise ConfigurationError(
            f"checkpoints of a pruned model hold it whole, got {plugin.state_dict_type}: set "
            "fsdp_config={'state_dict_type': 'FULL_STATE_DICT'}"
        )
