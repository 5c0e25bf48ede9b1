"""When the ticket of trained gates stops changing: pure logic, no model in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .._arguments import check_arguments
from ..errors import CheckpointError, ConfigurationError
from .distance import MaskDistance, mask_distance
from .packing import pack_tickets, unpack_tickets
from .ticket import RobustTicket

DEFAULT_NOISE_RATIO = 0.5
# Standard deviations by which gates and their shadows must differ. Each ticket is a new chance to be deceived.
_DEVIATIONS = 3


class EarlyBirdDetector:
    """Finds the early-bird ticket (EarlyRobust, section 3.2).

    A ticket t is the early bird when its distance to each of the tickets t+1 .. t+patience is below the tolerance, for
    heads and neurons alike. The first such t wins; from the update that completes its patience on, the answer stays.

    That alone does not tell structure from noise: gates that follow random gradients come to rest as well, once the
    learning rate runs out or their spread is large beside a step. So each ticket may come with the one drawn from
    shadow gates (`attach_shadows`), which take steps as large in directions that are random. Then t must besides be
    clearly closer to those after it than the shadow's tickets of the same moments are to one another: at most
    `noise_ratio` of their distance, and by more entries than chance makes of a difference.

    Args:
        tolerance: Upper bound of the distances, exclusive, in (0, 1].
        patience: How many later tickets have to agree, at least 1.
        noise_ratio: Upper bound of the distances as a share of the shadow's, in (0, 1).

    Attributes:
        history: All tickets so far, for pictures. One takes a byte per entry: 37 KB for BERT-base.
        distance: The largest distance of the ticket that is being compared to those after it, the figure that the
            tolerance bounds; None before the second update.
        shadow_distance: The same of the shadow's tickets; None without them.
        ticket: The early-bird ticket, None before it is found.
        index: Its position in `history`, None before it is found.

    Example:
        >>> detector = EarlyBirdDetector(tolerance=0.1, patience=5)
        >>> while not detector.update(draw_ticket(gates), draw_ticket(shadows)): train_a_little()
        >>> prune_(model, detector.ticket)
    """

    @check_arguments
    def __init__(self, tolerance: float = 0.1, patience: int = 5, noise_ratio: float = DEFAULT_NOISE_RATIO) -> None:
        check_bounds(tolerance, noise_ratio)
        if not isinstance(patience, int) or patience < 1:
            raise ConfigurationError(f"expected patience to be an integer of at least 1, got {patience!r}")
        self.tolerance = tolerance
        self.patience = patience
        self.noise_ratio = noise_ratio
        self.history: list[RobustTicket] = []
        self.distance: MaskDistance | None = None
        self.shadow_distance: MaskDistance | None = None
        self.index: int | None = None
        self._shadows: list[RobustTicket] = []

    @property
    def ticket(self) -> RobustTicket | None:
        """The early-bird ticket, None before it is found."""
        return None if self.index is None else self.history[self.index]

    @property
    def last_shadow(self) -> RobustTicket | None:
        """The shadow's newest ticket; None where there is none."""
        return self._shadows[-1] if self._shadows else None

    def update(self, ticket: RobustTicket, shadow: RobustTicket | None = None) -> bool:
        """Takes the next ticket.

        Args:
            ticket: That of the gates.
            shadow: That of the shadow gates, at the same moment; with every ticket, or with none.

        Returns:
            Whether the early-bird ticket has been found, now or before.

        Raises:
            ConfigurationError: If there is a shadow for some tickets only.
            TicketError: If the ticket is for a model of another shape than those before.
        """
        if self.history and (shadow is None) == bool(self._shadows):
            raise ConfigurationError("expected a shadow ticket with every ticket or with none, got one with some")
        if self.history:
            self.distance = _largest(self.history[-self.patience :], ticket)
        if self._shadows:
            self.shadow_distance = _largest(self._shadows[-self.patience :], shadow)
        complete = len(self.history) >= self.patience
        self.history.append(ticket)
        if shadow is not None:
            # Only the window is compared.
            self._shadows = [*self._shadows, shadow][-self.patience :]
        if self.index is None and complete and self._is_settled():
            self.index = len(self.history) - 1 - self.patience
        return self.index is not None

    def state_dict(self) -> dict[str, Any]:
        """Everything that `update` depends on, as plain JSON data; masks are packed bits in hexadecimal."""
        return {
            **self._settings(),
            "index": self.index,
            "distance": None if self.distance is None else list(self.distance),
            "shadow_distance": None if self.shadow_distance is None else list(self.shadow_distance),
            **pack_tickets(self.history),
            "shadows": pack_tickets(self._shadows)["history"],
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
            history = unpack_tickets(state)
            shadows = unpack_tickets({"shape": state["shape"], "history": state["shadows"]})
            index = state["index"]
            distances = [_restored(state[name]) for name in ("distance", "shadow_distance")]
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"expected the state of a detector, got a damaged one ({error})") from error
        if index is not None and not 0 <= index < len(history):
            raise CheckpointError(f"expected the early bird among {len(history)} tickets, got position {index}")
        self.history, self.index, self._shadows = history, index, shadows
        self.distance, self.shadow_distance = distances

    def _is_settled(self) -> bool:
        if not is_settled(self.distance, self.shadow_distance, self.tolerance, self.noise_ratio):
            return False
        if self.shadow_distance is None:
            return True
        shape = self.history[-1].shape()
        sizes = [sum(shape[kind]) for kind in ("heads", "neurons")]
        found, noise = (
            sum(size * d for size, d in zip(sizes, distance)) for distance in (self.distance, self.shadow_distance)
        )
        # Both are counts, in pairs: where one unit comes in, another goes out. Late in a search they can be small.
        return noise - found >= _DEVIATIONS * math.sqrt(2 * (noise + found))

    def _settings(self) -> dict[str, Any]:
        return {"tolerance": self.tolerance, "patience": self.patience, "noise_ratio": self.noise_ratio}


def check_bounds(tolerance: float, noise_ratio: float) -> None:
    """Raises ConfigurationError if a bound of a detector is none."""
    if not 0 < tolerance <= 1:
        raise ConfigurationError(f"expected a tolerance in (0, 1], got {tolerance}")
    if not 0 < noise_ratio < 1:
        raise ConfigurationError(f"expected noise_ratio in (0, 1), got {noise_ratio}")


def is_settled(distance: MaskDistance, noise: MaskDistance | None, tolerance: float, noise_ratio: float) -> bool:
    """Whether distances are below the tolerance and clearly below those of noise, where these are known.

    Where noise cannot put two tickets apart at all (nothing is cut, or whole layers), equal tickets have settled.
    """
    if max(distance) >= tolerance:
        return False
    return noise is None or all(found <= noise_ratio * chance for found, chance in zip(distance, noise, strict=True))


def _largest(window: Sequence[RobustTicket], newest: RobustTicket) -> MaskDistance:
    """The largest distance of the first ticket of a window to those after it."""
    distances = [mask_distance(window[0], later) for later in [*window[1:], newest]]
    return MaskDistance(max(d.heads for d in distances), max(d.neurons for d in distances))


def _restored(distance: list[float] | None) -> MaskDistance | None:
    return None if distance is None else MaskDistance(*distance)
