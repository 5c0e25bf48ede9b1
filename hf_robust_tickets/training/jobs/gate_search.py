"""The search of EarlyRobust: gates that train along with the weights, under attack, and their shadows."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import SchedulerType

from ...errors import ConfigurationError
from ...tickets import (
    Gates,
    Shadows,
    attach_shadows,
    clamp_gates_,
    get_gates,
    get_shadows,
    kinds_cut_near_zero,
)
from ..arguments import AdversaryOptions
from ..callbacks.base import StatefulCallback
from ..callbacks.early_bird import EarlyBirdCallback
from ..steps.runner import PenaltyTerm, bare_optimizer
from ..ticket_arguments import TicketOptions
from .budget import check_ticket_step
from .search_method import SearchMethod, gate_group, ticket_drawing

logger = logging.getLogger(__name__)

_GATES = "robust_gates"


class GateSteps(StatefulCallback):
    """What gates need after a step of the optimiser: a floor at zero, and the same step for their shadows."""

    def __init__(self) -> None:
        self._shadows: Shadows | None = None

    @property
    def progress(self) -> str | None:
        """The shadows, if there are any."""
        return None if self._shadows is None else self._shadows.state()

    @progress.setter
    def progress(self, value: str | None) -> None:
        # Where the Trainer itself restores callbacks, it does so before there is a model: `on_train_begin` does again.
        if self._shadows is not None and value is not None:
            self._shadows.load_state(value)

    def reset(self) -> None:
        """Nothing to forget: shadows are as new as their model."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Finds the shadows, and takes back what a checkpoint keeps of them."""
        self._shadows = get_shadows(kwargs["model"])
        self.restore(state)

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Clamps the gates, and lets the shadows follow noise."""
        gates = get_gates(kwargs["model"])
        clamp_gates_(gates)
        if self._shadows is not None:
            optimizer = kwargs["optimizer"]
            kind = type(bare_optimizer(optimizer))
            self._shadows.step(gates, kind, _settings(optimizer, gates), seed=args.seed, step=state.global_step)


@dataclass(frozen=True)
class GatePenalty:
    """The weighted L1 norms of a model's gates: a term for `StepRunner.terms`.

    Attributes:
        heads: Weight of the sum of the absolute head gates in the loss.
        neurons: The same for the neurons' gates.
    """

    heads: float
    neurons: float

    def __call__(self, model: nn.Module) -> Tensor:
        """The penalty of a model with gates, not wrapped."""
        heads, neurons = get_gates(model).l1()
        return self.heads * heads + self.neurons * neurons


class GateSearch(SearchMethod):
    """Trains gates along with the weights until their ticket stops changing (Xi et al., EMNLP 2022, algorithm 1).

    Gates have their own learning rate (the weights' rate of 2e-5 moves a gate by 2e-4 in a hundred steps), which does
    not decay, no weight decay, and an L1 norm in the loss (equation 5). A gate that reaches zero stays there. With
    `gate_learning_rate=None` they are parameters like all others.
    """

    decisive: ClassVar[tuple[str, ...]] = (
        "search_epochs",
        "search_max_steps",
        "search_learning_rate",
        "search_weight_decay",
        "gate_learning_rate",
        "gate_schedule",
        "gate_l1_heads",
        "gate_l1_neurons",
        "gate_shadow",
        "ticket_interval",
        "ticket_patience",
    )

    def __init__(self, trainer: Trainer, options: TicketOptions, adversary: AdversaryOptions) -> None:
        super().__init__(trainer, options, adversary)
        check_ticket_step(trainer, options)

    @property
    def callbacks(self) -> list[TrainerCallback]:
        """As in `SearchMethod`."""
        attacked = self.build_adversary() is not None
        early_bird = EarlyBirdCallback(
            interval=self.options.ticket_interval,
            patience=self.options.ticket_patience,
            start_step=self.adversary.adversary_start_step if attacked else 0,
            **ticket_drawing(self.options),
        )
        return [GateSteps(), early_bird]

    @property
    def terms(self) -> list[PenaltyTerm]:
        """The L1 norms of the gates."""
        return [GatePenalty(self.options.gate_l1_heads, self.options.gate_l1_neurons)]

    def set_arguments(self, search: TrainingArguments) -> None:
        """As in `SearchMethod`."""
        search.num_train_epochs = self.options.search_epochs
        search.max_steps = self.options.search_max_steps
        search.lr_scheduler_type = SchedulerType.LINEAR
        search.warmup_steps = self.options.search_warmup

    def attach(self, model: nn.Module) -> None:
        """Gives the gates their shadows."""
        if self.options.gate_shadow:
            attach_shadows(model)

    def create_optimizer(self, model: nn.Module, create: Callable[[], torch.optim.Optimizer]) -> torch.optim.Optimizer:
        """As in `SearchMethod`."""
        rate = self.options.gate_learning_rate
        if rate is None:
            return create()
        return gate_group(get_gates(model).parameters(), create, lr=rate, weight_decay=0.0, **{_GATES: True})

    def adapt_scheduler(self, scheduler: LRScheduler) -> None:
        """Keeps the gates' rate constant, unless it is to follow that of the weights.

        Raises:
            ConfigurationError: If the scheduler has one schedule for all groups.
        """
        if self.options.gate_schedule == "linear":
            return
        if not isinstance(scheduler, LambdaLR):
            raise ConfigurationError(
                f"gate_schedule='constant' needs a LambdaLR, got {type(scheduler).__name__}: pass "
                "gate_schedule='linear'"
            )
        for i, group in enumerate(scheduler.optimizer.param_groups):
            if group.get(_GATES):
                scheduler.lr_lambdas[i] = _constant
                # The scheduler has set the rate of the first step already.
                group["lr"] = scheduler.base_lrs[i]

    def announcement(self, training: str, length: str) -> str:
        """As in `SearchMethod`."""
        options = self.options
        near = f"within {options.ticket_tolerance:g} of an earlier one"
        rule = f"until {options.ticket_patience} tickets in a row are {near}"
        if options.gate_shadow:
            rule += ", well within those of noise"
        return f"{training} with gates, {self.rule(rule)}; {length} at most"

    def report(self) -> None:
        """Warns where nothing has settled, and where what is kept is hardly better than what goes."""
        options, callback = self.options, self.callback
        ticket = callback.result
        if callback.ticket is None and ticket is not None and options.ticket_at_step < 0:
            logger.warning(
                "the ticket still changed when the search's budget ended%s (%d tickets, tolerance %g): the last one "
                "is used; raise search_epochs or ticket_tolerance",
                ", or no less than one of noise does" if options.gate_shadow else "",
                len(callback.log),
                options.ticket_tolerance,
            )
        for kind in [] if ticket is None else kinds_cut_near_zero(get_gates(self.trainer.model), ticket):
            logger.warning(
                "the cut of the %s falls among gates that are all near zero, and which of these is kept is chance: "
                "lower gate_learning_rate, gate_l1_%s or the search's budget",
                kind,
                kind,
            )


def _settings(optimizer: torch.optim.Optimizer, gates: Gates) -> dict[str, Any]:
    """Those of the group of the optimiser that has the gates, as they are in this step."""
    first = gates.parameters()[0]
    group = next(group for group in optimizer.param_groups if any(p is first for p in group["params"]))
    return {name: value for name, value in group.items() if name not in ("params", "initial_lr", _GATES)}


def _constant(step: int) -> float:
    return 1.0
