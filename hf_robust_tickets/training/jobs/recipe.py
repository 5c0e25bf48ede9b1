"""What a fine-tuning is attacked with where nobody has said: the recipe of the evidence, where it fits."""

from __future__ import annotations

import math

from transformers import Trainer

from ...errors import ConfigurationError
from ..arguments import AdversaryOptions
from ..checks.validation import check_adversary
from ..ticket_arguments import AUTO, TicketOptions
from . import console
from .budget import steps_of_epoch

START = 1 / 3
"""Share of the training before the attack: a model must have learnt before it is attacked so strongly."""

LEAST_STEPS = 570
"""Of a fine-tuning. In the evidence 195 of 585 steps come before the attack; what has learnt little after a third of a
training is attacked little (`HotFlip.adaptive`), and pays for two passes all the same."""


def recipe() -> AdversaryOptions:
    """From the second third on, a step trains on its batch, and on it with a few tokens exchanged and all moved.

    Chosen on development data of SST-2 (docs/results.md), by an attack that sees labels alone before all others: what
    those say of a model that was trained by gradients may be that its scores lead them astray.
    """
    return AdversaryOptions(
        adversary="hotflip",
        adversary_step_size=0.12,
        adversary_start_step=START,
        adversary_kwargs={"rate": 0.05},
    )


def finetune_options(trainer: Trainer, options: TicketOptions) -> AdversaryOptions:
    """The adversary of a job's fine-tuning, and how it is used.

    `"auto"` is `HotFlip` from the second third of the training on, for a classifier of whole texts whose trainer has
    the tokenizer and which trains long enough; another is fine-tuned plainly, and the console says why.

    Args:
        trainer: The trainer, with its model.
        options: Those of the job.
    """
    if options.finetune_adversary != AUTO:
        return options.finetune_adversary_options()
    found = recipe()
    if trainer.model is None:
        # Between two trials of a hyper-parameter search: asked again when there is one.
        return AdversaryOptions(adversary=None)
    if (reason := _obstacle(trainer, found)) is None:
        return found
    console.say(trainer, f"the fine-tuning will be a plain one: {reason}")
    return AdversaryOptions(adversary=None)


def _obstacle(trainer: Trainer, recipe: AdversaryOptions) -> str | None:
    """Why a training cannot have the recipe; None where it can."""
    kind = type(trainer.accelerator.unwrap_model(trainer.model)).__name__
    if "SequenceClassification" not in kind:
        return f"the default recipe was measured on classifiers of whole texts, got {kind}; name finetune_adversary"
    steps = _steps_of(trainer)
    if steps is not None and steps < LEAST_STEPS:
        return (
            f"the default recipe begins its attack after a third of the steps and needs {LEAST_STEPS} in all, got "
            f"{steps}; train longer, or name finetune_adversary"
        )
    try:
        check_adversary(trainer, recipe.build_adversary(), recipe)
    except ConfigurationError as error:
        return str(error)
    return None


def _steps_of(trainer: Trainer) -> int | None:
    """Optimiser steps of the fine-tuning; None where they cannot be told in advance."""
    if trainer.args.max_steps > 0:
        return trainer.args.max_steps
    epoch = steps_of_epoch(trainer)
    return None if epoch is None else math.ceil(epoch * trainer.args.num_train_epochs)
