"""Opens a pruned checkpoint with stock transformers: this file travels with the checkpoint and needs nothing else.

`config.robust_ticket` holds the number of heads and neurons that each layer kept, and the module paths at which they
are found. A class derived from the stock one builds the stock model and then shrinks its layers to these widths, so
that the stock `from_pretrained` finds tensors of the right shapes. The modelling code itself stays the stock one. A
layer that kept no head, or no neuron, skips that block: what the block still adds is the bias of its last projection.
"""

from __future__ import annotations

import os
import uuid
from fnmatch import fnmatch
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers.models.auto import modeling_auto
from transformers.utils.hub import cached_file

RECORD_VERSION = 1
TICKET_FILE = "ticket.safetensors"
PER_OUTPUT = ("bias", "running_mean", "running_var")  # what has an entry per output feature beside the weight
REFUSAL = "none: this model is pruned; open it with trust_remote_code=True, or with hf_robust_tickets.load_pruned"
HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token")


def find_layers(model: nn.Module, path: str) -> list[nn.Module]:
    """The modules at `path` from the base model, `*` standing for every entry of a list."""
    found = [getattr(model, "base_model", model)]
    for part in path.split("."):
        named = [m.named_children() if "*" in part else [(part, getattr(m, part))] for m in found]
        found = [child for children in named for name, child in children if fnmatch(name, part)]
    return found


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
    if group["select"]:
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
        inside = [group[key].removeprefix(group["block"] + ".") for key in ("output", "norm_inside")]
        inside = [name if name in block._modules else None for name in inside]
        _become(block, derive(type(block), _SkippedBlock), keep=inside).robust_ticket_inside = inside


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


class _Derived:
    def __reduce_ex__(self, protocol: Any) -> tuple:
        # The class is derived at run time, so pickle is told how to derive it again.
        return _empty, type(self).__bases__, self.__getstate__()


class _SkippedBlock(_Derived):
    # An attention module without heads: it keeps its class, by which transformers finds it, and computes nothing.
    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, Any]:
        batch, length = hidden_states.shape[:2]
        result = hidden_states.new_empty(batch, length, 0)
        output, norm = self.robust_ticket_inside
        result = result if output is None else getattr(self, output)(result)
        result = result if norm is None else getattr(self, norm)(hidden_states + result)
        for cache in (*args, *kwargs.values()):
            if isinstance(cache, transformers.Cache):  # that of the first layer tells how many tokens there were
                cache.update(*[hidden_states.new_zeros(batch, 1, length, 1)] * 2, self.layer_idx)
        implementation = getattr(getattr(self, "config", None), "_attn_implementation", "eager")
        return result, hidden_states.new_empty(batch, 0, length, length) if implementation == "eager" else None


def shrink_to_widths(model: nn.Module, record: dict[str, Any]) -> nn.Module:
    """Shrinks a new dense model, in place, to `config.robust_ticket`; ValueError if that contradicts the model."""
    check_record(record)
    layers = find_layers(model, record["layout"]["layers"])
    for kind in ("heads", "neurons"):
        group, kept = record["layout"][kind], record[kind]
        present = [count_units(layer, group) for layer in layers]
        if present != record["dense"][kind] or any(k > p for k, p in zip(kept, present)):
            raise ValueError(
                f"expected config.robust_ticket to keep part of the {present} {kind} per layer that the rest of the "
                f"configuration describes, got {kept} of {record['dense'][kind]}: the configuration was altered"
            )
        for i, layer in enumerate(layers):
            selected = record["kept_heads"][i] if group["select"] else None
            cut_units(layer, group, torch.arange(kept[i]), selected)
    return model


def check_record(record: Any) -> None:
    """Raises ValueError unless `record` has the form of `config.robust_ticket`."""
    version = record.get("version") if isinstance(record, dict) else record
    if version != RECORD_VERSION or not isinstance(record, dict):
        raise ValueError(
            f"expected config.robust_ticket of version {RECORD_VERSION}, got {version!r}: "
            "the checkpoint is not a pruned one, or comes from another version of hf_robust_tickets"
        )
    missing = [key for key in ("heads", "neurons", "dense", "layout", "fingerprint") if key not in record]
    if missing:
        raise ValueError(f"expected {missing} in config.robust_ticket, which lacks it: the configuration was altered")
    for widths in (record["heads"], record["neurons"]):
        if not isinstance(widths, list) or any(type(w) is not int or w < 0 for w in widths):
            raise ValueError(f"expected a list of widths per layer in config.robust_ticket, got {widths!r}")


def auto_map(config: Any, model_class: str) -> dict[str, str]:
    """For every auto class that knows this configuration: the class of this file that it opens."""
    entries = {}
    for name in dir(modeling_auto):
        mapping = getattr(getattr(modeling_auto, name), "_model_mapping", None)
        if name.startswith("AutoModel") and mapping is not None and type(config) in mapping:
            entries[name] = f"{Path(__file__).stem}.{stock_class(config, mapping, model_class).__name__}"
    return entries


