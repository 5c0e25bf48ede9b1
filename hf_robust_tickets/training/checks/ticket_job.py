"""What a ticket job cannot be done with, said before training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import DataCollatorWithPadding, Trainer, default_data_collator

from ...adversaries import Adversary
from ...architectures import get_architecture
from ...errors import ConfigurationError, DataError
from ...tickets import RobustTicket, check_fits, get_gates, is_pruned
from ..arguments import AdversaryOptions
from ..finetuning.options import SEARCHED, option_of
from .kernels import check_kernels
from .late import check_data, check_optimisation
from .validation import check_adversary

if TYPE_CHECKING:
    from ..ticket_trainer import RobustTicketTrainer

# Names that the default collators turn into `labels`.
_COLLATED = ("label", "label_ids")


def check_ticket_job(
    trainer: RobustTicketTrainer,
    ticket: RobustTicket | None,
    adversary: Adversary | None,
    options: AdversaryOptions,
) -> None:
    """Raises an error of one line where a job cannot be right.

    Args:
        trainer: The trainer of the job.
        ticket: A given ticket; `None` where one is searched for.
        adversary: That of the search; `None` where there is none.
        options: How it is used.

    Raises:
        ConfigurationError: For a ready-made optimiser, gates, DeepSpeed, the first version of FSDP, fused layers of
            Liger or of the Hub, or an adversary that cannot be right in this trainer.
        DataError: If the training data has no labels and the collator makes none, or a label is no class of the model.
        TicketError: If a given ticket is for another model.
        UnknownArchitectureError: If the model's family is not known.
    """
    get_architecture(trainer.model)
    _check_unprepared(trainer)
    _check_sharding(trainer)
    check_kernels(trainer)
    check_fits(trainer.model, None if is_pruned(trainer.model) else ticket)
    if trainer.ticket_options.refit_examples and trainer.train_dataset is None:
        raise ConfigurationError(
            "refit_examples takes sentences of train_dataset, got none: pass it, or leave refit_examples at 0"
        )
    if ticket is not None and option_of(trainer.args, "distillation_teacher") == SEARCHED:
        raise ConfigurationError(
            f"the searched model teaches after a search, got a ticket and distillation_teacher={SEARCHED!r}: name "
            "another teacher, or leave the ticket out"
        )
    check_labelled(trainer.train_dataset, trainer.data_collator, trainer.label_names)
    check_data(trainer)
    if type(trainer).create_scheduler.__module__.startswith(__name__.partition(".")[0]):
        # A class that makes its own schedule need not have options for another.
        check_optimisation(trainer)
    if adversary is not None:
        check_adversary(trainer, adversary, options)


def _check_unprepared(trainer: Trainer) -> None:
    """Raises ConfigurationError for what is made before its time: an optimiser, and gates in the model."""
    if trainer.optimizer is not None or trainer.lr_scheduler is not None:
        raise ConfigurationError(
            "a ready-made optimiser or scheduler holds the dense parameters, which pruning replaces: pass "
            "optimizer_cls_and_kwargs=(cls, kwargs) and lr_scheduler_type instead of optimizers"
        )
    if get_gates(trainer.model) is not None:
        raise ConfigurationError("the model has gates already: call detach_gates(model) first")


def _check_sharding(trainer: Trainer) -> None:
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


def check_labelled(dataset: Any, collator: Any, label_names: list[str]) -> None:
    """Checks that a data set has labels, where it has named columns and its collator makes no labels of its own.

    Raises:
        DataError: If it has none.
    """
    columns = getattr(dataset, "column_names", None)
    makes_none = collator is default_data_collator or type(collator) is DataCollatorWithPadding
    if columns is None or not makes_none or set(columns) & {*label_names, *_COLLATED}:
        return
    raise DataError(
        f"the training data has no labels: expected one of the columns {', '.join([*label_names, 'label'])}, got "
        f"{', '.join(columns)}; rename the column, or pass a data_collator that makes labels"
    )
