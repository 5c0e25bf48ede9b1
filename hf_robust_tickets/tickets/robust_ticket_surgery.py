"""How heads and neurons leave a layer, and what is left of a block that keeps none.

This file travels with pruned checkpoints, beside `modeling_robust_ticket.py`, and needs nothing else. What it does to
a layer is described by data: the module paths in `config.robust_ticket["layout"]`.
"""

from __future__ import annotations

from fnmatch import fnmatch
from operator import attrgetter
from typing import Any

import torch
import transformers
from torch import nn

PER_OUTPUT = ("bias", "running_mean", "running_var")  # what has an entry per output feature beside the weight


def find_layers(model: nn.Module, path: str) -> list[nn.Module]:
    """The modules at `path` from the base model, `*` standing for every entry of a list."""
    found = [getattr(model, "base_model", model)]
    for part in path.split("."):
        named = [m.named_children() if "*" in part else [(part, getattr(m, part))] for m in found]
        found = [child for children in named for name, child in children if fnmatch(name, part)]
    return found


def find_places(model: nn.Module, layout: dict[str, Any]) -> list[tuple[nn.Module, dict[str, Any]]]:
    """What the entries of a ticket stand for: each layer, with the part of the layout that says what is cut from it.

    A model may lack the layers of the further parts: the encoder of an encoder-decoder has no decoder.
    """
    base = getattr(model, "base_model", model)
    more = [part for part in layout.get("more", ()) if hasattr(base, part["layers"].split(".")[0])]
    return [(layer, part) for part in (layout, *more) for layer in find_layers(model, part["layers"])]


def count_units(layer: nn.Module, group: dict[str, Any]) -> int:
    """Number of heads or neurons that a layer has now."""
    if not group["output"]:
        return 0
    output = attrgetter(group["output"])(layer)
    width = getattr(output, "in_features" if hasattr(output, "in_features") else width_name(output, "in"))
    for path in group["unit_size"]:
        width //= attrgetter(path)(layer)
    return width


def unit_features(keep: torch.Tensor, units: int, length: int, blocks: int) -> torch.Tensor:
    """Indices, along a side of `length` read as `(blocks, units, width)`, of the features of the units in `keep`."""
    return torch.arange(length).view(blocks, units, -1)[:, keep].reshape(-1)


def weight_dim(module: nn.Module, side: str) -> int:
    """Dimension of the weight that holds the `"out"` or `"in"` features; a `Conv1D` stores it transposed."""
    return int((side == "in") != hasattr(module, "nx"))


def width_name(module: nn.Module, side: str) -> str:
    """Name of the attribute that holds the number of `"out"` or `"in"` features of a module."""
    if hasattr(module, "nx"):
        return {"out": "nf", "in": "nx"}[side]
    norm, conv = hasattr(module, "num_features"), hasattr(module, "in_channels")
    return "num_features" if norm else f"{side}_channels" if conv else f"{side}_features"


def shrink_linear(module: nn.Module, index: torch.Tensor, side: str = "out") -> nn.Module:
    """Keeps the features in `index` (int64) of a `nn.Linear`, `Conv1D`, `nn.Conv2d` or batch norm, in place.

    The module stays the same object, with its hooks; its parameters become new ones, on the same device (the meta
    device included), of the same dtype and `requires_grad`.
    """
    module.weight = _select(module.weight, weight_dim(module, side), index)
    for name in PER_OUTPUT if side == "out" else ():
        if getattr(module, name, None) is not None:
            setattr(module, name, _select(getattr(module, name), 0, index))
    setattr(module, width_name(module, side), len(index))
    return module


def find_parent(layer: nn.Module, path: str) -> tuple[nn.Module, str]:
    """The module that holds what is at `path`, and its name there."""
    parent_path, _, name = path.rpartition(".")
    return (attrgetter(parent_path)(layer) if parent_path else layer), name