def mark_pruned(model: Any) -> None:
    """Makes a configuration open a pruned model with this file's classes; others refuse the name of its attention."""
    model.config.auto_map = auto_map(model.config, type(model).__name__)
    model.config.attn_implementation = REFUSAL


def stock_class(config: Any, mapping: Any, model_class: str | None) -> type:
    """The class that an auto class opens for a configuration; among several, the one that was saved."""
    known = mapping[type(config)] if isinstance(mapping[type(config)], (tuple, list)) else [mapping[type(config)]]
    return next((stock for stock in known if stock.__name__ == model_class), known[0])


class PrunedModel(_Derived):
    """What a pruned model adds to its stock class: it builds itself at its widths, and saves what reopens it."""

    _ticket_bytes: bytes | None = None

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        if config._attn_implementation == REFUSAL:
            config._attn_implementation = None
        super().__init__(config, *args, **kwargs)
        shrink_to_widths(self, getattr(self.config, "robust_ticket", None))
        mark_pruned(self)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """As in the stock class; the ticket beside the weights, if it is there, is carried along and saved again."""
        loaded = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        if pretrained_model_name_or_path is not None:
            options = {key: kwargs[key] for key in HUB_OPTIONS if kwargs.get(key) is not None}
            options |= {f"_raise_exceptions_for_{x}": False for x in ("missing_entries", "connection_errors")}
            file = cached_file(pretrained_model_name_or_path, TICKET_FILE, **options)
            model = loaded[0] if isinstance(loaded, tuple) else loaded
            model._ticket_bytes = None if file is None else Path(file).read_bytes()
        return loaded

    def save_pretrained(self, save_directory: Any, is_main_process: bool = True, *args: Any, **kwargs: Any) -> Any:
        """As in the stock class; this file and the ticket are written first, beside the weights."""
        if is_main_process:
            write_pruned_files(self, save_directory)
        return super().save_pretrained(save_directory, is_main_process, *args, **kwargs)

    def _upload_modified_files(self, working_dir: Any, repo_id: str, files_timestamps: dict, **kwargs: Any) -> Any:
        # The stock method uploads what changed since it looked at the folder; our files were there already.
        ours = (Path(__file__).name, TICKET_FILE)
        stamps = {name: stamp for name, stamp in files_timestamps.items() if name not in ours}
        return super()._upload_modified_files(working_dir, repo_id, stamps, **kwargs)


_DERIVED: dict[tuple[type, type], type] = {}


def derive(stock: type, kind: type = PrunedModel) -> type:
    """The pruned counterpart of a stock class, under the same name: transformers finds the loss by the name."""
    stock = getattr(stock, "_dense_class", stock)
    if (kind, stock) not in _DERIVED:
        members = {"__module__": __name__, "__qualname__": stock.__name__, "__doc__": stock.__doc__}
        _DERIVED[kind, stock] = type(stock.__name__, (kind, stock), {**members, "_dense_class": stock})
    return _DERIVED[kind, stock]


def write_pruned_files(model: Any, folder: Any) -> None:
    """Writes what a pruned model needs beside its configuration and weights, each file as a whole or not at all."""
    os.makedirs(folder, exist_ok=True)
    for name, content in ((Path(__file__).name, Path(__file__).read_bytes()), (TICKET_FILE, model._ticket_bytes)):
        temporary = Path(folder, f".{name}.{uuid.uuid4().hex}")
        try:
            if content is not None:
                with open(temporary, "xb") as stream:
                    stream.write(content)
                    stream.flush()
                    os.fsync(stream.fileno())
                os.replace(temporary, Path(folder, name))
        finally:
            temporary.unlink(missing_ok=True)


def _empty(kind: type, stock: type) -> nn.Module:
    return object.__new__(derive(stock, kind))


def _select(value: torch.Tensor, dim: int, index: torch.Tensor) -> torch.Tensor:
    kept = value.detach().index_select(dim, index.to(value.device))
    return nn.Parameter(kept, requires_grad=value.requires_grad) if isinstance(value, nn.Parameter) else kept


def _select_argument(module: nn.Module, keyword: str, selected: list[int] | None) -> None:
    if not hasattr(module, "robust_ticket_selection"):
        module.register_forward_pre_hook(pass_selected, with_kwargs=True)
    module.robust_ticket_selection = (keyword, list(selected))


def pass_selected(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    """The hook that shows a module the kept units of a tensor that all layers share."""
    keyword, selected = module.robust_ticket_selection
    shared = kwargs.get(keyword)
    return args, kwargs if shared is None else {**kwargs, keyword: shared[:, selected]}


def __getattr__(name: str) -> type:
    stock = None if name.startswith("_") else getattr(transformers, name, None)
    if isinstance(stock, type) and issubclass(stock, transformers.PreTrainedModel):
        return derive(stock)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
