"""A shadow beside each gate, which follows noise: what a search that sees nothing would find.

A shadow gate is a buffer named `robust_shadow` of the projection that holds the gate, of the same values at the start;
the model does not read it, but it is saved and restored, and moves between devices, with the rest. The optimiser of
the gates has it in a group of the same settings, and before each step it gets the gate's gradient with random signs:
steps as large, in directions without a meaning. What the gates' tickets show beyond the shadow's is structure.
"""

from __future__ import annotations

import torch
from torch import nn

from .._sharding import whole
from ..errors import TicketError
from .gates import GATE_NAME, SHADOW_NAME, Gates, gate_outputs

# Seeds of neighbouring steps must not meet those of a neighbouring run.
_PRIME = 1_000_003


def attach_shadows(model: nn.Module) -> Gates:
    """Gives each gate of a model a shadow; `detach_gates` takes both away.

    Returns:
        A handle on the shadows, as of gates; `parameters()` are what goes into the optimiser.

    Raises:
        TicketError: If the model has no gates, or has shadows already.
    """
    if get_shadows(model) is not None:
        raise TicketError("expected gates without shadows, got some that have them: call detach_gates(model) first")
    found = False
    for projection in model.modules():
        gate = projection._parameters.get(GATE_NAME)
        if gate is not None:
            projection.register_buffer(SHADOW_NAME, whole(gate.detach()).clone())
            found = True
    if not found:
        raise TicketError("expected a model with gates, got none: call attach_gates(model) before attach_shadows")
    return get_shadows(model)


def get_shadows(model: nn.Module) -> Gates | None:
    """The shadows of a model's gates, or None where it has none."""
    if not any(SHADOW_NAME in module._buffers for module in model.modules()):
        return None
    return Gates(*gate_outputs(model, SHADOW_NAME))


def follow_noise(gates: Gates, shadows: Gates, seed: int, step: int) -> None:
    """Gives each shadow the gradient of its gate, with random signs.

    Args:
        gates: After the backward pass of a step, and after clipping; where FSDP2 has sharded them, all ranks must ask
            together.
        shadows: Those of the same model.
        seed: Equal on all ranks.
        step: Number of the step; the signs are a function of seed and step, so a run that is resumed goes on with its
            own.
    """
    generator = torch.Generator(device="cpu").manual_seed(seed * _PRIME + step)
    for gate, shadow in zip(gates.parameters(), shadows.parameters(), strict=True):
        signs = torch.randint(0, 2, (gate.numel(),), generator=generator, dtype=torch.float32, device="cpu") * 2 - 1
        shadow.grad = None if gate.grad is None else whole(gate.grad).abs() * signs.to(shadow.device)
