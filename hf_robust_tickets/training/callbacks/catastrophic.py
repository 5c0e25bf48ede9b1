"""The check for catastrophic overfitting: robust against one step, and against nothing else."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from accelerate.utils import extract_model_from_parallel
from transformers import Trainer, TrainerControl, TrainerState, TrainingArguments, default_data_collator

from ...adversaries import PGD, Adversary, PerturbationHook, PixelPGD, PixelSpace
from ...adversaries.attack_loop import check_criterion
from ...errors import ConfigurationError
from ..checks.late import check_labels_fit
from .base import AttackCallback, StatefulCallback
from .robust_accuracy import SplitBatches, accuracy_of, attack_on

logger = logging.getLogger(__name__)

_PGD_PASSES = 11
# Of the radius: ten steps of a quarter reach every corner of the ball.
_PGD_STEP = 0.25


class CatastrophicOverfittingCallback(StatefulCallback, AttackCallback):
    """Warns, or stops training, when accuracy under PGD collapses while accuracy under one step rises.

    Training on one step (`PixelFast`, `FGSM`) can fail within an epoch: the model learns to be right at the end of
    that step alone. Wong, Rice and Kolter, "Fast is better than free", ICLR 2020, section 5.4, stop when accuracy
    under PGD on a batch falls by more than 0.2 from one epoch to the next (their code). Here it is compared with the
    best so far, and accuracy under one step to the edge of the ball must not have fallen: else the model is just
    worse.

    Both attacks have the radius, norm and pixel constants of the attack that is trained with.

    Args:
        dataset: Held-out examples with class labels, a batch or a few.
        adversary: The attack whose ball is meant; None for the one that the trainer trains with.
        drop: By how much accuracy under PGD must have fallen, as a fraction of 1.
        every_steps: Steps between two checks; None for one at the end of every epoch.
        stop: Stop training, rather than warn.
        batch_size: Examples per pass; None for that of evaluation.
        data_collator: Makes batches; None for that of the training data.
        criterion: When an example counts as robust: `"last"`, right at the end of the ascent; `"any"`, right at every
            point that the ascent visits.

    Attributes:
        records: One dict per check: `step`, `epoch`, `pgd` and `single_step` (accuracies), `collapsed`, `criterion`.

    Raises:
        ConfigurationError: If an argument cannot work.

    Example:
        >>> watch = CatastrophicOverfittingCallback(development.select(range(128)), stop=True)
        >>> AdversarialTrainer(model, args, adversary=PixelFast(), callbacks=[watch], ...).train()
    """

    def __init__(
        self,
        dataset: Any,
        adversary: Adversary | None = None,
        drop: float = 0.2,
        every_steps: int | None = None,
        stop: bool = False,
        batch_size: int | None = None,
        data_collator: Any = None,
        criterion: str = "last",
    ) -> None:
        check_criterion(criterion)
        if not 0 < drop < 1 or (every_steps is not None and every_steps < 1):
            raise ConfigurationError(f"expected drop in (0, 1) and every_steps >= 1, got {drop} and {every_steps}")
        if len(dataset) == 0:
            raise ConfigurationError("expected held-out examples, got an empty data set")
        if adversary is not None:
            _ascents(adversary)
        self._dataset = dataset
        self._adversary = adversary
        self._drop = drop
        self._every_steps = every_steps
        self._stop = stop
        self._batch_size = batch_size
        self._collator = data_collator
        self._criterion = criterion
        self._met: tuple[Adversary | None, Any] = (None, None)
        self.reset()

    def reset(self) -> None:
        """Forgets all records."""
        self.records: list[dict[str, Any]] = []

    def circumstances(self) -> dict[str, Any]:
        """Number of examples, attack and criterion."""
        own = self._adversary
        examples = {"examples": len(self._dataset), "adversary": own and own.describe()}
        return examples | {"criterion": self._criterion}

    @property
    def collapsed(self) -> bool:
        """Whether a check has found catastrophic overfitting."""
        return any(record["collapsed"] for record in self.records)

    def meet_adversary(self, adversary: Adversary, hook: PerturbationHook, *, attacks: bool) -> None:
        """Told by an `AdversarialTrainer`: the attack it trains with, and the hook that adds its perturbation."""
        self._met = (adversary, hook)

    def check_before(self, trainer: Trainer) -> None:
        """Asked before the search of a job, whose fine-tuning alone the callback sees.

        Raises:
            DataError: If a label of the held-out examples is no class of the model; it names the row.
        """
        check_labels_fit(self._dataset, trainer.accelerator.unwrap_model(trainer.model), "the held-out examples")

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Checks the examples before the first step, and takes the records of the checkpoint back."""
        check_labels_fit(self._dataset, extract_model_from_parallel(kwargs["model"]), "the held-out examples")
        self.restore(state)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Checks, where steps are counted."""
        if self._every_steps is not None and state.global_step % self._every_steps == 0:
            self._check(args, state, control, **kwargs)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Checks, where epochs are counted."""
        if self._every_steps is None:
            self._check(args, state, control, **kwargs)

    def on_train_end(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Forgets the trainer's hook."""
        self._met = (None, None)

    def _check(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any, **kwargs: Any
    ) -> None:
        bare = extract_model_from_parallel(model)
        collator = self._collator or getattr(kwargs.get("train_dataloader"), "collate_fn", None)
        batches = SplitBatches(
            bare,
            self._dataset,
            self._batch_size or args.per_device_eval_batch_size,
            collator or default_data_collator,
            args,
        )
        with attack_on(bare, self._adversary, self._met, kwargs.get("processing_class")) as (adversary, injector):
            many, one = _ascents(adversary)
            pgd = accuracy_of(bare, batches, many, injector, args.device, self._criterion)
            single = accuracy_of(bare, batches, one, injector, args.device, self._criterion)
        self._note(pgd, single, state, control)

    def _note(self, pgd: float, single: float, state: TrainerState, control: TrainerControl) -> None:
        best = max(self.records, key=lambda record: record["pgd"], default=None)
        collapsed = best is not None and best["pgd"] - pgd > self._drop and single >= best["single_step"]
        record = {"step": state.global_step, "epoch": state.epoch, "pgd": pgd, "single_step": single}
        self.records.append(record | {"collapsed": collapsed, "criterion": self._criterion})
        if not collapsed:
            return
        logger.warning(
            "catastrophic overfitting at step %d: accuracy under PGD %.3f, at step %d it was %.3f, while that under "
            "one step rose from %.3f to %.3f; go back to that checkpoint, and use PGD, a smaller step or radius",
            *(state.global_step, pgd, best["step"], best["pgd"], best["single_step"], single),
        )
        if self._stop:
            control.should_training_stop = True

    @property
    def progress(self) -> list[dict[str, Any]]:
        """The records, as JSON."""
        return self.records

    @progress.setter
    def progress(self, value: list[dict[str, Any]]) -> None:
        self.records = value


def _ascents(adversary: Adversary) -> tuple[Adversary, Adversary]:
    """PGD-10 from a random start, and one step from the clean input, in the ball of an adversary."""
    radius = adversary.max_norm
    if radius == 0:
        raise ConfigurationError(
            f"expected an adversary with a ball, got {adversary.name} with max_norm=0: pass adversary= to the callback"
        )
    options = {"max_norm": radius, "norm": adversary.norm, "scope": adversary.scope, "step_unit": adversary.step_unit}
    if isinstance(adversary, PixelSpace):
        many: Adversary = PixelPGD(image_mean=adversary.image_mean, image_std=adversary.image_std, **options)
    else:
        many = PGD(**options)
    many = replace(many, steps=_PGD_PASSES, step_size=_PGD_STEP * radius, init_magnitude=radius)
    return many, replace(many, steps=2, step_size=radius, init_magnitude=0.0)
