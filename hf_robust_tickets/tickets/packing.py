"""Tickets as plain JSON data, for the states of detectors: packed bits in hexadecimal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from .ticket import RobustTicket


def pack_tickets(tickets: Sequence[RobustTicket]) -> dict[str, Any]:
    """Tickets of one shape."""
    shape = tickets[0].shape() if tickets else {"heads": [], "neurons": []}
    return {"shape": shape, "history": [_pack(ticket) for ticket in tickets]}


def unpack_tickets(state: dict[str, Any]) -> list[RobustTicket]:
    """What `pack_tickets` was given.

    Raises:
        KeyError: If the state has no tickets.
        TypeError: If they are something else.
        ValueError: If they are damaged.
    """
    return [_unpack(packed, state["shape"]) for packed in state["history"]]


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
