"""The callback that watches the gates and ends the search."""

from __future__ import annotations

import logging
from typing import Any

from torch import nn
from transformers import TrainerControl, TrainerState, TrainingArguments

from ...errors import ConfigurationError, TicketError
from ...tickets import EarlyBirdDetector, RobustTicket, draw_ticket, get_gates, mask_distance
from ..steps.schedule import first_step
from .base import StatefulCallback

logger = logging.getLogger(__name__)


class EarlyBirdCallback(StatefulCallback):
    """Draws a ticket from the gates at regular intervals and stops training when it no longer changes.

    Works on any `Trainer` whose model has gates (`attach_gates(model)` before training). Under data parallelism the
    gates are equal on all ranks, and the ticket is a deterministic function of them: all ranks stop together.

    Args:
        head_sparsity: Fraction of heads that a ticket cuts.
        neuron_sparsity: Fraction of feed-forward neurons that it cuts.
        head_scope: `"global"` or `"layer"`; see `draw_ticket`.
        neuron_scope: The same for neurons.
        interval: Time between two tickets, as a fraction of an epoch.
        patience: How many tickets in a row must resemble an earlier one.
        tolerance: How far they may be from it, as a fraction of mask entries.
        round_to: See `draw_ticket`.
        keep_one: See `draw_ticket`.
        start_step: No ticket is drawn before this step; below 1 it is a fraction of all steps. Give it the start of
            the attack, or the search may settle before it has seen one.

    Attributes:
        log: One dict per ticket: `step`, `epoch`, `stop`, `head_distance` and `neuron_distance` to the ticket
            before, and `head_distance_window` and `neuron_distance_window`: the largest distance of the oldest ticket
            still compared to those after it, which the tolerance bounds. All distances of the first are `None`.
        tickets: All tickets drawn so far.
        ticket: The early-bird ticket; `None` before the search has converged.
    """

    def __init__(
        self,
        head_sparsity: float = 1 / 6,
        neuron_sparsity: float = 0.4,
        head_scope: str = "global",
        neuron_scope: str = "global",
        interval: float = 0.05,
        patience: int = 5,
        tolerance: float = 0.1,
        round_to: int = 1,
        keep_one: bool = True,
        start_step: float = 0,
    ) -> None:
        if interval <= 0:
            raise ConfigurationError(f"interval must be a positive fraction of an epoch, got {interval}")
        self._draw_options = {
            "head_sparsity": head_sparsity,
            "neuron_sparsity": neuron_sparsity,
            "head_scope": head_scope,
            "neuron_scope": neuron_scope,
            "round_to": round_to,
            "keep_one": keep_one,
        }
        self._rule = {"interval": interval, "patience": patience, "tolerance": tolerance}
        self._start_step = start_step
        self._steps_per_epoch = 0.0
        self.reset()

    def reset(self) -> None:
        """Forgets all tickets."""
        self._detector = EarlyBirdDetector(tolerance=self._rule["tolerance"], patience=self._rule["patience"])
        self.log: list[dict[str, Any]] = []

    @property
    def tickets(self) -> list[RobustTicket]:
        """All tickets drawn so far."""
        return self._detector.history

    @property
    def ticket(self) -> RobustTicket | None:
        """The early-bird ticket, or `None` while there is none."""
        return self._detector.ticket

    @property
    def last_ticket(self) -> RobustTicket | None:
        """The newest ticket, converged or not."""
        return self.tickets[-1] if self.tickets else None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Checks that there is something to watch.

        Raises:
            TicketError: If the model has no gates.
        """
        self._gates(kwargs["model"])
        self.restore(state)
        self._steps_per_epoch = _steps_per_epoch(args, state, kwargs.get("train_dataloader"))

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Draws a ticket when the interval is over, and stops the training when the tickets have settled."""
        interval = max(1, round(self._rule["interval"] * self._steps_per_epoch))
        if state.global_step % interval or state.global_step <= first_step(self._start_step, state):
            return
        self._record(draw_ticket(self._gates(kwargs["model"]), **self._draw_options), state)
        if self.ticket is not None:
            control.should_training_stop = True
            # A checkpoint of this very step would be resumed past the stop.
            control.should_save = False

    def options(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {**self._draw_options, **self._rule, "start_step": self._start_step}

    @property
    def progress(self) -> dict[str, Any]:
        """All that was drawn and logged so far, as JSON."""
        return {"log": self.log, "detector": self._detector.state_dict()}

    @progress.setter
    def progress(self, value: dict[str, Any]) -> None:
        self.log = value["log"]
        self._detector.load_state_dict(value["detector"])

    def _record(self, ticket: RobustTicket, state: TrainerState) -> None:
        distance = mask_distance(self.tickets[-1], ticket) if self.tickets else None
        stop = self._detector.update(ticket)
        window = self._detector.distance
        record = {
            "step": state.global_step,
            "epoch": state.epoch,
            "head_distance": None if distance is None else distance.heads,
            "neuron_distance": None if distance is None else distance.neurons,
            "head_distance_window": None if window is None else window.heads,
            "neuron_distance_window": None if window is None else window.neurons,
            "stop": stop,
        }
        self.log.append(record)
        logger.info("ticket at step %d: %s", state.global_step, record)

    @staticmethod
    def _gates(model: nn.Module) -> Any:
        gates = get_gates(model)
        if gates is None:
            raise TicketError("the model has no gates to watch: call attach_gates(model) before training")
        return gates


def _steps_per_epoch(args: TrainingArguments, state: TrainerState, dataloader: Any) -> float:
    try:
        return max(1.0, len(dataloader) / args.gradient_accumulation_steps)
    except TypeError:
        # A stream has no length: the budget of the run stands for the epoch.
        return float(state.max_steps)
