"""Tickets that are drawn for tests."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from hf_robust_tickets.tickets import RobustTicket, random_ticket


def emptying_ticket(
    model: PreTrainedModel, heads: Sequence[int] = (0,), neurons: Sequence[int] = (-1,), seed: int = 1
) -> RobustTicket:
    """A random ticket without the heads of some layers and the neurons of others."""
    ticket = random_ticket(model, 0.25, 0.25, seed=seed, round_to=1)
    kept = {"heads": list(ticket.heads), "neurons": list(ticket.neurons)}
    for kind, layers in (("heads", heads), ("neurons", neurons)):
        for i in layers:
            kept[kind][i] = torch.zeros_like(kept[kind][i])
    return RobustTicket(**kept)
