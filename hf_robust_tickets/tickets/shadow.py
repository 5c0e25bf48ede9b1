"""A shadow beside each gate, which follows noise: what a search that sees nothing would find.

Shadows are of the shape and start of the gates, and no part of the model: nothing reads them. After each step of the
gates they take one by an optimiser of the same kind and settings, with the gates' own gradients under random signs:
steps as large, in directions without a meaning. What the gates' tickets show beyond the shadows' is structure.
"""

from __future__ import annotations

import base64
import io
import pickle
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .._sharding import whole
from ..errors import CheckpointError, TicketError
from .gates import SHADOWS_NAME, Gates, clamp_gates_, get_gates

# Seeds of neighbouring steps must not meet those of a neighbouring run.
_PRIME = 1_000_003


class Shadows:
    """The shadows of a model's gates.

    Args:
        gates: The gates, before they are sharded.

    Attributes:
        gates: The shadows, in the shape of gates: plain tensors.
    """

    def __init__(self, gates: Gates) -> None:
        self.gates = Gates(
            heads=[_copy(gate) for gate in gates.heads], neurons=[_copy(gate) for gate in gates.neurons]
        )
        self._optimizer: Optimizer | None = None
        self._resumed: dict[str, Any] | None = None

    def step(self, gates: Gates, kind: type[Optimizer], settings: Mapping[str, Any], seed: int, step: int) -> None:
        """Takes the step that the gates have just taken, in a direction that is random.

        A gradient that is not finite, with which a loss scale leaves a step out, is left out here too.

        Args:
            gates: With the gradients of their step; where FSDP2 has sharded them, all ranks must ask together.
            kind: Class of the gates' optimiser.
            settings: Those of the gates' group, of this step.
            seed: As for `follow_noise`, and so is the next.
            step: See above.
        """
        follow_noise(gates, self.gates, seed, step)
        shadows = self.gates.parameters()
        if not all(bool(torch.isfinite(shadow.grad).all()) for shadow in shadows if shadow.grad is not None):
            return
        if self._optimizer is None:
            self._optimizer = kind([{**settings, "params": shadows}])
            if self._resumed is not None:
                self._optimizer.load_state_dict(self._resumed)
        self._optimizer.param_groups[0].update(settings)
        self._optimizer.step()
        clamp_gates_(self.gates)

    def state(self) -> str:
        """Values and state of the optimiser, exact, as text for JSON."""
        content = io.BytesIO()
        optimizer = self._resumed if self._optimizer is None else self._optimizer.state_dict()
        torch.save({"values": [shadow.cpu() for shadow in self.gates.parameters()], "optimizer": optimizer}, content)
        return base64.b64encode(content.getvalue()).decode("ascii")

    def load_state(self, state: str) -> None:
        """Goes on from what `state` gave.

        Raises:
            CheckpointError: If it is damaged, or of another model.
        """
        try:
            content = torch.load(io.BytesIO(base64.b64decode(state)), map_location="cpu", weights_only=True)
            for shadow, value in zip(self.gates.parameters(), content["values"], strict=True):
                shadow.copy_(value)
        except (KeyError, RuntimeError, TypeError, ValueError, pickle.UnpicklingError) as error:
            reason = str(error).splitlines()[0]
            raise CheckpointError(
                f"expected shadows of this model's gates, got others, or damaged ones ({reason})"
            ) from error
        self._optimizer, self._resumed = None, content["optimizer"]


def attach_shadows(model: nn.Module) -> Shadows:
    """Gives the gates of a model shadows; `detach_gates` takes both away.

    Raises:
        TicketError: If the model has no gates, or has shadows already.
    """
    gates = get_gates(model)
    if gates is None:
        raise TicketError("expected a model with gates, got none: call attach_gates(model) before attach_shadows")
    if get_shadows(model) is not None:
        raise TicketError("expected gates without shadows, got some that have them: call detach_gates(model) first")
    setattr(model, SHADOWS_NAME, Shadows(gates))
    return get_shadows(model)


def get_shadows(model: nn.Module) -> Shadows | None:
    """The shadows of a model's gates, or None where it has none."""
    return getattr(model, SHADOWS_NAME, None)


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
        shadow.grad = None if gate.grad is None else (whole(gate.grad).abs().cpu() * signs).to(shadow.device)


def _copy(gate: Tensor) -> Tensor:
    return whole(gate.detach()).clone()
