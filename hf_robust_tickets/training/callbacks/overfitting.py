"""Standard and robust accuracy at the end of every epoch: the curves of robust overfitting."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from accelerate.utils import extract_model_from_parallel
from transformers import Trainer, TrainerControl, TrainerState, TrainingArguments, default_data_collator

from ...adversaries import Adversary, PerturbationHook
from ...adversaries.attack_loop import check_criterion
from ...errors import ConfigurationError, DataError
from ...reporting.overfitting import AccuracyRecord
from ..checks.late import check_labels_fit
from .base import AttackCallback, StatefulCallback
from .robust_accuracy import SplitBatches, accuracy_of, attack_on

logger = logging.getLogger(__name__)


class RobustOverfittingCallback(StatefulCallback, AttackCallback):
    """Measures accuracy with and without attack on several splits, at the end of epochs.

    Records decide about nothing: weights, random numbers and checkpoints of the training are what they are without
    them, so that a test split may be among the splits. They travel in checkpoints. `summarize_overfitting` makes best
    and final accuracy of them, `plot_robust_overfitting` the picture.

    Under several processes each measures its share of every split.

    Args:
        splits: Name (`"train"`, `"validation"`, `"test"`) -> data set with the model's inputs and class labels. For
            training examples a sample of fixed size without augmentation is enough.
        adversary: The attack; None for the one that the trainer trains with. `PixelPGD(steps=21)` is PGD-20.
        every: Epochs between two measurements; the last epoch is always measured.
        batch_size: Examples per pass; None for that of evaluation.
        data_collator: Makes batches; None for that of the training data.
        criterion: When an example counts as robust: `"last"`, right at the end of the ascent, as the papers on robust
            overfitting measure it; `"any"`, right at every point that the ascent visits.

    Attributes:
        records: One `AccuracyRecord` per measurement, oldest first.

    Raises:
        ConfigurationError: If an argument cannot work.

    Example:
        >>> watch = RobustOverfittingCallback({"train": sample, "validation": development, "test": test})
        >>> AdversarialTrainer(model, args, adversary=PixelPGD(), callbacks=[watch], ...).train()
        >>> summarize_overfitting(watch.records).robust_generalization_gap
    """

    def __init__(
        self,
        splits: Mapping[str, Any],
        adversary: Adversary | None = None,
        every: int = 1,
        batch_size: int | None = None,
        data_collator: Any = None,
        criterion: str = "last",
    ) -> None:
        check_criterion(criterion)
        if not splits:
            raise ConfigurationError('expected at least one split, got none: pass {"validation": dataset}')
        if every < 1 or (batch_size is not None and batch_size < 1):
            raise ConfigurationError(f"expected every >= 1 and batch_size >= 1, got {every} and {batch_size}")
        self._splits = dict(splits)
        self._own_adversary = adversary
        self._every = every
        self._batch_size = batch_size
        self._collator = data_collator
        self._criterion = criterion
        self._met: tuple[Adversary | None, Any] = (None, None)
        self.reset()

    def reset(self) -> None:
        """Forgets all records."""
        self.records: list[AccuracyRecord] = []

    def circumstances(self) -> dict[str, Any]:
        """Splits, with their sizes, attack and criterion."""
        own = self._own_adversary
        sizes = {name: len(dataset) for name, dataset in self._splits.items()}
        measured = {"splits": sizes, "adversary": own and own.describe(), "every": self._every}
        return measured | {"criterion": self._criterion}

    def meet_adversary(self, adversary: Adversary, hook: PerturbationHook, *, attacks: bool) -> None:
        """Told by an `AdversarialTrainer`: the attack it trains with, and the hook that adds its perturbation."""
        self._met = (adversary, hook)

    def check_before(self, trainer: Trainer) -> None:
        """Asked before the search of a job, whose fine-tuning alone the callback sees.

        Raises:
            DataError: If a split is empty, or a label in it is no class of the model; it names the row.
        """
        self._check_splits(trainer.accelerator.unwrap_model(trainer.model))

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Checks the splits before the first step, and takes the records of the checkpoint back."""
        self._check_splits(extract_model_from_parallel(kwargs["model"]))
        self.restore(state)

    def _check_splits(self, model: Any) -> None:
        for name, dataset in self._splits.items():
            if len(dataset) == 0:
                raise DataError(f"expected examples in every split, got none in {name!r}: leave it out")
            check_labels_fit(dataset, model, f"the split {name!r}")

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measures, where it is time; before the checkpoint of the epoch is written."""
        if round(state.epoch) % self._every == 0 or state.global_step >= state.max_steps:
            self._measure(args, state, **kwargs)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Measures the end of a training that stopped within an epoch; forgets the trainer's hook."""
        # What load_best_model_at_end has put in place is no longer the model of the last step.
        if not args.load_best_model_at_end:
            self._measure(args, state, **kwargs)
        self._met = (None, None)

    def _measure(self, args: TrainingArguments, state: TrainerState, model: Any, **kwargs: Any) -> None:
        if self.records and self.records[-1].step == state.global_step:
            return
        bare = extract_model_from_parallel(model)
        standard, robust = {}, {}
        loader, processor = kwargs.get("train_dataloader"), kwargs.get("processing_class")
        with attack_on(bare, self._own_adversary, self._met, processor) as (adversary, injector):
            for name, dataset in self._splits.items():
                batches = SplitBatches(
                    bare,
                    dataset,
                    self._batch_size or args.per_device_eval_batch_size,
                    self._collator or getattr(loader, "collate_fn", None) or default_data_collator,
                    args,
                )
                standard[name] = accuracy_of(bare, batches, None, None, args.device)
                robust[name] = accuracy_of(bare, batches, adversary, injector, args.device, self._criterion)
        record = AccuracyRecord(state.global_step, float(state.epoch or 0.0), standard, robust, self._criterion)
        self.records.append(record)
        logger.info("%s", record)

    @property
    def progress(self) -> list[dict[str, Any]]:
        """The records, as JSON."""
        return [record.to_dict() for record in self.records]

    @progress.setter
    def progress(self, value: list[dict[str, Any]]) -> None:
        self.records = [AccuracyRecord(**record) for record in value]
