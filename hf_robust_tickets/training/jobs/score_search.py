"""The search by first-order scores: a short plain training, then batches that are scored and move nothing."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import fields
from typing import ClassVar

import torch
from torch import nn
from torch.optim import Optimizer
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import SchedulerType

from ..._compat import checkpointing_options
from ..._sharding import whole
from ...errors import ConfigurationError, DataError
from ...tickets import ExampleGradients, Gates, get_gates, get_score
from ..arguments import AdversaryOptions
from ..callbacks.scores import ScoreCallback
from ..steps.base import AdversarialStep
from ..steps.multi_pass import EndOfAscentStep
from ..ticket_arguments import TicketOptions
from .budget import search_budget
from .search_method import SearchMethod, gate_group, ticket_drawing

logger = logging.getLogger(__name__)

# What a default warm-up takes: a tenth of an epoch, but the classifier has to have learnt something. After 60 steps
# tickets are better than after 24 (docs/results.md), which are what a budget of few steps has room for.
_WARMUP_EPOCHS, _ENOUGH_WARMUP, _LEAST_WARMUP = 0.1, 60, 24
# A forward pass costs one unit, the gradients of activations and of weights one each.
_WITHOUT_WEIGHT_GRADIENTS = 2 / 3


class ScoreSearch(SearchMethod):
    """Trains all weights plainly for a moment, then reads a score from batches without moving anything.

    Gates are at one throughout: they are where the gradient is read. While batches are scored, the weights have no
    gradients, which saves a third of a step. A score is read before gradients are clipped, from those of the whole
    step: all micro-batches, all ranks.
    """

    decisive: ClassVar[tuple[str, ...]] = (
        "score_batches",
        "score_normalisation",
        "search_learning_rate",
        "search_weight_decay",
    )

    def __init__(self, trainer: Trainer, options: TicketOptions, adversary: AdversaryOptions) -> None:
        super().__init__(trainer, options, adversary)
        self.score = get_score(options.ticket_score)
        if self.score.under_attack and self.build_adversary() is None:
            raise ConfigurationError(
                f"the score {options.ticket_score!r} is that of a loss under attack, got adversary="
                f"{adversary.adversary!r}: name a method, or pass ticket_score='taylor'"
            )
        self.warmup = self._count_warmup()
        self._examples = ExampleGradients()

    @classmethod
    def uses_adversary(cls, options: TicketOptions) -> bool:
        """As in `SearchMethod`."""
        return get_score(options.ticket_score).under_attack

    @property
    def callbacks(self) -> list[TrainerCallback]:
        """As in `SearchMethod`."""
        options = self.options
        scores = ScoreCallback(
            score=options.ticket_score,
            batches=options.score_batches,
            normalisation=options.score_normalisation,
            **ticket_drawing(options),
        )
        return [scores]

    @property
    def is_scoring(self) -> bool:
        """Whether the present step moves nothing."""
        return self.trainer.state.global_step >= self.warmup

    def set_arguments(self, search: TrainingArguments) -> None:
        """As in `SearchMethod`."""
        if not self.score.under_attack and (unused := _unused(self.adversary)):
            logger.warning(
                "the score %s is of the clean loss, so %s has no effect on the search: pass "
                "ticket_score='adversarial-taylor' or 'gate' to attack in it",
                self.options.ticket_score,
                ", ".join(unused),
            )
        search.max_steps = self.warmup + self.options.score_batches
        search.lr_scheduler_type = SchedulerType.CONSTANT_WITH_WARMUP
        search.warmup_steps = round(self.options.search_warmup * self.warmup)

    def create_optimizer(self, model: nn.Module, create: Callable[[], Optimizer]) -> Optimizer:
        """As in `SearchMethod`; the gates are there for the loss scale of fp16, which asks the optimiser, and stay."""
        return gate_group(get_gates(model).parameters(), create, lr=0.0, weight_decay=0.0)

    def build_step(self) -> AdversarialStep | None:
        """For a score under attack, the step whose gradient is that of the end of the ascent, at full strength."""
        adversary = self.build_adversary()
        if adversary is None or adversary.step != "multi-pass":
            return None
        options = copy.copy(self.adversary)
        options.adversary_clean_weight, options.adversary_weight_perturbation = 0.0, 0.0
        options.adversary_start_step, options.adversary_warmup, options.adversary_schedule = 0, 0, "constant"
        return EndOfAscentStep(self.trainer.runner, adversary, options)

    def attacks(self, on_turn: bool) -> bool:
        """The scored batches, where the score asks for it."""
        return self.score.under_attack and self.is_scoring

    @contextmanager
    def around_step(self, model: nn.Module) -> Iterator[None]:
        """Keeps the weights out of a scored batch, and reads the score when the step is complete."""
        gates = get_gates(self.trainer.runner.unwrapped(model))
        syncs = self.trainer.accelerator.gradient_state.sync_gradients
        if not self.is_scoring:
            with self._gates_at_rest(gates):
                yield
            # Their gradients have no place in the norm that clips those of the weights.
            for gate in gates.parameters() if syncs else ():
                gate.grad = None
            return
        with self._frozen(model, gates), self._watched(model):
            yield
        if syncs:
            self._read(gates)
            for weight in _weights(model, gates):
                # Where they could not be kept out: nothing moves.
                weight.grad = None

    def count_flops(self, flops: float) -> float:
        """As in `SearchMethod`."""
        if not (self.is_scoring and self._freezes):
            return flops
        passes = self.build_adversary().num_passes if self.score.under_attack else 1
        return _WITHOUT_WEIGHT_GRADIENTS * passes * flops / (self.trainer.step_cost if self.score.under_attack else 1)

    def announcement(self, training: str, length: str) -> str:
        """As in `SearchMethod`."""
        options = self.options
        where = f" under {training}" if self.score.under_attack else ""
        return (
            f"{self.warmup} plain steps, then the score {options.ticket_score}{where}, "
            + self.rule(f"until the tickets of even and of odd batches are within {options.ticket_tolerance:g}")
            + f"; {options.score_batches} batches at most"
        )

    def report(self) -> None:
        """Warns where nothing has settled."""
        callback = self.callback
        if callback.ticket is None and callback.result is not None and self.options.ticket_at_step < 0:
            logger.warning(
                "the tickets of even and of odd batches still differed when the search's budget ended (%d batches, "
                "%.3f of the heads and %.3f of the neurons, tolerance %g): that of all batches is used; raise "
                "score_batches or ticket_tolerance",
                callback.log[-1]["batches"],
                callback.log[-1]["head_distance_halves"],
                callback.log[-1]["neuron_distance_halves"],
                self.options.ticket_tolerance,
            )

    @property
    def _freezes(self) -> bool:
        # FSDP2 gathers gradients in the hooks of its own wrappers; a compiled model would be compiled again;
        # activation checkpoints may need an input that requires a gradient.
        trainer = self.trainer
        checkpoints = checkpointing_options(trainer.args) is not None
        return not (trainer.is_fsdp_enabled or trainer.args.torch_compile or checkpoints)

    @contextmanager
    def _frozen(self, model: nn.Module, gates: Gates) -> Iterator[None]:
        if not self._freezes:
            yield
            return
        # DDP waits for gradients of all that it has wrapped: `_read` gathers those of the gates itself.
        with _without_gradients(_weights(model, gates)), self.trainer.accelerator.no_sync(model=model):
            yield

    @contextmanager
    def _gates_at_rest(self, gates: Gates) -> Iterator[None]:
        """In the warm-up a gate that has a gradient would keep a second copy of the widest activation for it."""
        # DDP waits for their gradients.
        if not self._freezes or self.trainer.accelerator.num_processes > 1:
            yield
            return
        with _without_gradients(gates.parameters()):
            yield

    def _watched(self, model: nn.Module) -> AbstractContextManager[None]:
        return (
            self._examples.watching(self.trainer.runner.unwrapped(model)) if self.score.by_example else nullcontext()
        )

    def _read(self, gates: Gates) -> None:
        """Adds the score of a complete step; one that the loss scale of fp16 leaves out is left out here too."""
        accelerator, by_example = self.trainer.accelerator, self.score.by_example
        parts = self._examples.take() if by_example else [whole(gate.grad) for gate in gates.parameters()]
        gradients = torch.cat([part.flatten() for part in parts])
        # Gradients of examples are of this rank's, whoever reduces those of the parameters.
        if self._freezes or by_example:
            gradients = accelerator.reduce(gradients, reduction="mean")
        if accelerator.scaler is not None:
            gradients = gradients / accelerator.scaler.get_scale()
            if not bool(torch.isfinite(gradients).all()):
                return
        rest = iter(gradients.split([gate.numel() for gate in gates.parameters()]))
        self.callback.add(Gates(*([_with_grad(gate, rest) for gate in kind] for kind in (gates.heads, gates.neurons))))

    def _count_warmup(self) -> int:
        """Plain steps of the search.

        Raises:
            DataError: If warm-up and batches do not fit into the budget.
        """
        options, trainer = self.options, self.trainer
        budget, epoch = search_budget(trainer, options)
        asked = options.score_warmup
        if asked is None:
            room = min(_ENOUGH_WARMUP, budget - options.score_batches)
            warmup = max(_LEAST_WARMUP, room, round(_WARMUP_EPOCHS * epoch))
        else:
            warmup = round(asked * epoch) if asked < 1 else int(asked)
        needed = warmup + options.score_batches
        if needed > budget:
            raise DataError(
                f"the score {options.ticket_score!r} needs {needed} steps, {warmup} of warm-up and "
                f"{options.score_batches} batches, got {budget} in the budget: give more data, lower score_warmup or "
                f"score_batches, or see batches again with search_epochs={math.ceil(10 * needed / epoch) / 10:g}"
            )
        at_step = options.ticket_at_step
        if 0 < at_step < warmup + 2:
            raise ConfigurationError(
                f"ticket_at_step must leave two batches to score after {warmup} steps of warm-up, got {at_step}: pass "
                f"at least {warmup + 2}"
            )
        if at_step > needed:
            raise ConfigurationError(
                f"ticket_at_step must be within the {needed} steps of the search, got {at_step}: raise score_batches"
            )
        return warmup


@contextmanager
def _without_gradients(parameters: list[torch.Tensor]) -> Iterator[None]:
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def _weights(model: nn.Module, gates: Gates) -> list[torch.Tensor]:
    """What trains in a model beside its gates."""
    read = {id(gate) for gate in gates.parameters()}
    return [p for p in model.parameters() if p.requires_grad and id(p) not in read]


def _with_grad(gate: torch.Tensor, gradients: Iterator[torch.Tensor]) -> torch.Tensor:
    copied = whole(gate.detach()).clone()
    if copied.numel():
        copied.grad = next(gradients)
    return copied


def _unused(adversary: AdversaryOptions) -> list[str]:
    """Options of the search's adversary that somebody has given."""
    told = [f for f in fields(AdversaryOptions) if getattr(adversary, f.name) != f.default]
    return [f.name for f in told if not (f.name == "adversary" and adversary.adversary in (None, "none"))]
