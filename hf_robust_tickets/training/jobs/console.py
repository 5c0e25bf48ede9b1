"""What the console is told between the phases of a job: one line each, on the first process.

The Trainer's own lines say nothing of phases: two trainings follow one another whose steps both begin at 0. These
lines are logged at INFO by a logger of their own, which is open at that level. Where the program has set up no logging
they go to the standard error, above a progress bar; otherwise where all of its records go. `log_level="error"` in the
arguments, or transformers' verbosity at error, silences them, and so does a higher level of the logger.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn
from tqdm.auto import tqdm
from transformers import Trainer, TrainingArguments

from ...adversaries import Adversary
from ...reporting.formatting import format_parameters
from ...tickets import RefitStep, RobustTicket
from .search_method import SearchMethod

logger = logging.getLogger(__name__)

ALREADY_SEARCHED = "search (1 of 2): over before this run, its ticket is in the output folder"


class _Console(logging.Handler):
    """The standard error, for programs that have no handler above this logger's."""

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.getLogger(__package__).hasHandlers():
            tqdm.write(self.format(record), file=sys.stderr)


if logger.level == logging.NOTSET:
    logger.setLevel(logging.INFO)
logger.addHandler(_Console())


def say(trainer: Trainer, line: str) -> None:
    """Logs a line, once for all processes, unless the arguments ask for errors alone."""
    if trainer.is_world_process_zero() and trainer.args.get_process_log_level() <= logging.WARNING:
        logger.info(line)


@contextmanager
def without_farewell(hidden: bool) -> Iterator[None]:
    """While it lasts, the Trainer does not say that training is completed: of a search, or of what was stopped.

    Args:
        hidden: Whether there is anything to hide.
    """
    stock = logging.getLogger("transformers.trainer")
    keep = _NoFarewell()
    if hidden:
        stock.addFilter(keep)
    try:
        yield
    finally:
        stock.removeFilter(keep)


class _NoFarewell(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return "Training completed" not in record.getMessage()


def quieten_replicas(args: TrainingArguments) -> None:
    """Lets the first process alone warn of what all of them see, unless somebody has set this package's level.

    Args:
        args: Those of the training.
    """
    package = logging.getLogger(__package__.partition(".")[0])
    if args.world_size > 1 and args.process_index > 0 and package.level == logging.NOTSET:
        package.setLevel(logging.ERROR)


def search_begins(args: TrainingArguments, adversary: Adversary | None, method: SearchMethod) -> str:
    """The line before the search.

    Args:
        args: Those of the search.
        adversary: That of the search.
        method: What it ranks by, and the rule that ends it.
    """
    return f"search (1 of 2): {method.announcement(_name(adversary), _length(args))}"


def search_ended(log: Sequence[Mapping[str, Any]]) -> str:
    """The line after a search that has settled, or was asked for the ticket of a step.

    Args:
        log: `TicketCallback.log`.
    """
    last = log[-1]
    after = f", after {last['batches']} scored batches" if "batches" in last else ""
    how = "drawn as asked" if last.get("asked") else "settled"
    return f"ticket {how} at step {last['step']}, epoch {last['epoch']:.2f}{after}"


def cut(ticket: RobustTicket, before: int, model: nn.Module) -> str:
    """The line after pruning.

    Args:
        ticket: What was kept.
        before: Parameters of the dense model.
        model: The pruned one.
    """
    units = [
        f"{sum(counts):,} of {sum(map(len, masks)):,} {kind}"
        for kind, counts, masks in (
            ("heads", ticket.head_counts, ticket.heads),
            ("neurons", ticket.neuron_counts, ticket.neurons),
        )
        if sum(map(len, masks))
    ]
    left = format_parameters(count_parameters(model))
    return f"kept {', '.join(units)}: {left} of {format_parameters(before)} parameters"


def refitted(steps: Sequence[RefitStep]) -> str:
    """The line after a refit."""
    mean = [sum(getattr(step, name) for step in steps) / max(1, len(steps)) for name in ("before", "after")]
    return (
        f"refitted {len(steps)} projections to the dense model: mean error {mean[0]:.3f} before, {mean[1]:.3f} after"
    )


def finetuning_begins(args: TrainingArguments, adversary: Adversary | None, checkpoint: str | None) -> str:
    """The line before the fine-tuning; `checkpoint` is where it goes on, if it was cut off."""
    start = f"from {checkpoint}" if checkpoint else "steps and epochs count anew"
    return f"fine-tuning (2 of 2): {_name(adversary)}, {_length(args)}; {start}"


def count_parameters(model: nn.Module) -> int:
    """All parameters, shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def _name(adversary: Adversary | None) -> str:
    return "plain training" if adversary is None else f"adversarial training ({adversary.name})"


def _length(args: TrainingArguments) -> str:
    if args.max_steps > 0:
        return f"{args.max_steps} steps"
    return f"{args.num_train_epochs:g} epoch{'' if args.num_train_epochs == 1 else 's'}"
