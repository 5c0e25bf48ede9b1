"""What a way of searching adds to the Trainer's loop, whatever its score."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler
from transformers import Trainer, TrainerCallback, TrainingArguments

from ...adversaries import Adversary
from ..arguments import AdversaryOptions
from ..callbacks.tickets import TicketCallback
from ..steps.base import AdversarialStep
from ..steps.runner import PenaltyTerm
from ..ticket_arguments import TicketOptions


class SearchMethod(ABC):
    """One search: its callback, its optimiser, and which steps are attacked.

    Args:
        trainer: Whose loop it runs in.
        options: Those of the job.
        adversary: Those of the search's adversary.

    Attributes:
        decisive: Options that decide which ticket is found.
    """

    decisive: ClassVar[tuple[str, ...]] = ()

    def __init__(self, trainer: Trainer, options: TicketOptions, adversary: AdversaryOptions) -> None:
        self.trainer = trainer
        self.options = options
        self.adversary = adversary

    @property
    @abstractmethod
    def callbacks(self) -> list[TrainerCallback]:
        """New callbacks of the search, one of which is a `TicketCallback`."""

    @property
    def callback(self) -> TicketCallback:
        """The one that draws tickets, while the search runs; a new object where the Trainer has restored it."""
        return next(c for c in self.trainer.callback_handler.callbacks if isinstance(c, TicketCallback))

    @property
    def terms(self) -> list[PenaltyTerm]:
        """Penalties in the loss."""
        return []

    @abstractmethod
    def set_arguments(self, search: TrainingArguments) -> None:
        """Sets the length of the search and its schedule in arguments that are the search's own."""

    def attach(self, model: nn.Module) -> None:
        """Adds to a model with gates what else the search needs there."""
        return None

    @abstractmethod
    def create_optimizer(self, model: nn.Module, create: Callable[[], torch.optim.Optimizer]) -> torch.optim.Optimizer:
        """The optimiser of the search.

        Args:
            model: The model with gates.
            create: Makes the optimiser of all parameters that require a gradient.
        """

    def adapt_scheduler(self, scheduler: LRScheduler) -> None:
        """Changes what the scheduler does to the gates."""
        return None

    @classmethod
    def uses_adversary(cls, options: TicketOptions) -> bool:
        """Whether a search with these options attacks at all."""
        return True

    def build_adversary(self) -> Adversary | None:
        """The adversary of the search; `None` where it has none."""
        return self.adversary.build_adversary() if self.uses_adversary(self.options) else None

    def build_step(self) -> AdversarialStep | None:
        """The attacked step of the search where it is not the adversary's own."""
        return None

    def attacks(self, on_turn: bool) -> bool:
        """Whether the present step is attacked, given that it would be in a training with this adversary."""
        return on_turn

    @contextmanager
    def around_step(self, model: nn.Module) -> Iterator[None]:
        """Surrounds the passes over a micro-batch."""
        yield

    def count_flops(self, flops: float) -> float:
        """Theoretical operations of the present micro-batch, given those of a training with this adversary."""
        return flops

    @abstractmethod
    def announcement(self, training: str, length: str) -> str:
        """The search in a line; the kind of training and the length of its budget in words."""

    def rule(self, settled: str) -> str:
        """When the search stops, in words: where it has settled, unless a step was asked for."""
        at_step = self.options.ticket_at_step
        return f"until step {at_step}, as asked" if at_step > 0 else settled

    @abstractmethod
    def report(self) -> None:
        """Warns of what the user should know of a search that is over, while the gates are still there."""


def ticket_drawing(options: TicketOptions) -> Mapping[str, Any]:
    """The options of the draw, as callbacks take them."""
    names = ("head_sparsity", "neuron_sparsity", "head_scope", "neuron_scope", "round_to", "keep_one")
    return {name: getattr(options, name) for name in names} | {
        "tolerance": options.ticket_tolerance,
        "at_step": options.ticket_at_step,
    }


def gate_group(parameters: list[torch.Tensor], create: Callable[[], torch.optim.Optimizer], **group: Any) -> Any:
    """An optimiser with the gates in a group of their own.

    Args:
        parameters: The gates.
        create: Makes the optimiser of all other parameters: of those that require a gradient.
        **group: Settings of the gates' group.
    """
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        optimizer = create()
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
    optimizer.add_param_group({"params": parameters, **group})
    return optimizer
