"""Standard and robust accuracy at the end of every epoch: the curves of robust overfitting."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils import extract_model_from_parallel
from torch import nn
from torch.utils.data import DataLoader, Subset
from transformers import TrainerControl, TrainerState, TrainingArguments, default_data_collator

from ...adversaries import Adversary, PerturbationHook, PixelHook, PixelSpace
from ...errors import ConfigurationError, DataError
from ...reporting.overfitting import AccuracyRecord
from ..sparse.ranks import sum_over_ranks
from ..sparse.records import robust_accuracy_and_loss
from .base import AttackCallback, StatefulCallback

logger = logging.getLogger(__name__)


class RobustAccuracyCallback(StatefulCallback, AttackCallback):
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

    Attributes:
        records: One `AccuracyRecord` per measurement, oldest first.

    Raises:
        ConfigurationError: If an argument cannot work.

    Example:
        >>> watch = RobustAccuracyCallback({"train": sample, "validation": development, "test": test})
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
    ) -> None:
        if not splits:
            raise ConfigurationError('expected at least one split, got none: pass {"validation": dataset}')
        if every < 1 or (batch_size is not None and batch_size < 1):
            raise ConfigurationError(f"expected every >= 1 and batch_size >= 1, got {every} and {batch_size}")
        self._splits = dict(splits)
        self._own_adversary = adversary
        self._every = every
        self._batch_size = batch_size
        self._collator = data_collator
        self._met: tuple[Adversary | None, Any] = (None, None)
        self.reset()

    def reset(self) -> None:
        """Forgets all records."""
        self.records: list[AccuracyRecord] = []

    def circumstances(self) -> dict[str, Any]:
        """Splits, with their sizes, and attack."""
        own = self._own_adversary
        sizes = {name: len(dataset) for name, dataset in self._splits.items()}
        return {"splits": sizes, "adversary": own and own.describe(), "every": self._every}

    def meet_adversary(self, adversary: Adversary, hook: PerturbationHook, *, attacks: bool) -> None:
        """Told by an `AdversarialTrainer`: the attack it trains with, and the hook that adds its perturbation."""
        self._met = (adversary, hook)

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Takes the records of the checkpoint back."""
        self.restore(state)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measures, where it is time; before the checkpoint of the epoch is written."""
        if round(state.epoch) % self._every == 0 or state.global_step >= state.max_steps:
            self._measure(args, state, **kwargs)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Measures the end of a training that stopped within an epoch; lets go of the trainer's hook."""
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
                    dataset,
                    self._batch_size or args.per_device_eval_batch_size,
                    self._collator or getattr(loader, "collate_fn", None) or default_data_collator,
                    args,
                )
                standard[name] = accuracy_of(bare, batches, None, None, args.device)
                robust[name] = accuracy_of(bare, batches, adversary, injector, args.device)
        record = AccuracyRecord(state.global_step, float(state.epoch or 0.0), standard, robust)
        self.records.append(record)
        logger.info("%s", record)

    @property
    def progress(self) -> list[dict[str, Any]]:
        """The records, as JSON."""
        return [record.to_dict() for record in self.records]

    @progress.setter
    def progress(self, value: list[dict[str, Any]]) -> None:
        self.records = [AccuracyRecord(**record) for record in value]


@contextmanager
def attack_on(
    model: nn.Module, own: Adversary | None, met: tuple[Adversary | None, Any], processor: Any
) -> Iterator[tuple[Adversary, Any]]:
    """An attack and the hook that adds its perturbation.

    Args:
        model: The model, not wrapped.
        own: The attack to use; None for that of the training.
        met: Attack and hook of the training.
        processor: The trainer's processing class, for the constants of pixels.

    Raises:
        ConfigurationError: If there is no attack.
    """
    if own is None:
        if met[0] is None:
            raise ConfigurationError("expected an adversary, got none and a training without one: pass adversary=")
        yield met
        return
    if isinstance(own, PixelSpace):
        injector: Any = PixelHook(model, own.with_processor(processor).box)
    else:
        injector = PerturbationHook(model.get_input_embeddings())
    try:
        yield own, injector
    finally:
        injector.remove()


class SplitBatches:
    """This process's share of a split, in batches on the device."""

    def __init__(self, dataset: Any, batch_size: int, collator: Any, args: TrainingArguments) -> None:
        share = Subset(dataset, range(args.process_index, len(dataset), args.world_size))
        self._loader = DataLoader(share, batch_size=batch_size, collate_fn=collator)
        self._device = args.device

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self._loader:
            if "labels" not in batch:
                raise DataError(f"expected class labels in a column `label` or `labels`, got {sorted(batch)}")
            yield {name: value.to(self._device) for name, value in batch.items() if torch.is_tensor(value)}


def accuracy_of(
    model: nn.Module, batches: Any, adversary: Adversary | None, injector: Any, device: torch.device
) -> float:
    """Accuracy of all processes together, in [0, 1]; arguments as for `robust_accuracy_and_loss`."""
    right, _, seen = robust_accuracy_and_loss(model, batches, adversary, injector)
    right, seen = sum_over_ranks([right, seen], device)
    if seen == 0:
        raise DataError("expected examples in every split, got an empty one")
    return right / seen