def cut_units(layer: nn.Module, group: dict[str, Any], keep: torch.Tensor, selected: list[int] | None = None) -> None:
    """Removes all heads, or neurons, of a layer but those in `keep`, in place.

    `keep` holds indices of units that are present, shape `(kept,)`, dtype int64; none: see `skip_block`. `selected`
    holds their indices in the dense layer, where the group selects from a tensor shared by all layers.
    """
    units = count_units(layer, group)
    if group["select"] and len(keep):
        _select_argument(attrgetter(group["select"][0])(layer), group["select"][1], selected)
    if units == 0 or len(keep) == 0:
        return skip_block(layer, group) if units else None
    for cut in group["cuts"]:
        parent, name = find_parent(layer, cut["path"])
        target = getattr(parent, name, None)
        if target is None and cut["optional"]:
            continue
        if isinstance(target, nn.Parameter):
            setattr(parent, name, _select(target, 0, unit_features(keep, units, len(target), cut["blocks"])))
        else:
            length = target.weight.shape[weight_dim(target, cut["side"])]
            shrink_linear(target, unit_features(keep, units, length, cut["blocks"]), cut["side"])
    for path in group["scaled"]:
        parent, name = find_parent(layer, path)
        setattr(parent, name, getattr(parent, name) * len(keep) // units)


def skip_block(layer: nn.Module, group: dict[str, Any]) -> None:
    """Removes the attention, or the feed-forward, of a layer, in place, but not the bias of its output projection."""
    for cut in group["cuts"]:
        target = getattr(*find_parent(layer, cut["path"]), None)
        if cut["path"] == group["output"]:
            _become(target, _Constant, keep=("bias",)).in_features = 0
        elif isinstance(target, nn.Module) and not group.get("block"):
            _become(target, _Constant).out_features = 0
    if norm_goes_too(layer, group):
        _become(attrgetter(group["norm_before"])(layer), nn.Identity)
    if group.get("block"):
        block = attrgetter(group["block"])(layer)
        names = [group.get(key, "") for key in ("output", "norm_inside", "bias_inside")]
        inside = [name.removeprefix(group["block"] + ".") for name in names]
        inside = [name if name in block._modules else None for name in inside]
        kind = _SkippedBiasedBlock if hasattr(block, "compute_bias") else _SkippedBlock
        _become(block, derive(type(block), kind), keep=inside).robust_ticket_inside = inside


def norm_goes_too(layer: nn.Module, group: dict[str, Any]) -> bool:
    """Whether a layer has a normalisation that nothing but this block reads."""
    condition = group.get("norm_before_if")
    return bool(group.get("norm_before")) and (not condition or bool(attrgetter(condition)(layer)))


def _become(module: nn.Module, kind: type, keep: Any = ()) -> nn.Module:
    module.__class__ = kind
    for parts in (module._parameters, module._buffers, module._modules):
        parts.update({name: None for name in parts if name not in keep})
    return module


class _Constant(nn.Module):
    # Without inputs a projection gives its bias, copied (a view claims a gradient), or zeros; without outputs nothing.
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size = self.out_features if hasattr(self, "out_features") else self.nf
        return (x.new_zeros(1) if self.bias is None else self.bias.clone()).expand(*x.shape[:-1], size)


class Derived:
    """A class that is derived from a stock one at run time, so pickle is told how to derive it again."""

    def __reduce_ex__(self, protocol: Any) -> tuple:
        return _empty, type(self).__bases__, self.__getstate__()


class _SkippedBlock(Derived):
    # An attention module without heads: it keeps its class, by which transformers finds it, and computes nothing.
    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, Any]:
        batch, length = hidden_states.shape[:2]
        result = hidden_states.new_empty(batch, length, 0)
        output, norm, _ = self.robust_ticket_inside
        result = result if output is None else getattr(self, output)(result)
        result = result if norm is None else getattr(self, norm)(hidden_states + result)
        # That of the first layer tells how many tokens there were; nobody asks that of cross-attention.
        for cache in (*args, *kwargs.values()) if kwargs.get("key_value_states") is None else ():
            if isinstance(cache, transformers.Cache):
                cache = getattr(cache, "self_attention_cache", cache)
                cache.update(*[hidden_states.new_zeros(batch, 1, length, 1)] * 2, self.layer_idx)
        implementation = getattr(getattr(self, "config", None), "_attn_implementation", "eager")
        return result, hidden_states.new_empty(batch, 0, length, length) if implementation == "eager" else None


