"""What a model card says of the options of a training beside its adversary."""

from __future__ import annotations

from typing import Any

from transformers import Trainer

from ..callbacks.averaging import WeightAveragingCallback
from .options import SEARCHED, option_of


def finetuning_facts(trainer: Trainer) -> dict[str, Any]:
    """The options that are on, by name, as JSON scalars."""
    args, found = trainer.args, {}
    if option_of(args, "freeze_embeddings"):
        found["freeze_embeddings"] = True
    callbacks = [c for c in trainer.callback_handler.callbacks if isinstance(c, WeightAveragingCallback)]
    start = option_of(args, "average_weights_from")
    if callbacks or start is not None:
        every, decay = option_of(args, "average_weights_every"), option_of(args, "average_weights_decay")
        average = callbacks[0] if callbacks else WeightAveragingCallback(start, every, decay)
        found |= {"average_weights_from": average.start, "average_weights_every": average.every}
        found |= {} if average.decay is None else {"average_weights_decay": average.decay}
    teacher = getattr(trainer, "teacher", None)
    if teacher is not None:
        # Not its folder, which is of one machine.
        kind = "the searched model" if option_of(args, "distillation_teacher") == SEARCHED else type(teacher).__name__
        size = f"{kind} of {teacher.num_parameters():,} parameters"
        names = ("distillation_weight", "distillation_temperature")
        found |= {"distillation_teacher": size, **{name: option_of(args, name) for name in names}}
    return found


def choice_facts(trainer: Trainer) -> dict[str, Any] | None:
    """What `load_best_model_at_end` went by; None where the last weights are kept."""
    args, state = trainer.args, trainer.state
    if not args.load_best_model_at_end or state.best_metric is None or state.best_model_checkpoint is None:
        return None
    return {
        "metric": args.metric_for_best_model,
        "greater_is_better": bool(args.greater_is_better),
        "value": state.best_metric,
        "step": state.best_global_step,
    }
