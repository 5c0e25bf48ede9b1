"""One learnable coefficient for each attention head and each feed-forward neuron.

A gate is a vector multiplied into the input of a projection: the attention output projection for heads (each entry
repeated over the features of its head), the down projection for neurons, the next convolution for channels. It is a
parameter of that projection, named `robust_gate` - for example
`bert.encoder.layer.0.attention.output.dense.robust_gate` and `bert.encoder.layer.0.output.dense.robust_gate` - so it
trains, is saved and restored, moves between devices, and is wrapped for distributed training with the rest of the
model. A gate of zeros and ones gives the output of the model from which the zeros are cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from .._sharding import whole
from ..architectures import get_architecture
from ..errors import TicketError
from .robust_ticket_surgery import weight_dim
from .ticket import RobustTicket

GATE_NAME = "robust_gate"
SHADOWS_NAME = "robust_shadows"  # see shadow.py
BY_EXAMPLE_NAME = "robust_gate_by_example"  # see scores/by_example.py
# A gate starts at one; below this, its rank is that of single steps.
NEAR_ZERO = 0.05


@dataclass(frozen=True)
class Gates:
    """The coefficients of a model.

    Args:
        heads: One parameter per layer, shape `(heads of that layer,)`; one of shape `(0,)`, which is no parameter of
            the model, where a layer has none left.
        neurons: One parameter per layer, shape `(neurons of that layer,)`, likewise.
    """

    heads: list[torch.Tensor]
    neurons: list[torch.Tensor]

    def parameters(self) -> list[torch.Tensor]:
        """All coefficients, heads first; their own parameter group in the optimiser."""
        return [gate for gate in (*self.heads, *self.neurons) if gate.numel()]

    def l1(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Sum of |c| over all heads and over all neurons: two scalars that carry gradients."""
        return _l1(self.heads), _l1(self.neurons)


def attach_gates(model: nn.Module) -> Gates:
    """Gives every head and neuron of a model a coefficient of one, which leaves its output as it is.

    The coefficients are float32 whatever the model's dtype: steps of 1e-5 on values near one are lost in bfloat16.

    Args:
        model: A `transformers` model of a known family; it may be pruned already, and it may have adapters (PEFT; pass
            `peft_model.get_base_model()`), whose update is then gated with the weight.

    Returns:
        A handle on the new parameters.

    Raises:
        UnknownArchitectureError: If the family is unknown.
        TicketError: If the model has gates already, has neither heads nor neurons left, has quantised layers, or has
            kernels of the Hub in the place of its modules.
    """
    architecture = get_architecture(model)
    if _gated(model):
        raise TicketError("expected a model without gates, got one that has them: call detach_gates(model) first")
    if getattr(model, "_use_kernels", False):
        raise TicketError(
            "expected modules that are called, got a model with use_kernels=True, whose kernels of the Hub may pass "
            "by a gate: set model.use_kernels = False first, and True again on the pruned model"
        )
    architecture.check_supported(model.config)
    for kind in ("heads", "neurons"):
        projections = getattr(architecture, f"{kind[:-1]}_outputs")(model)
        counts = getattr(architecture, f"num_{kind}")(model)
        for projection, units in zip(projections, counts):
            if not units:  # this block was removed
                continue
            if not isinstance(projection.weight, torch.Tensor):
                detach_gates(model)
                raise TicketError(
                    f"expected projections with weights, got {_kind(projection)}: search before quantising"
                )
            ones = torch.ones(units, dtype=torch.float32, device=projection.weight.device)
            projection.register_parameter(GATE_NAME, nn.Parameter(ones))
            projection.register_forward_pre_hook(_apply_gate)
    gates = get_gates(model)
    if gates is None:
        raise TicketError("expected a model with heads or neurons to gate, got one that has lost all of them")
    return gates


def get_gates(model: nn.Module) -> Gates | None:
    """The gates of a model, or None where it has none.

    Works on a copy of a gated model too. Parameters that were replaced (by `load_state_dict(assign=True)`, say) are
    found at their place, so ask again rather than keep an old handle.
    """
    if not _gated(model):
        return None
    architecture = get_architecture(model)
    return Gates(
        heads=[_gate(projection) for projection in architecture.head_outputs(model)],
        neurons=[_gate(projection) for projection in architecture.neuron_outputs(model)],
    )


def gated_projections(model: nn.Module) -> dict[str, nn.Module]:
    """The projections that have gates, by their names in the model, in the order of `Gates.parameters`."""
    architecture, names = get_architecture(model), {module: name for name, module in model.named_modules()}
    projections = (*architecture.head_outputs(model), *architecture.neuron_outputs(model))
    return {names[module]: module for module in projections if GATE_NAME in module._parameters}