class _SkippedBiasedBlock(_SkippedBlock):
    """The same of T5, whose first attention makes the position bias of all layers of its stack and hands it on."""

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, Any, Any]:
        """The bias that it was given, or makes, between the two results of a block that computes nothing."""
        cache, bias, length = kwargs.get("past_key_values"), kwargs.get("position_bias"), hidden_states.shape[1]
        seen = 0 if cache is None else cache.get_seq_length(self.layer_idx)
        seen = seen.clone() if isinstance(seen, torch.Tensor) else seen
        result, weights = super().forward(hidden_states, *args, **kwargs)
        if bias is None and self.robust_ticket_inside[2] is not None:
            keys = length
            if cache is not None:  # a cache of fixed size has keys for tokens that are yet to come
                keys = getattr(cache, "self_attention_cache", cache).layers[self.layer_idx].keys.shape[-2]
            bias = self.compute_bias(length, keys, device=hidden_states.device, past_seen_tokens=seen)
        return result, bias, weights


class SharedBiasAttention(Derived):
    """T5's attention with some of its heads: it reads their part of the position bias and hands on all of it."""

    def forward(self, *args: Any, position_bias: Any = None, **kwargs: Any) -> tuple[torch.Tensor, Any, Any]:
        """As in the stock class, whose bias is that of all heads of the stack.

        Cross-attention has no positions, and each makes zeros for its own heads.
        """
        if kwargs.get("key_value_states") is not None:
            return super().forward(*args, **kwargs)
        self._whole_bias = position_bias
        own = None if position_bias is None else position_bias[:, self.robust_ticket_selection[1]]
        output, _, weights = super().forward(*args, position_bias=own, **kwargs)
        return output, self.__dict__.pop("_whole_bias"), weights

    def compute_bias(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """The part of its own heads; the whole is kept to be handed on."""
        self._whole_bias = super().compute_bias(*args, **kwargs)
        return self._whole_bias[:, self.robust_ticket_selection[1]]


_DERIVED: dict[tuple[type, type], type] = {}


def derive(stock: type, kind: type) -> type:
    """A class of a kind derived from a stock class, under the same name: transformers finds the loss by the name."""
    stock = getattr(stock, "_dense_class", stock)
    if (kind, stock) not in _DERIVED:
        members = {"__module__": kind.__module__, "__qualname__": stock.__name__, "__doc__": stock.__doc__}
        _DERIVED[kind, stock] = type(stock.__name__, (kind, stock), {**members, "_dense_class": stock})
    return _DERIVED[kind, stock]


def _empty(kind: type, stock: type) -> nn.Module:
    return object.__new__(derive(stock, kind))


def _select(value: torch.Tensor, dim: int, index: torch.Tensor) -> torch.Tensor:
    kept = value.detach().index_select(dim, index.to(value.device))
    return nn.Parameter(kept, requires_grad=value.requires_grad) if isinstance(value, nn.Parameter) else kept


def _select_argument(module: nn.Module, keyword: str, selected: list[int] | None) -> None:
    if hasattr(module, "compute_bias"):
        module.__class__ = derive(type(module), SharedBiasAttention)
    elif not hasattr(module, "robust_ticket_selection"):
        module.register_forward_pre_hook(pass_selected, with_kwargs=True)
    module.robust_ticket_selection = (keyword, list(selected))


def pass_selected(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    """The hook that shows a module the kept units of a tensor that all layers share."""
    keyword, selected = module.robust_ticket_selection
    shared = kwargs.get(keyword)
    return args, kwargs if shared is None else {**kwargs, keyword: shared[:, selected]}
