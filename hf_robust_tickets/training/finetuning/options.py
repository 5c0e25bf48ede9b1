"""The options of a training beside its adversary."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

from ..._arguments import check_fields
from ...errors import ConfigurationError

SEARCHED = "searched"
"""The teacher that a ticket job makes itself: the dense model as its search has left it."""


@dataclass
class FineTuningOptions:
    """A teacher, frozen embeddings, averaged weights; in a ticket job, of the fine-tuning alone.

    Attributes:
        freeze_embeddings: Word embeddings (`get_input_embeddings()`) do not train; the optimiser does not hold them.
            With tied embeddings, the head does not train either.
        average_weights_from: Step, or below 1 fraction of training, from which the weights are averaged; the model has
            the average when training ends (`WeightAveragingCallback`). `None`: not at all.
        average_weights_every: Steps between two weights of the average.
        average_weights_decay: Decay of an exponential moving average, in (0, 1); `None` for the mean (SWA).
        distillation_teacher: Folder or repository of the teacher; in a ticket job also `"searched"`, the dense model
            as the search has left it. `None`: that of the trainer's `teacher=`, if any.
        distillation_weight: Share of the teacher in the loss, in (0, 1].
        distillation_temperature: Both models' logits are divided by it.
    """

    freeze_embeddings: bool = field(default=False, metadata={"help": "Word embeddings do not train."})
    average_weights_from: float | None = field(
        default=None, metadata={"help": "Average the weights from this step (or fraction) on."}
    )
    average_weights_every: int = field(default=10, metadata={"help": "Steps between two weights of the average."})
    average_weights_decay: float | None = field(
        default=None, metadata={"help": "Decay of a moving average; default: the mean."}
    )
    distillation_teacher: str | None = field(
        default=None, metadata={"help": "Folder or repository, or `searched`: the searched model."}
    )
    distillation_weight: float = field(default=0.5, metadata={"help": "Share of the teacher in the loss."})
    distillation_temperature: float = field(default=2.0, metadata={"help": "Divides the logits of both models."})

    def _check_finetuning(self) -> None:
        check_fields(self, FineTuningOptions)
        check_averaging_options(self.average_weights_from, self.average_weights_every, self.average_weights_decay)
        check_distillation_options(self.distillation_weight, self.distillation_temperature)
        if self.average_weights_from is not None and getattr(self, "load_best_model_at_end", False):
            raise ConfigurationError(
                "a training ends with the average of its weights or with its best checkpoint, got "
                "load_best_model_at_end=True and average_weights_from: leave one out"
            )


def option_of(args: Any, name: str) -> Any:
    """An option of a training; plain `TrainingArguments` have the defaults."""
    return getattr(args, name, FineTuningOptions.__dataclass_fields__[name].default)


def switch_off(args: Any) -> None:
    """Leaves a training none of these options, and no share to the teacher of its trainer: it is a search."""
    for option in fields(FineTuningOptions):
        setattr(args, option.name, option.default)
    args.distillation_weight = 0.0


def check_averaging_options(start: float | None, every: int, decay: float | None) -> None:
    """Raises ConfigurationError for what cannot be averaged by."""
    if start is not None and (not 0 <= start < math.inf or (start > 1 and start != int(start))):
        raise ConfigurationError(
            f"averaging starts at a step, or at a fraction of training below 1, got {start}: pass e.g. 100 or 0.5"
        )
    if not isinstance(every, int) or every < 1:
        raise ConfigurationError(f"weights are averaged every n-th step, n at least 1, got {every!r}: e.g. 10")
    if decay is not None and not 0 < decay < 1:
        raise ConfigurationError(f"the decay of a moving average is in (0, 1), got {decay}: e.g. 0.99, or None")


def check_distillation_options(weight: float, temperature: float) -> None:
    """Raises ConfigurationError for what cannot be distilled with."""
    if not 0 < weight <= 1:
        raise ConfigurationError(
            f"distillation_weight is the teacher's share of the loss, in (0, 1], got {weight}: e.g. 0.5"
        )
    if not 0 < temperature < math.inf:
        raise ConfigurationError(f"distillation_temperature must be positive, got {temperature}: e.g. 2")