@torch.no_grad()
def clamp_gates_(gates: Gates) -> Gates:
    """Puts coefficients below zero back to zero, in place; after every step of the optimiser.

    A coefficient that the L1 norm pushes down ends at zero and stays there. Without this one it would step over zero
    and be pushed back, for ever: the ranking of what is near zero would be that of an oscillation, and a large part of
    the coefficients would be negative, where |c| ranks a unit the higher the more it is unwanted.
    """
    for gate in gates.parameters():
        gate.clamp_(min=0)
    return gates


def share_near_zero(gates: Gates) -> tuple[float, float]:
    """Shares of the heads' and of the neurons' gates whose magnitude is below `NEAR_ZERO`."""
    return tuple(_mean([gate.abs() < NEAR_ZERO for gate in kind]) for kind in (gates.heads, gates.neurons))


def differ(gates: Sequence[torch.Tensor]) -> bool:
    """Whether the coefficients of a kind are not all equal, so that they can be ranked; fewer than two always can."""
    flat = torch.cat([whole(gate.detach()).flatten().cpu() for gate in gates])
    return len(flat) < 2 or not bool((flat == flat[0]).all())


def kinds_cut_near_zero(gates: Gates, ticket: RobustTicket) -> list[str]:
    """The kinds, `"heads"` or `"neurons"`, whose cut falls among gates that are all near zero.

    There, what is kept is hardly better than what goes. One of each layer may be kept for the layer's sake.
    """
    found = []
    for kind in ("heads", "neurons"):
        kept = [
            int(((whole(gate.detach()).abs().cpu() < NEAR_ZERO) & mask).sum())
            for gate, mask in zip(getattr(gates, kind), getattr(ticket, kind), strict=True)
        ]
        if sum(kept) > len(kept) and not all(mask.all() for mask in getattr(ticket, kind)):
            found.append(kind)
    return found


def detach_gates(model: nn.Module, fold: bool = False) -> nn.Module:
    """Removes gates, their shadows and their hooks; a model without gates is left as it is.

    Args:
        model: The model.
        fold: Multiply the gates into the weights that they gated first, so that the output stays what it was;
            otherwise the model becomes what it is with all gates at one.

    Returns:
        The model.

    Raises:
        TicketError: If gates are to be folded into something other than a plain linear layer, e.g. an adapter.
    """
    gated = _gated(model)
    for projection in gated if fold else ():
        if type(projection) not in (nn.Linear, Conv1D, nn.Conv2d):
            raise TicketError(
                f"expected plain layers to fold gates into, got {_kind(projection)}: "
                "detach the gates without fold, or merge the adapters before attaching"
            )
    for projection in gated:
        if fold:
            _fold_gate(projection)
        delattr(projection, GATE_NAME)
        for key, hook in list(projection._forward_pre_hooks.items()):
            if hook is _apply_gate:
                del projection._forward_pre_hooks[key]
    if hasattr(model, SHADOWS_NAME):
        delattr(model, SHADOWS_NAME)
    return model


def _fold_gate(projection: nn.Module) -> None:
    with torch.no_grad():
        gate, weight = getattr(projection, GATE_NAME), projection.weight
        dim = weight_dim(projection, "in")
        scale = gate.repeat_interleave(weight.shape[dim] // gate.numel()).to(weight.dtype)
        weight.mul_(scale.view([-1 if i == dim else 1 for i in range(weight.dim())]))


def _kind(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__name__}"


def _gate(projection: nn.Module) -> nn.Parameter:
    gate = getattr(projection, GATE_NAME, None)
    return nn.Parameter(torch.ones(0, dtype=torch.float32, device="cpu")) if gate is None else gate


def _gated(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if GATE_NAME in module._parameters]


def _apply_gate(projection: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    # A plain function that finds the parameter on the module: copies and replaced parameters keep working.
    x, *rest = args
    gate = projection.robust_gate
    by_example = projection.__dict__.get(BY_EXAMPLE_NAME)
    if by_example is not None:
        return (by_example(gate, x, channels=isinstance(projection, nn.Conv2d)), *rest)
    if isinstance(projection, nn.Conv2d):
        return (x * gate.to(x.dtype).view(-1, 1, 1), *rest)
    repeats = x.shape[-1] // gate.numel()
    gate = gate.to(x.dtype)
    return (x * (gate if repeats == 1 else gate.repeat_interleave(repeats)), *rest)


def _mean(masks: Sequence[torch.Tensor]) -> float:
    counts = [int(whole(mask).sum()) for mask in masks]
    return sum(counts) / max(1, sum(mask.numel() for mask in masks))


def _l1(gates: Sequence[torch.Tensor]) -> torch.Tensor:
    sums = [whole(gate.abs().sum()) for gate in gates if gate.numel()]
    return torch.stack([part.to(sums[0].device) for part in sums]).sum() if sums else torch.zeros((), device="cpu")
