"""How accurate a model is under attack, on the batches it trains on and on a development split."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...adversaries import Adversary, PerturbationHook
from ...adversaries.attack_loop import IGNORED_LABEL, is_right
from ...errors import ConfigurationError
from ...sparse import RobustRecord
from ..callbacks.robust_accuracy import robust_accuracy_and_loss
from .ranks import sum_over_ranks

logger = logging.getLogger(__name__)


def may_decide(dataloader: Any, metrics: Mapping[str, float] | None) -> bool:
    """Whether an evaluation may decide about a training: not one of a test split.

    Args:
        dataloader: What was evaluated on; a data set of `datasets` says which split it is.
        metrics: What came out; their prefix tells the name of one data set among several.

    Raises:
        ConfigurationError: If the trainer's one `eval_dataset` is a test split.
    """
    prefix = next((key.removesuffix("_runtime") for key in metrics or {} if key.endswith("_runtime")), "eval")
    split = str(getattr(getattr(dataloader, "dataset", None), "split", None) or "")
    if "test" not in (split.split("[")[0], prefix.removeprefix("eval_")):
        return True
    if prefix == "eval":
        raise ConfigurationError(
            f"density follows the eval_dataset, which must be a development split, got the split {split!r}: hold out "
            "a part of the training set (train_dataset.train_test_split)"
        )
    logger.warning("the evaluation %r is of a test split and decides about nothing", prefix)
    return False


class TrainingAccuracy:
    """Counts right answers of the last forward pass of each micro-batch: the one that the attack ended in.

    Attributes:
        counts: Whether answers count now: not in steps that are not attacked, in a training that attacks others.
        right: Right answers so far, on this rank.
        seen: Answers so far.
    """

    def __init__(self) -> None:
        self.counts = True
        self.right: Tensor | int = 0
        self.seen: Tensor | int = 0
        self._latest: tuple[Tensor, Tensor] | None = None
        self._labels: Tensor | None = None
        self._handle: Any = None

    def watch(self, model: nn.Module) -> None:
        """Looks at every forward pass in train mode from now on."""
        self._handle = model.register_forward_hook(self._hook, with_kwargs=True)

    def leave(self) -> None:
        """Takes the hook away."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def commit(self) -> None:
        """Called when a micro-batch is over: its last pass counts."""
        if self._latest is not None and self.counts:
            self.right, self.seen = self.right + self._latest[0], self.seen + self._latest[1]
        self._latest = self._labels = None

    def _hook(self, model: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        if not (model.training and torch.is_grad_enabled()):
            return
        # The perturbed pass of regularisers has no labels; they are those of the clean pass before it.
        self._labels = kwargs.get("labels", self._labels)
        if self._labels is None or self._labels.is_floating_point():
            return
        logits = output["logits"] if isinstance(output, Mapping) else output[kwargs.get("labels") is not None]
        if logits.shape[:-1] == self._labels.shape:
            counted = self._labels != IGNORED_LABEL
            self._latest = is_right(logits.detach(), self._labels).sum(), counted.sum()

    def state(self) -> list[int]:
        """Counts as JSON."""
        return [int(self.right), int(self.seen)]

    def restart(self, right: int = 0, seen: int = 0) -> None:
        """Counts from here."""
        self.right, self.seen, self._latest = right, seen, None


class RobustHistory:
    """The records that a method with an adaptive density decides on.

    Attributes:
        records: One `RobustRecord` per evaluation, oldest first.
        accuracy: The count on training batches since the last of them.
    """

    def __init__(self) -> None:
        self.records: list[RobustRecord] = []
        self.accuracy = TrainingAccuracy()
        self._attack: tuple[Adversary | None, PerturbationHook | None] = (None, None)

    def measure_under(self, adversary: Adversary | None, injector: PerturbationHook | None) -> None:
        """From now on evaluations are under this attack."""
        self._attack = (adversary, injector)

    def evaluate(self, model: nn.Module, batches: Iterable[dict[str, Any]], step: int, device: torch.device) -> None:
        """Adds a record; all ranks call it, each with its share of the development split.

        Accuracy is that at the end of the ascent (criterion `"last"`), on both sides: a training batch ends there too.
        There is none before the first step under attack: accuracies with and without one make no gap.

        Raises:
            ConfigurationError: If no answers on training batches were seen.
        """
        if step == 0 or (self.records and self.records[-1].step == step):
            return
        if not self.accuracy.counts and not int(self.accuracy.seen):
            logger.info("step %d: no step was attacked since the last record, there is none", step)
            return
        values = [*self.accuracy.state(), *robust_accuracy_and_loss(model, batches, *self._attack)]
        right, seen, validation_right, loss, examples = sum_over_ranks(values, device)
        if seen == 0:
            raise ConfigurationError(
                "expected class labels in the training batches that the model gets, got none: train on class labels, "
                "without label smoothing and compute_loss_func"
            )
        self.records.append(RobustRecord(step, right / seen, validation_right / examples, loss / examples))
        self.accuracy.restart()
        logger.info("%s", self.records[-1])

    def state_dict(self) -> dict[str, Any]:
        """Everything that is recorded, as JSON."""
        return {"records": [list(record) for record in self.records], "accuracy": self.accuracy.state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where another history stopped."""
        self.records = [RobustRecord(*record) for record in state["records"]]
        self.accuracy.restart(*state["accuracy"])
