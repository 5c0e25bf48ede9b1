"""The callback that sums first-order scores over batches and ends the search."""

from __future__ import annotations

from typing import Any

from transformers import TrainerControl, TrainerState, TrainingArguments

from ...errors import ConfigurationError
from ...tickets import Gates, ScoreSums, SplitHalfDetector, draw_ticket, get_score
from ...tickets.drawing import ALIGNED
from .tickets import TicketCallback, gates_of, named


class ScoreCallback(TicketCallback):
    """Sums a score over batches and stops when the tickets of even and of odd ones agree.

    The trainer says which batches are scored: it calls `add` after their backward pass. All ranks add the same
    gradients, and stop together.

    Args:
        score: Name of a score of gradients.
        batches: The most batches that are scored.
        normalisation: See `UnitScores.normalised`.
        head_sparsity: Fraction of heads that a ticket cuts.
        neuron_sparsity: Fraction of feed-forward neurons that it cuts.
        head_scope: `"global"` or `"layer"`; see `draw_ticket`.
        neuron_scope: The same for neurons.
        tolerance: How far the tickets of the two halves may be apart, as a fraction of mask entries.
        round_to: See `draw_ticket`.
        keep_one: See `draw_ticket`.
        at_step: Draw the ticket at this step and stop there, settled or not; -1: stop when it has settled.

    Attributes:
        log: As in `TicketCallback`, one dict for every second batch, with `batches`; `head_distance_halves` and
            `neuron_distance_halves`, which the tolerance bounds; and `head_distance_chance` and
            `neuron_distance_chance`, what independent noise would give.
        tickets: From all batches so far, one for each entry of the log.
        ticket: That at which the halves agreed; `None` before.
    """

    def __init__(
        self,
        score: str = "taylor",
        batches: int = 24,
        normalisation: str = "none",
        head_sparsity: float = 1 / 6,
        neuron_sparsity: float = 0.4,
        head_scope: str = "global",
        neuron_scope: str = "global",
        tolerance: float = 0.1,
        round_to: int = ALIGNED,
        keep_one: bool = True,
        at_step: int = -1,
    ) -> None:
        self._score = get_score(score)
        if self._score.trains_gates:
            raise ConfigurationError(
                f"the score {score!r} is read from trained gates, not from batches: use EarlyBirdCallback"
            )
        self._draw_options = {
            "head_sparsity": head_sparsity,
            "neuron_sparsity": neuron_sparsity,
            "head_scope": head_scope,
            "neuron_scope": neuron_scope,
            "round_to": round_to,
            "keep_one": keep_one,
        }
        self._rule = {"score": score, "batches": batches, "normalisation": normalisation, "tolerance": tolerance}
        self._at_step = at_step
        self.reset()

    def reset(self) -> None:
        """Forgets all batches and tickets."""
        self._detector = SplitHalfDetector(tolerance=self._rule["tolerance"])
        self._sums = ScoreSums(self._score)
        self.log: list[dict[str, Any]] = []

    @property
    def batches(self) -> int:
        """Batches scored so far."""
        return self._sums.batches

    def add(self, gates: Gates) -> None:
        """Adds a batch whose backward pass has left its gradients in the gates.

        Raises:
            TicketError: If its scores are not finite.
        """
        self._sums.add(gates)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Checks that there is something to score.

        Raises:
            TicketError: If the model has no gates.
        """
        gates_of(kwargs["model"])
        self.restore(state)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Draws tickets after every second batch, and stops the training when those of the halves agree."""
        asked = state.global_step == self._at_step
        at_end = self.batches == self._rule["batches"]
        if not self.batches or (self.batches % 2 and not asked):
            return
        settled = self._draw(state)
        if asked or at_end or (settled and self._at_step < 0):
            control.should_training_stop = True
            # A checkpoint of this very step would be resumed past the stop.
            control.should_save = False

    def options(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {**self._rule, **self._draw_options, "at_step": self._at_step}

    @property
    def progress(self) -> dict[str, Any]:
        """What a checkpoint keeps: what was found, and the sums."""
        return {**self.found, "sums": self._sums.state_dict()}

    @progress.setter
    def progress(self, value: dict[str, Any]) -> None:
        self.log = value["log"]
        self._detector.load_state_dict(value["detector"])
        self._sums.load_state_dict(value["sums"])

    def _draw(self, state: TrainerState) -> bool:
        how, before = self._rule["normalisation"], self.last_ticket
        scores = (self._sums.scores(), *self._sums.halves())
        ticket, even, odd = (draw_ticket(part.normalised(how), **self._draw_options) for part in scores)
        settled = self._detector.update(ticket, even, odd)
        halves = named(self._detector.distance, "{}_distance_halves")
        chance = named(self._detector.chance, "{}_distance_chance")
        self._record(state, before, settled, batches=self.batches, **halves, **chance)
        return settled
