"""What the callbacks share that watch a search and say when its ticket has settled."""

from __future__ import annotations

import logging
from abc import abstractmethod
from typing import Any

from torch import nn
from transformers import TrainerState

from ...errors import TicketError
from ...tickets import (
    EarlyBirdDetector,
    Gates,
    MaskDistance,
    RobustTicket,
    SplitHalfDetector,
    get_gates,
    mask_distance,
)
from .base import StatefulCallback

logger = logging.getLogger(__name__)


class TicketCallback(StatefulCallback):
    """Draws tickets in the course of a search, keeps them, and stops the search.

    Attributes:
        log: One dict per ticket: `step`, `epoch`, `stop`, `head_distance` and `neuron_distance` to the ticket before
            (`None` for the first), and the distances that the rule of the search bounds, beside those of noise;
            `asked` in that of a step that was asked for.
        tickets: All tickets drawn so far.
        ticket: The one that settled; `None` before the search has.
    """

    _at_step: int
    _detector: EarlyBirdDetector | SplitHalfDetector
    log: list[dict[str, Any]]

    @property
    def tickets(self) -> list[RobustTicket]:
        """All tickets drawn so far."""
        return self._detector.history

    @property
    def ticket(self) -> RobustTicket | None:
        """The ticket that settled, or `None` while there is none."""
        return self._detector.ticket

    @property
    def result(self) -> RobustTicket | None:
        """The ticket of a search that is over: the one asked for, the one that settled, or else the last."""
        return self.last_ticket if self._at_step > 0 else self.ticket or self.last_ticket

    @property
    def last_ticket(self) -> RobustTicket | None:
        """The newest ticket, settled or not."""
        return self.tickets[-1] if self.tickets else None

    @property
    def found(self) -> dict[str, Any]:
        """All that was drawn and logged so far, as JSON, for the folder of the job."""
        return {"log": self.log, "detector": self._detector.state_dict()}

    @abstractmethod
    def options(self) -> dict[str, Any]:
        """Arguments of the constructor."""

    def _record(self, state: TrainerState, before: RobustTicket | None, stop: bool, **more: Any) -> None:
        """Adds the newest ticket to the log; `before` is the one drawn before it."""
        distance = None if before is None else mask_distance(before, self.tickets[-1])
        record = {
            "step": state.global_step,
            "epoch": state.epoch,
            **named(distance, "{}_distance"),
            **more,
            "stop": stop,
            **({"asked": True} if state.global_step == self._at_step else {}),
        }
        self.log.append(record)
        logger.info("ticket at step %d: %s", state.global_step, record)


def named(distance: MaskDistance | None, pattern: str) -> dict[str, float | None]:
    """A distance as two entries of a log, e.g. of the pattern `"{}_distance"`."""
    heads, neurons = (None, None) if distance is None else distance
    return {pattern.format("head"): heads, pattern.format("neuron"): neurons}


def gates_of(model: nn.Module) -> Gates:
    """The gates of a model.

    Raises:
        TicketError: If it has none.
    """
    gates = get_gates(model)
    if gates is None:
        raise TicketError("the model has no gates to watch: call attach_gates(model) before training")
    return gates
