"""How far two tickets are apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from ..errors import TicketError
from .ticket import RobustTicket


class MaskDistance(NamedTuple):
    """Fractions of the entries that differ, 0..1.

    Args:
        heads: Over the heads of all layers together.
        neurons: Over the neurons of all layers together.
    """

    heads: float
    neurons: float


def mask_distance(a: RobustTicket, b: RobustTicket) -> MaskDistance:
    """The normalised Hamming distance between two tickets, heads and neurons apart (EarlyRobust, section 3.2).

    Raises:
        TicketError: If the two were drawn for models of different shapes.
    """
    if a.shape() != b.shape():
        raise TicketError(f"expected two tickets for one model, got shapes {a.shape()} and {b.shape()}")
    return MaskDistance(heads=_fraction(a.heads, b.heads), neurons=_fraction(a.neurons, b.neurons))


def _fraction(a: Sequence[torch.Tensor], b: Sequence[torch.Tensor]) -> float:
    return sum(int((x != y).sum()) for x, y in zip(a, b)) / (sum(len(x) for x in a) or 1)
