"""When a score that is summed over batches has seen enough of them: pure logic, no model in it."""

from __future__ import annotations

from typing import Any

from .._arguments import check_arguments
from ..errors import CheckpointError
from .distance import MaskDistance, chance_distance, mask_distance
from .early_bird import DEFAULT_NOISE_RATIO, check_bounds, is_settled
from .packing import pack_tickets, unpack_tickets
from .ticket import RobustTicket


class SplitHalfDetector:
    """Stops when two halves of the batches, even and odd, draw the same ticket.

    The halves share no batch, so only what the score has of structure makes their tickets agree: of independent noise
    the two differ in 2 s (1 - s) of the entries at the sparsity s, however many batches there are. A bound on the
    distance alone is weak where little is cut - at s = 0.05 noise is at 0.095 - so the distance must besides be at
    most `noise_ratio` of what random tickets with the same counts per layer give (`chance_distance`; a difference
    between layers alone is no agreement within them).

    The halves are the worse estimates: the ticket of all batches, which is used, has twice as many.

    Args:
        tolerance: Upper bound of the distance of the two tickets, exclusive, in (0, 1], for heads and neurons alike.
        noise_ratio: Upper bound of the distance as a share of that of chance, in (0, 1).

    Attributes:
        history: The tickets of all batches so far, one for each update.
        distance: Between the newest tickets of the two halves; None before the first update.
        chance: What independent noise would give; None before the first update.
        index: Position in `history` of the ticket at which the halves agreed for the first time; None before.
    """

    @check_arguments
    def __init__(self, tolerance: float = 0.1, noise_ratio: float = DEFAULT_NOISE_RATIO) -> None:
        check_bounds(tolerance, noise_ratio)
        self.tolerance = tolerance
        self.noise_ratio = noise_ratio
        self.history: list[RobustTicket] = []
        self.distance: MaskDistance | None = None
        self.chance: MaskDistance | None = None
        self.index: int | None = None

    @property
    def ticket(self) -> RobustTicket | None:
        """The ticket of all batches at the moment when the halves agreed; None before."""
        return None if self.index is None else self.history[self.index]

    def update(self, ticket: RobustTicket, even: RobustTicket, odd: RobustTicket) -> bool:
        """Takes what has been drawn after more batches.

        Args:
            ticket: From all batches.
            even: From every second one.
            odd: From the others, as many.

        Returns:
            Whether the halves have agreed, now or before.

        Raises:
            TicketError: If the tickets are for models of different shapes.
        """
        self.distance, self.chance = mask_distance(even, odd), chance_distance(even, odd)
        self.history.append(ticket)
        if self.index is None and is_settled(self.distance, self.chance, self.tolerance, self.noise_ratio):
            self.index = len(self.history) - 1
        return self.index is not None

    def state_dict(self) -> dict[str, Any]:
        """Everything that `update` depends on, as plain JSON data; masks are packed bits in hexadecimal."""
        return {
            **self._settings(),
            "index": self.index,
            "distance": None if self.distance is None else list(self.distance),
            "chance": None if self.chance is None else list(self.chance),
            **pack_tickets(self.history),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where another detector stopped.

        Raises:
            CheckpointError: If the state is of a detector with other settings, or damaged.
        """
        settings = self._settings()
        saved = {key: state.get(key) for key in settings}
        if saved != settings:
            raise CheckpointError(f"expected the state of a detector with {settings}, got one with {saved}")
        try:
            history, index = unpack_tickets(state), state["index"]
            distances = [state[name] and MaskDistance(*state[name]) for name in ("distance", "chance")]
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"expected the state of a detector, got a damaged one ({error})") from error
        if index is not None and not 0 <= index < len(history):
            raise CheckpointError(f"expected the agreed ticket among {len(history)}, got position {index}")
        self.history, self.index = history, index
        self.distance, self.chance = distances

    def _settings(self) -> dict[str, Any]:
        return {"tolerance": self.tolerance, "noise_ratio": self.noise_ratio}
