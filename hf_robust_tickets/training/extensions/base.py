"""What a method may need beside delta, and when it is asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn
from transformers import Trainer

from ...adversaries import Adversary
from ...errors import ConfigurationError, UnknownNameError

if TYPE_CHECKING:
    from ..arguments import AdversaryOptions
    from ..steps.context import StepContext
    from ..steps.runner import StepRunner


class Extension:
    """Something a method needs of whoever trains with it: parts of the model, averaged weights, ascents of its own.

    An `Adversary` names its extensions (`Adversary.extensions`); `register_extension` makes one of your own known.
    One object lives as long as a training with one method. Every hook does nothing by default.

    Args:
        runner: Runs passes, and knows the trainer.
        options: How the method is used.
    """

    counts_layers: ClassVar[bool] = False
    """Whether `extra_cost` depends on the number of layers: the family of the model must be known."""

    def __init__(self, runner: StepRunner, options: AdversaryOptions) -> None:
        self.runner = runner
        self.options = options

    @classmethod
    def validate(cls, trainer: Trainer, adversary: Adversary, options: AdversaryOptions) -> None:
        """Raises ConfigurationError where the extension cannot be right; called before training."""

    @classmethod
    def extra_cost(cls, adversary: Adversary, num_layers: int) -> float:
        """Theoretical cost that `Adversary.cost` does not hold, in units of a plain step.

        Args:
            adversary: The method.
            num_layers: Layers of the model.
        """
        return 0.0

    @classmethod
    def uncached_cost(cls, adversary: Adversary) -> float:
        """The part of `Adversary.cost` that runs through all layers, whatever is cached."""
        return 0.0

    def begin_training(self) -> None:
        """The model of the training is made, and its optimiser is not yet."""

    def end_training(self) -> None:
        """Leaves the model as it was."""

    def begin_batch(self, context: StepContext) -> None:
        """Before the first pass over a micro-batch."""

    def end_batch(self, context: StepContext) -> None:
        """After the last pass over a micro-batch, whether it went well or not."""

    @contextmanager
    def around_train_pass(self, context: StepContext) -> Iterator[None]:
        """While it lasts, a pass that trains the weights runs, forward and backward."""
        yield

    def loss(
        self, context: StepContext, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any
    ) -> Tensor | None:
        """The loss of a perturbed pass that trains the weights, in place of the task's; `None` for the task's."""
        return None

    def penalty(self, context: StepContext, clean: list[Tensor]) -> Tensor | None:
        """For regularised steps: a term beside the penalty, given the logits of the clean pass; `None` for none."""
        return None

    def before_ascent(self, context: StepContext) -> None:
        """Before an ascent that another pass follows: delta has its gradient, and the inputs may be replaced."""

    def after_ascent(self, context: StepContext) -> None:
        """After an ascent that another pass follows."""

    def save(self, folder: Path) -> None:
        """Writes what a checkpoint needs of it."""

    def load(self, folder: Path) -> None:
        """Takes that back."""

    def forget(self) -> None:
        """Drops what steps have left: a training begins."""


_EXTENSIONS: dict[str, type[Extension]] = {}


def register_extension(name: str, extension: type[Extension]) -> None:
    """Makes an extension available to the adversaries that name it.

    Raises:
        ConfigurationError: If the name is taken by another class.
    """
    if _EXTENSIONS.get(name, extension) is not extension:
        raise ConfigurationError(f"the extension {name!r} is registered already: choose another name")
    _EXTENSIONS[name] = extension


def get_extension(name: str) -> type[Extension]:
    """The class of that name.

    Raises:
        UnknownNameError: If there is none.
    """
    if name not in _EXTENSIONS:
        raise UnknownNameError(
            f"unknown extension {name!r}: expected one of {', '.join(sorted(_EXTENSIONS))}, or add yours with "
            "register_extension"
        )
    return _EXTENSIONS[name]
