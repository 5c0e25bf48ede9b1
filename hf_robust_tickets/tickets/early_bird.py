"""When the ticket stops changing: pure logic, no model in it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..errors import CheckpointError, ConfigurationError
from .distance import MaskDistance, mask_distance
from .ticket import RobustTicket


class EarlyBirdDetector:
    """Finds the early-bird ticket (EarlyRobust, section 3.2).

    A ticket t is the early bird when its distance to each of the tickets t+1 .. t+patience is below the tolerance, for
    heads and neurons alike. The first such t wins; from the update that completes its patience on, the answer stays.

    Args:
        tolerance: Upper bound of the distances, exclusive, in (0, 1].
        patience: How many later tickets have to agree, at least 1.

    Attributes:
        history: All tickets so far, for pictures. One takes a byte per entry: 37 KB for BERT-base.
        distance: The largest distance of the ticket that is being compared to those after it, the figure that the
            tolerance bounds; None before the second update.
        ticket: The early-bird ticket, None before it is found.
        index: Its position in `history`, None before it is found.

    Example:
        >>> detector = EarlyBirdDetector(tolerance=0.1, patience=5)
        >>> while not detector.update(draw_ticket(gates)): train_a_little()
        >>> prune_(model, detector.ticket)
    """

    def __init__(self, tolerance: float = 0.1, patience: int = 5) -> None:
        if not 0 < tolerance <= 1:
            raise ConfigurationError(f"expected a tolerance in (0, 1], got {tolerance}")
        if not isinstance(patience, int) or patience < 1:
            raise ConfigurationError(f"expected patience to be an integer of at least 1, got {patience!r}")
        self.tolerance = tolerance
        self.patience = patience
        self.history: list[RobustTicket] = []
        self.distance: MaskDistance | None = None
        self.index: int | None = None

    @property
    def ticket(self) -> RobustTicket | None:
        """The early-bird ticket, None before it is found."""
        return None if self.index is None else self.history[self.index]

    def update(self, ticket: RobustTicket) -> bool:
        """Takes the next ticket.

        Returns:
            Whether the early-bird ticket has been found, now or before.

        Raises:
            TicketError: If the ticket is for a model of another shape than those before.
        """
        window = self.history[-self.patience :]
        if window:
            distances = [mask_distance(window[0], later) for later in [*window[1:], ticket]]
            self.distance = MaskDistance(max(d.heads for d in distances), max(d.neurons for d in distances))
        self.history.append(ticket)
        complete = len(window) == self.patience
        if self.index is None and complete and max(self.distance) < self.tolerance:
            self.index = len(self.history) - 1 - self.patience
        return self.index is not None

    def state_dict(self) -> dict[str, Any]:
        """Everything that `update` depends on, as plain JSON data; masks are packed bits in hexadecimal."""
        shape = self.history[0].shape() if self.history else {"heads": [], "neurons": []}
        return {
            "tolerance": self.tolerance,
            "patience": self.patience,
            "index": self.index,
            "distance": None if self.distance is None else list(self.distance),
            "shape": shape,
            "history": [_pack(ticket) for ticket in self.history],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where another detector stopped.

        Raises:
            CheckpointError: If the state is of a detector with other settings, or damaged.
        """
        settings = {"tolerance": self.tolerance, "patience": self.patience}
        saved = {key: state.get(key) for key in settings}
        if saved != settings:
            raise CheckpointError(f"expected the state of a detector with {settings}, got one with {saved}")
        try:
            history = [_unpack(packed, state["shape"]) for packed in state["history"]]
            index = state["index"]
            distance = None if state["distance"] is None else MaskDistance(*state["distance"])
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"expected the state of a detector, got a damaged one ({error})") from error
        if index is not None and not 0 <= index < len(history):
            raise CheckpointError(f"expected the early bird among {len(history)} tickets, got position {index}")
        self.history, self.index, self.distance = history, index, distance


def _pack(ticket: RobustTicket) -> str:
    bits = torch.cat([*ticket.heads, *ticket.neurons]).to(torch.uint8).numpy()
    return np.packbits(bits).tobytes().hex()


def _unpack(packed: str, shape: dict[str, list[int]]) -> RobustTicket:
    widths = [*shape["heads"], *shape["neurons"]]
    content = np.frombuffer(bytes.fromhex(packed), dtype=np.uint8)
    if len(content) != (sum(widths) + 7) // 8:
        raise ValueError(f"expected {sum(widths)} mask entries, got {8 * len(content)}")
    bits = torch.from_numpy(np.unpackbits(content, count=sum(widths))).bool()
    masks = bits.split(widths)
    depth = len(shape["heads"])
    return RobustTicket(heads=masks[:depth], neurons=masks[depth:])
