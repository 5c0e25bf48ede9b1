"""What each head and neuron is worth: one vector of scores per layer, higher = kept."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .._sharding import whole
from ..errors import TicketError


def magnitude_scores(gates: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """|c| of each coefficient.

    The released code of EarlyRobust ranks the signed value, although its penalty acts on |c|: a coefficient of -1 then
    goes before one of 0. The magnitude is what is meant.

    Args:
        gates: One vector of coefficients per layer; where FSDP2 has sharded them, all ranks must ask together.

    Returns:
        Their magnitudes, on the CPU in float32.

    Raises:
        TicketError: If one of them is not finite.
    """
    scores = [whole(gate.detach()).abs().float().cpu() for gate in gates]
    if not all(bool(torch.isfinite(score).all()) for score in scores):
        raise TicketError("expected finite gates, got NaN or infinity: the search diverged, lower its learning rate")
    return scores


def random_scores(widths: Sequence[int], generator: torch.Generator) -> list[torch.Tensor]:
    """Uniform scores in [0, 1), for the control.

    Args:
        widths: Units per layer.
        generator: A generator on the CPU.
    """
    return [torch.rand(width, generator=generator, dtype=torch.float32, device="cpu") for width in widths]
