"""Accuracy under attack while a model trains: what the callbacks and the records of adaptive densities measure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from transformers import TrainingArguments

from ..._random_numbers import kept_random_numbers
from ...adversaries import Adversary, PerturbationHook, PixelHook, PixelSpace
from ...adversaries.attack_loop import IGNORED_LABEL, is_right, label_losses, run_attack
from ...architectures import layer_module
from ...errors import ConfigurationError, DataError
from ...evaluation.victim.classifier import class_logits
from ...evaluation.victim.model import require_right_padding
from ...evaluation.white_box.perturbed_model import PerturbedBatch
from ..sparse.ranks import sum_over_ranks


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
        injector = PerturbationHook(layer_module(model, 0))
    try:
        yield own, injector
    finally:
        injector.remove()


class SplitBatches:
    """This process's share of a split, in batches on the device."""

    def __init__(
        self, model: nn.Module, dataset: Any, batch_size: int, collator: Any, args: TrainingArguments
    ) -> None:
        require_right_padding(model, collator)
        share = Subset(dataset, range(args.process_index, len(dataset), args.world_size))
        self._loader = DataLoader(share, batch_size=batch_size, collate_fn=collator)
        self._device = args.device

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self._loader:
            if "labels" not in batch:
                raise DataError(f"expected class labels in a column `label` or `labels`, got {sorted(batch)}")
            yield {name: value.to(self._device) for name, value in batch.items() if torch.is_tensor(value)}


def accuracy_of(
    model: nn.Module,
    batches: Any,
    adversary: Adversary | None,
    injector: Any,
    device: torch.device,
    criterion: str = "last",
) -> float:
    """Accuracy of all processes together, in [0, 1]; arguments as for `robust_accuracy_and_loss`."""
    right, _, seen = robust_accuracy_and_loss(model, batches, adversary, injector, criterion)
    right, seen = sum_over_ranks([right, seen], device)
    if seen == 0:
        raise DataError("expected examples in every split, got an empty one")
    return right / seen


def robust_accuracy_and_loss(
    model: nn.Module,
    batches: Iterable[dict[str, Any]],
    adversary: Adversary | None,
    injector: PerturbationHook | PixelHook | None,
    criterion: str = "last",
) -> tuple[float, float, float]:
    """Attacks a classifier in evaluation mode; the random numbers of the training are left as they are.

    Args:
        model: The model, not wrapped; it gives `logits`.
        batches: Model inputs with `labels`, on the model's device.
        adversary: The attack; None for the clean input.
        injector: The hook that adds its perturbation.
        criterion: As in `run_attack`.

    Returns:
        Right answers under attack, the sum of the losses (cross-entropies), and the number of labels.

    Raises:
        DataError: If a batch has no class labels.
    """
    sums: list[tuple[Tensor, Tensor, Tensor]] = []
    training = model.training
    device = next(model.parameters()).device
    try:
        model.eval()
        with kept_random_numbers(device):
            torch.manual_seed(0)
            for number, batch in enumerate(batches):
                inputs = dict(batch)
                labels = inputs.pop("labels", None)
                if labels is None or labels.is_floating_point():
                    raise DataError(
                        "the development split has no class labels: expected a column `labels` of integers"
                    )
                if number == 0 and isinstance(injector, PixelHook):
                    injector.box.check(inputs["pixel_values"])
                verdict, losses = _judge(model, inputs, labels, adversary, injector, criterion)
                sums.append((verdict.sum(), losses.sum(), (labels != IGNORED_LABEL).sum()))
    finally:
        model.train(training)
    if not sums:
        return 0.0, 0.0, 0.0
    # Read after the last batch: each number makes the host wait for the device.
    right, loss, seen = (float(sum(torch.stack(each).tolist())) for each in zip(*sums, strict=True))
    return right, loss, seen


def _judge(
    model: nn.Module,
    inputs: dict[str, Any],
    labels: Tensor,
    adversary: Adversary | None,
    injector: PerturbationHook | PixelHook | None,
    criterion: str,
) -> tuple[Tensor, Tensor]:
    """Which labels of one batch are predicted under attack, and the loss of each."""
    if adversary is None:
        with torch.no_grad():
            logits = class_logits(model(**inputs)).float()
        return is_right(logits, labels), label_losses(logits, labels)
    if injector is None:
        raise ConfigurationError("an attack needs the hook that adds its perturbation, got none: pass an injector")
    outcome = run_attack(PerturbedBatch.of_training(model, injector, inputs, labels), adversary, criterion)
    return outcome.right, outcome.loss
