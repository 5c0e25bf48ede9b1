"""The callback that watches the gates and ends the search."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import TrainerControl, TrainerState, TrainingArguments

from ...errors import ConfigurationError
from ...tickets import EarlyBirdDetector, Gates, RobustTicket, draw_ticket, get_shadows, mask_distance, share_near_zero
from ...tickets.drawing import ALIGNED
from ...tickets.gates import differ
from ..steps.schedule import first_step, steps_per_epoch
from .tickets import TicketCallback, gates_of, named


class EarlyBirdCallback(TicketCallback):
    """Draws a ticket from the gates at regular intervals and stops training when it no longer changes.

    Works on any `Trainer` whose model has gates (`attach_gates(model)` before training). Where they have shadows
    (`attach_shadows(model)`, as in the search of `RobustTicketTrainer`), a ticket has settled only if it is also
    clearly closer to those after it than the shadow's are: gates that follow noise come to rest as well when the
    learning rate runs out. Under data parallelism the gates are equal on all ranks, and the ticket is a deterministic
    function of them: all ranks stop together. No ticket is drawn while all gates of a kind are equal: before the
    first has moved.

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
        at_step: Draw one at this step and stop there, settled or not; -1: stop when it has settled.

    Attributes:
        log: As in `TicketCallback`, with `head_distance_window` and `neuron_distance_window`: the largest distance of
            the oldest ticket still compared to those after it, which the tolerance bounds; of shadows,
            `shadow_head_distance`, `shadow_head_distance_window` and so on; and `near_zero_heads` and
            `near_zero_neurons`, the shares of gates below 0.05. All distances of the first are `None`.
        tickets: All tickets drawn so far.
        ticket: The early-bird ticket; `None` before the search has settled.
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
        round_to: int = ALIGNED,
        keep_one: bool = True,
        start_step: float = 0,
        at_step: int = -1,
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
        self._start_step, self._at_step = start_step, at_step
        self._steps_per_epoch = 1
        self.reset()

    def reset(self) -> None:
        """Forgets all tickets."""
        self._detector = EarlyBirdDetector(tolerance=self._rule["tolerance"], patience=self._rule["patience"])
        self.log: list[dict[str, Any]] = []

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Checks that there is something to watch.

        Raises:
            TicketError: If the model has no gates.
        """
        gates_of(kwargs["model"])
        self.restore(state)
        self._steps_per_epoch = steps_per_epoch(args, state, kwargs.get("train_dataloader"))

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Draws a ticket when the interval is over, and stops the training when the tickets have settled."""
        asked = state.global_step == self._at_step
        interval = max(1, round(self._rule["interval"] * self._steps_per_epoch))
        if not asked and (state.global_step % interval or state.global_step <= first_step(self._start_step, state)):
            return
        shadows = get_shadows(kwargs["model"])
        watched = [gates_of(kwargs["model"]), *([] if shadows is None else [shadows.gates])]
        if not asked and not all(self._can_rank(gates) for gates in watched):
            return
        settled = self._draw(kwargs["model"], state)
        if asked or (settled and self._at_step < 0):
            control.should_training_stop = True
            # A checkpoint of this very step would be resumed past the stop.
            control.should_save = False

    def options(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {**self._draw_options, **self._rule, "start_step": self._start_step, "at_step": self._at_step}

    @property
    def progress(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return self.found

    @progress.setter
    def progress(self, value: dict[str, Any]) -> None:
        self.log = value["log"]
        self._detector.load_state_dict(value["detector"])

    def _can_rank(self, gates: Gates) -> bool:
        ranked = {"heads": self._draw_options["head_sparsity"], "neurons": self._draw_options["neuron_sparsity"]}
        return all(differ(getattr(gates, kind)) for kind, sparsity in ranked.items() if sparsity)

    def _draw(self, model: nn.Module, state: TrainerState) -> bool:
        gates, shadows = gates_of(model), get_shadows(model)
        before, detector = self.last_ticket, self._detector
        settled, more = detector.index is not None, {}
        if shadows is None:
            settled = detector.update(draw_ticket(gates, **self._draw_options))
        else:
            shadow_before, shadow = detector.last_shadow, draw_ticket(shadows.gates, **self._draw_options)
            settled = detector.update(draw_ticket(gates, **self._draw_options), shadow)
            more = named(_between(shadow_before, shadow), "shadow_{}_distance")
            more |= named(detector.shadow_distance, "shadow_{}_distance_window")
        window = named(detector.distance, "{}_distance_window")
        near = dict(zip(("near_zero_heads", "near_zero_neurons"), share_near_zero(gates)))
        self._record(state, before, settled, **window, **more, **near)
        return settled


def _between(before: RobustTicket | None, after: RobustTicket) -> Any:
    return None if before is None else mask_distance(before, after)
