"""Jobs of two phases: a search in a folder of its own, and the training that goes on with what it found."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed
from transformers.trainer_utils import IntervalStrategy

from ...adversaries import Adversary
from ..arguments import AdversaryOptions
from ..finetuning.options import switch_off

if TYPE_CHECKING:
    from ..trainer import AdversarialTrainer


def search_arguments(args: TrainingArguments, folder: Path) -> TrainingArguments:
    """The arguments of a training, for a search beside it: a folder of its own, no evaluation, no upload, no teacher.

    Args:
        args: Those of the training that goes on with what is found.
        folder: Where the search saves.
    """
    search = copy.copy(args)
    search.output_dir = folder.as_posix()
    search.eval_strategy = IntervalStrategy.NO
    search.eval_on_start = False
    search.load_best_model_at_end = False
    search.push_to_hub = False
    search.save_total_limit = 1
    switch_off(search)
    # What trackers call their run: the search's is one of its own.
    search.run_name = f"{args.run_name or Path(args.output_dir).name}-search"
    return search


def own_callbacks(trainer: Trainer, given: Sequence[Any] | None) -> list[TrainerCallback]:
    """The callbacks of the Trainer itself, such as progress and trackers: all but those that were given to it."""
    given = given or ()
    return [c for c in trainer.callback_handler.callbacks if c not in given and type(c) not in given]


@contextmanager
def phase(
    trainer: AdversarialTrainer,
    args: TrainingArguments,
    callbacks: list[TrainerCallback],
    adversary: Adversary | None,
    options: AdversaryOptions,
) -> Iterator[None]:
    """While it lasts, a trainer is that of another training; afterwards it has what was its own.

    Args:
        trainer: Its `train` may be called inside.
        args: The arguments of the phase.
        callbacks: All of its callbacks.
        adversary: The adversary of the phase.
        options: How that is used.
    """
    own = trainer.args, trainer.callback_handler.callbacks, trainer.adversary, trainer.adversary_options
    try:
        trainer.args, trainer.callback_handler.callbacks = args, callbacks
        trainer._set_adversary(adversary, options)
        yield
    finally:
        trainer.args, trainer.callback_handler.callbacks, *before = own
        trainer._set_adversary(*before)


def begin_next_phase(trainer: AdversarialTrainer) -> None:
    """Lets a trainer train its present model anew: fresh optimiser, schedule and wrappers, and the seed.

    A job that is resumed between its phases draws the random numbers that one without interruption draws.
    """
    trainer.model_wrapped = trainer.model
    trainer.optimizer, trainer.lr_scheduler, trainer._created_lr_scheduler = None, None, False
    set_seed(trainer.args.seed)


@contextmanager
def without_model_init(trainer: AdversarialTrainer) -> Iterator[None]:
    """Hides `model_init`: `Trainer.train` would make the model anew, dense, at the start of each phase."""
    model_init, trainer.model_init = trainer.model_init, None
    try:
        yield
    finally:
        trainer.model_init = model_init


def remake_model(trainer: AdversarialTrainer, trial: Any = None) -> None:
    """Makes the model anew where there is a `model_init`, with the seed: a job begins with it."""
    if trainer.model_init is not None:
        set_seed(trainer.args.seed)
        trainer.model = trainer.call_model_init(trial)
        trainer._move_model_to_device(trainer.model, trainer.args.device)
        trainer.model_wrapped = trainer.model
