"""What would fail late, in the fine-tuning or at its first evaluation, said before a search trains."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from transformers import DataCollatorWithPadding, Trainer, default_data_collator, get_scheduler

from ...errors import ConfigurationError, DataError, RobustTicketsError
from ...evaluation.datasets.labels import where

_LABELS = ("labels", "label", "label_ids")
# What losses leave out.
_IGNORED = -100


def check_labels_fit(dataset: Any, model: Any, source: str) -> None:
    """Checks the class numbers of a data set that is to be trained or evaluated on.

    Only of data sets with columns, for classifiers with one label per row: of others nothing is known.

    Args:
        dataset: A `datasets.Dataset`; anything else passes.
        model: The model, not wrapped.
        source: What the data are called in messages.

    Raises:
        DataError: If a label is no class of the model; it names the row.
    """
    columns = getattr(dataset, "column_names", None)
    column = next((name for name in _LABELS if isinstance(columns, list) and name in columns), None)
    config = getattr(model, "config", None)
    classifies = type(model).__name__.endswith(("ForSequenceClassification", "ForImageClassification"))
    one_label = getattr(config, "problem_type", None) in (None, "single_label_classification")
    if (
        column is None
        or not (classifies and one_label)
        or config.num_labels < 2
        or not hasattr(dataset, "with_format")
    ):
        return
    labels = np.asarray(dataset.with_format("numpy")[column][:])
    if labels.ndim != 1:
        return
    most = config.num_labels - 1
    if not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"expected class numbers in 0..{most} in {column!r} of {source}, got {labels.dtype} such as "
            f"{labels[0].item()!r}: cast the column to integers, or set config.problem_type"
        )
    wrong = np.flatnonzero(((labels < 0) & (labels != _IGNORED)) | (labels > most))
    if len(wrong):
        raise DataError(
            f"expected a class number in 0..{most}, those of the model, in {column!r} of "
            f"{where(int(wrong[0]), source)}, got {labels[wrong[0]].item()}: correct the row, or leave it out"
        )


def check_data(trainer: Trainer) -> None:
    """Checks the labels of what a trainer trains and evaluates on; raises as `check_labels_fit`.

    Collators and losses of a user's own may read labels in other ways: there, nothing is checked.
    """
    stock = trainer.data_collator is default_data_collator or type(trainer.data_collator) is DataCollatorWithPadding
    if not stock or trainer.compute_loss_func is not None:
        return
    model = trainer.accelerator.unwrap_model(trainer.model)
    check_labels_fit(trainer.train_dataset, model, "the training data")
    several = trainer.eval_dataset if isinstance(trainer.eval_dataset, dict) else {"": trainer.eval_dataset}
    for name, dataset in several.items():
        check_labels_fit(dataset, model, f"the evaluation data{name and f' {name!r}'}")


def check_optimisation(trainer: Trainer) -> None:
    """Checks that the optimiser and the schedule of the fine-tuning can be made from their options.

    Raises:
        ConfigurationError: If they cannot.
    """
    args, kwargs = trainer.args, dict(trainer.args.lr_scheduler_kwargs or {})
    try:
        if trainer.optimizer_cls_and_kwargs is None:
            trainer.get_optimizer_cls_and_kwargs(args, trainer.model)
        stand_in = torch.optim.SGD([torch.zeros(1, device="cpu")], lr=1.0)
        get_scheduler(args.lr_scheduler_type, stand_in, args.get_warmup_steps(10), 10, kwargs)
    except RobustTicketsError:
        raise
    # What a wrong option raises is the library's choice: TypeError, ValueError, KeyError, ImportError.
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        given = {"optim": str(args.optim), "lr_scheduler_type": str(args.lr_scheduler_type)}
        given["lr_scheduler_kwargs"] = kwargs
        raise ConfigurationError(
            "expected an optimiser and a schedule that can be made, got "
            f"{', '.join(f'{name}={value!r}' for name, value in given.items())} ({type(error).__name__}: {reason}): "
            "correct them"
        ) from error


def check_callbacks(trainer: Trainer) -> None:
    """Lets callbacks that see the fine-tuning alone check what they will need there (`check_before`)."""
    for callback in trainer.callback_handler.callbacks:
        check = getattr(callback, "check_before", None)
        if check is not None:
            check(trainer)
