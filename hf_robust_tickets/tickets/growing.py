"""From pruned layers back to dense ones, zeros in the place of what was cut."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import torch
from torch import nn

from .robust_ticket_surgery import (
    PER_OUTPUT,
    SharedBiasAttention,
    count_units,
    find_parent,
    norm_goes_too,
    pass_selected,
    unit_features,
    weight_dim,
    width_name,
)


def grow_units(layer: nn.Module, group: dict[str, Any], keep: torch.Tensor, dense: int) -> None:
    """The inverse of `cut_units`, in place, with zeros.

    Args:
        layer: The transformer block.
        group: What is coupled to the units, as in `config.robust_ticket["layout"]`.
        keep: Places, in the dense layer, of the units that there are, shape `(kept,)`, dtype int64.
        dense: Number of units of the dense layer.
    """
    units = count_units(layer, group)
    for cut in group["cuts"]:
        parent, name = find_parent(layer, cut["path"])
        target = getattr(parent, name, None)
        if target is None and cut["optional"]:
            continue
        if isinstance(target, nn.Parameter):
            length = len(target) // units * dense
            setattr(parent, name, _spread(target, 0, unit_features(keep, dense, length, cut["blocks"]), length))
        else:
            _grow_linear(target, keep, units, dense, cut)
    for path in group["scaled"]:
        parent, name = find_parent(layer, path)
        setattr(parent, name, getattr(parent, name) * dense // units)
    _drop_selection(layer, group)


def restore_block(layer: nn.Module, source: nn.Module, group: dict[str, Any]) -> None:
    """The inverse of `skip_block`, in place: zeros in the place of the weights that were removed.

    Args:
        layer: The transformer block.
        source: The same block of a model that still has it; its modules move over.
        group: As for `grow_units`.
    """
    output = attrgetter(group["output"])(layer)
    kept = [path for path in (group["norm_inside"], group.get("bias_inside")) if path]
    inside = {path: attrgetter(path)(layer) for path in kept if hasattr(*find_parent(layer, path))}
    norm = group["norm_before"] if norm_goes_too(layer, group) else ""
    for path in (group["block"], *(cut["path"] for cut in group["cuts"]), norm):
        if path and hasattr(*find_parent(source, path)):
            _put(layer, path, attrgetter(path)(source))
    for path, module in inside.items():
        _put(layer, path, module)
    with torch.no_grad():
        for cut in group["cuts"]:
            target = getattr(*find_parent(layer, cut["path"]), None)
            for parameter in target.parameters() if isinstance(target, nn.Module) else [target]:
                if parameter is not None:
                    parameter.zero_()
        if output.bias is not None:
            attrgetter(group["output"])(layer).bias.copy_(output.bias)
    _drop_selection(layer, group)


def _put(layer: nn.Module, path: str, value: Any) -> None:
    parent, name = find_parent(layer, path)
    setattr(parent, name, value)


def _drop_selection(layer: nn.Module, group: dict[str, Any]) -> None:
    """Lets a module see the whole shared tensor again."""
    if not group["select"]:
        return
    module = attrgetter(group["select"][0])(layer)
    module.__dict__.pop("robust_ticket_selection", None)
    if isinstance(module, SharedBiasAttention):
        module.__class__ = module._dense_class
    for key, hook in list(module._forward_pre_hooks.items()):
        if hook is pass_selected:
            del module._forward_pre_hooks[key], module._forward_pre_hooks_with_kwargs[key]


def _grow_linear(module: nn.Module, keep: torch.Tensor, units: int, dense: int, cut: dict[str, Any]) -> None:
    side, dim = cut["side"], weight_dim(module, cut["side"])
    length = module.weight.shape[dim] // units * dense
    index = unit_features(keep, dense, length, cut["blocks"])
    module.weight = _spread(module.weight, dim, index, length)
    for name in PER_OUTPUT if side == "out" else ():
        if getattr(module, name, None) is not None:
            setattr(module, name, _spread(getattr(module, name), 0, index, length))
    setattr(module, width_name(module, side), length)


def _spread(value: torch.Tensor, dim: int, index: torch.Tensor, length: int) -> torch.Tensor:
    shape = list(value.shape)
    shape[dim] = length
    zeros = torch.zeros(shape, dtype=value.dtype, device=value.device)
    grown = zeros.index_copy_(dim, index.to(value.device), value.detach())
    return nn.Parameter(grown, requires_grad=value.requires_grad) if isinstance(value, nn.Parameter) else grown
