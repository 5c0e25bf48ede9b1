"""What a ticket job does between its search and its fine-tuning: it cuts, and refits what is left if asked to."""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader, IterableDataset, Subset
from transformers import PreTrainedModel, set_seed

from ..._memory import peak_memory_bytes, reset_peak_memory
from ...tickets import prune_, refit, write_pruned_files
from ..finetuning.options import SEARCHED, option_of
from . import console
from .cost import PhaseCost
from .ticket_folder import TicketFolder

if TYPE_CHECKING:
    from ..ticket_trainer import RobustTicketTrainer


class RefitBatches:
    """The batches of a refit: the same at each look, without labels; every rank sees all of them.

    Args:
        trainer: Its training data, collator and seed decide; rows of a stream are its first ones.
        count: How many examples at most.
    """

    def __init__(self, trainer: RobustTicketTrainer, count: int) -> None:
        self._names = set(trainer.label_names)
        data, collator = _columns_of_the_model(trainer)
        if isinstance(data, IterableDataset) or not hasattr(data, "__len__"):
            data = list(itertools.islice(data, count))
        else:
            generator = torch.Generator(device="cpu").manual_seed(trainer.args.seed)
            data = Subset(data, torch.randperm(len(data), generator=generator)[:count].tolist())
        self._loader = DataLoader(data, batch_size=trainer.args.per_device_eval_batch_size, collate_fn=collator)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self._loader:
            yield {name: value for name, value in batch.items() if name not in self._names}


def cut(trainer: RobustTicketTrainer, job: TicketFolder, *, refits: bool) -> dict[str, dict[str, float]]:
    """Cuts a trainer's ticket out of its model, and refits what is left where `refit_examples` asks for it.

    Args:
        trainer: Its `model` is the dense one, with the weights that fine-tuning starts from; its parameters are new
            objects afterwards.
        job: The folder of the job.
        refits: False where a checkpoint is about to replace all weights.

    Returns:
        The cost of the refit as `refit`; empty where there was none.
    """
    model, costs = trainer.model, {}
    refits = refits and trainer.ticket_options.refit_examples > 0
    size, dense = console.count_parameters(model), copy.deepcopy(model) if refits else None
    if option_of(trainer.args, "distillation_teacher") == SEARCHED:
        trainer.teacher = copy.deepcopy(model)
        job.load_weights(job.end, trainer.teacher)
    prune_(model, trainer.ticket)
    console.say(trainer, console.cut(trainer.ticket, size, model))
    if dense is not None:
        costs["refit"] = _refit_after_cut(trainer, dense)
        job.save_cost({**trainer.cost, **costs})
    if trainer.args.should_save:
        # The Trainer's uploads during training take the weights from a checkpoint, and the rest from here.
        write_pruned_files(model, job.path)
    return costs


def _refit_after_cut(trainer: RobustTicketTrainer, dense: PreTrainedModel) -> dict[str, float]:
    """Refits on the trainer's device, and says so; gives the cost.

    All ranks compute the same: nothing is exchanged, and the result does not depend on their number.
    """
    model, options = trainer.model, trainer.ticket_options
    # A data set that draws random numbers draws the same ones in a job that is resumed here.
    set_seed(trainer.args.seed)
    batches = RefitBatches(trainer, options.refit_examples)
    reset_peak_memory()
    began, home = time.perf_counter(), next(model.parameters()).device
    for each in (model, dense):
        each.to(trainer.args.device)
    steps = refit(model, dense, batches, ridge=options.refit_ridge)
    model.to(home)
    seconds = time.perf_counter() - began
    console.say(trainer, console.refitted(steps))
    # On average a projection is reached half-way: (1 + ... + n) / n passes of both models.
    flops = (len(steps) + 1) / 2 * sum(_flops(each, batch) for batch in batches for each in (model, dense))
    return PhaseCost(seconds, 0, 0, flops, peak_memory_bytes()).as_dict()


def _flops(model: PreTrainedModel, batch: Mapping[str, Any]) -> float:
    """Of a forward pass: two per weight and token, a third of the Trainer's estimate of a step."""
    return 2.0 * batch[model.main_input_name].numel() * model.num_parameters(exclude_embeddings=True)


def _columns_of_the_model(trainer: RobustTicketTrainer) -> tuple[Any, Any]:
    data, collator = trainer.train_dataset, trainer.data_collator
    if hasattr(data, "column_names") and hasattr(data, "__len__"):
        return trainer._remove_unused_columns(data, description="refit"), collator
    return data, trainer._get_collator_with_removed_columns(collator, description="refit")
