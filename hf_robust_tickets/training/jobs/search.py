"""What the search has of its own, where the rest of its arguments are those of the fine-tuning."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from ..._sharding import whole
from ...tickets import attach_gates, detach_gates, get_score
from ..finetuning.options import SEARCHED, option_of
from ..ticket_arguments import TicketOptions
from . import phases
from .folder import SEARCH
from .gate_search import GateSearch
from .score_search import ScoreSearch
from .search_method import SearchMethod

# Options that decide which ticket is found, whatever the score; those of each are in its `SearchMethod`.
_DECISIVE = (
    "ticket_score",
    "ticket_tolerance",
    "ticket_at_step",
    "search_warmup",
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


def search_method(name: str) -> type[SearchMethod]:
    """How a score of this name is searched with."""
    return GateSearch if get_score(name).trains_gates else ScoreSearch


def search_arguments(args: TrainingArguments, options: TicketOptions, method: SearchMethod) -> TrainingArguments:
    """The arguments of the fine-tuning, with those that the search has of its own."""
    search = phases.search_arguments(args, Path(args.output_dir) / SEARCH)
    if options.search_learning_rate is not None:
        search.learning_rate = options.search_learning_rate
    if options.search_weight_decay is not None:
        search.weight_decay = options.search_weight_decay
    search.lr_scheduler_kwargs = None
    method.set_arguments(search)
    if args.save_strategy in (SaveStrategy.EPOCH, SaveStrategy.BEST):
        search.save_strategy = SaveStrategy.STEPS
        search.save_steps = _SEARCH_SAVES
    return search


def keeps_searched(args: TrainingArguments, options: TicketOptions) -> bool:
    """Whether the weights after the search are of use: the fine-tuning begins with them, or is taught by them."""
    return not options.rewind or option_of(args, "distillation_teacher") == SEARCHED


def describe_search(log: Sequence[Mapping[str, Any]], options: TicketOptions | None = None) -> dict[str, Any] | None:
    """How a search ended, and the options that decided it, as JSON scalars; None if there was none.

    Args:
        log: `TicketCallback.log`.
        options: Those of the search, if they are known.
    """
    if not log:
        return None
    last = log[-1]
    found = {"converged": last["stop"], "epoch": last["epoch"], "step": last["step"], "tickets": len(log)}
    if last.get("asked"):
        found["asked"] = True
    found["stop_rule"] = _stop_rule(last)
    if "batches" in last:
        found["batches"] = last["batches"]
    found |= {f"last_{kind}_distance": last[f"{kind}_distance"] for kind in ("head", "neuron")}
    names = () if options is None else (*_DECISIVE, *search_method(options.ticket_score).decisive)
    decisive = {name: getattr(options, name) for name in names}
    # What is off says nothing.
    return found | {name: value for name, value in decisive.items() if value not in (None, -1)}


def _stop_rule(record: Mapping[str, Any]) -> str:
    if "batches" in record:
        return "the tickets of even and of odd batches agree"
    agreed = "a ticket resembles those after it"
    return f"{agreed}, more than a shadow of noise does" if "shadow_head_distance" in record else agreed


def describe_origin(converged: bool | None, asked: bool = False) -> str:
    """Where a ticket is from, as a reader is told.

    Args:
        converged: Whether its search has settled; `None` if it was not searched for.
        asked: Whether it was to be drawn at a given step.
    """
    if converged is None:
        return "one that was given, not searched for"
    if asked:
        return f"that of a step that was asked for, at which the search had {'' if converged else 'not '}settled"
    return "the one at which the search settled" if converged else "the last one of a search that did not settle"


@contextmanager
def gated_model(trainer: Trainer, method: SearchMethod, fold: bool) -> Iterator[None]:
    """While it lasts, the trainer's model has gates.

    FSDP cuts a model's parameters into shards in place and never puts them together again, but pruning needs whole
    ones: there, the search trains a copy.

    Args:
        trainer: Its `model` is the dense one before and after.
        method: Adds what else it needs.
        fold: Whether the dense model gets what was trained, gates included; otherwise only a search without FSDP
            leaves its weights behind.
    """
    dense = trainer.model
    if trainer.is_fsdp_enabled:
        trainer.model = trainer.model_wrapped = copy.deepcopy(dense)
    attach_gates(trainer.model)
    method.attach(trainer.model)
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
