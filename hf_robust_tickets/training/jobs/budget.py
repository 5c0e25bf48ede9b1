"""How many steps a search has, known before it begins."""

from __future__ import annotations

import math

from transformers import Trainer

from ...errors import ConfigurationError
from ..ticket_arguments import TicketOptions


def search_budget(trainer: Trainer, options: TicketOptions) -> tuple[int, int]:
    """Optimiser steps of the search's budget, and of an epoch; of a stream, its budget stands for the epoch.

    Raises:
        ConfigurationError: If the data set has no length and there is no budget in steps.
    """
    epoch = steps_of_epoch(trainer)
    if epoch is None:
        if options.search_max_steps < 1:
            raise ConfigurationError(
                "search_epochs needs a data set with a length, got a stream: give search_max_steps"
            )
        return options.search_max_steps, options.search_max_steps
    if options.search_max_steps > 0:
        return options.search_max_steps, epoch
    return math.ceil(options.search_epochs * epoch), epoch


def steps_of_epoch(trainer: Trainer) -> int | None:
    """Optimiser steps of an epoch, before there is a data loader; None for a stream, which has no length."""
    args = trainer.args
    if not hasattr(trainer.train_dataset or [], "__len__"):
        return None
    batches = len(trainer.train_dataset or []) / (args.train_batch_size * args.world_size)
    batches = math.floor(batches) if args.dataloader_drop_last else math.ceil(batches)
    return max(1, math.ceil(batches / args.gradient_accumulation_steps))


def check_ticket_step(trainer: Trainer, options: TicketOptions) -> None:
    """Raises ConfigurationError if the ticket is to be drawn after the search has ended."""
    budget, _ = search_budget(trainer, options)
    if options.ticket_at_step > budget:
        raise ConfigurationError(
            f"ticket_at_step must be within the {budget} steps of the search, got {options.ticket_at_step}: raise "
            "search_epochs or search_max_steps"
        )
