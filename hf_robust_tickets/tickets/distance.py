"""How far tickets are apart, and how far chance would put them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from statistics import fmean
from typing import NamedTuple

import torch

from .._arguments import check_arguments
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


class TicketSpread(NamedTuple):
    """How far several tickets are apart, e.g. those of several seeds.

    Args:
        mean: Mean distance of all pairs.
        chance: The same for random tickets with the same counts per layer.
    """

    mean: MaskDistance
    chance: MaskDistance


@check_arguments
def mask_distance(a: RobustTicket, b: RobustTicket) -> MaskDistance:
    """The normalised Hamming distance between two tickets, heads and neurons apart (EarlyRobust, section 3.2).

    Raises:
        TicketError: If the two were drawn for models of different shapes.
    """
    _check_same_settings(a, b)
    return MaskDistance(heads=_fraction(a.heads, b.heads), neurons=_fraction(a.neurons, b.neurons))


def chance_distance(a: RobustTicket, b: RobustTicket) -> MaskDistance:
    """The distance to expect of two random tickets that keep as much of each layer as these two do.

    A layer of n units of which the two keep the shares p and q independently of one another differs in
    n (p (1 - q) + q (1 - p)) places: 2 s (1 - s) of them where both have the sparsity s in every layer.

    Raises:
        TicketError: If the two were drawn for models of different shapes.
    """
    _check_same_settings(a, b)
    return MaskDistance(heads=_expected(a.heads, b.heads), neurons=_expected(a.neurons, b.neurons))


def ticket_spread(tickets: Sequence[RobustTicket]) -> TicketSpread:
    """How far several tickets are apart, pair by pair, beside what chance gives.

    Raises:
        TicketError: If there are fewer than two, or they were drawn for models of different shapes.
    """
    if len(tickets) < 2:
        raise TicketError(f"expected two tickets or more to compare, got {len(tickets)}")
    pairs = list(combinations(tickets, 2))
    return TicketSpread(
        mean=_mean([mask_distance(a, b) for a, b in pairs]), chance=_mean([chance_distance(a, b) for a, b in pairs])
    )


def _mean(distances: Sequence[MaskDistance]) -> MaskDistance:
    return MaskDistance(fmean(d.heads for d in distances), fmean(d.neurons for d in distances))


def _check_same_settings(a: RobustTicket, b: RobustTicket) -> None:
    if a.shape() != b.shape():
        raise TicketError(f"expected two tickets for one model, got shapes {a.shape()} and {b.shape()}")


def _fraction(a: Sequence[torch.Tensor], b: Sequence[torch.Tensor]) -> float:
    return sum(int((x != y).sum()) for x, y in zip(a, b)) / (sum(len(x) for x in a) or 1)


def _expected(a: Sequence[torch.Tensor], b: Sequence[torch.Tensor]) -> float:
    total = 0.0
    for x, y in zip(a, b):
        p, q, n = int(x.sum()), int(y.sum()), len(x)
        total += (p * (n - q) + q * (n - p)) / n if n else 0.0
    return total / (sum(len(x) for x in a) or 1)
