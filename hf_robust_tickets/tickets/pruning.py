"""Surgery: heads and neurons that a ticket does not keep leave the model for good."""

from __future__ import annotations

from dataclasses import asdict
from operator import attrgetter
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel, modeling_utils
from transformers.pytorch_utils import Conv1D

from .._arguments import check_arguments
from ..architectures import Architecture, Cut, get_architecture
from ..errors import TicketError
from .gates import get_gates
from .modeling_robust_ticket import RECORD_VERSION, PrunedModel, mark_pruned
from .per_layer import per_layer_entries
from .robust_ticket_surgery import count_units, cut_units, derive, weight_dim
from .ticket import RobustTicket

# What may be cut. DTensors and the types of quantised weights are others.
WHOLE_TENSORS: tuple[type, ...] = (torch.Tensor,)


@check_arguments
def prune_(model: PreTrainedModel, ticket: RobustTicket) -> PreTrainedModel:
    """Cuts out of a model, in place, every head and neuron that a ticket does not keep.

    The parameters that shrink become new objects, so build optimisers and distributed wrappers afterwards. The
    model's class becomes one derived from it under the same name, whose `save_pretrained` (and so a Trainer's
    checkpoint) writes what reopens the pruned model; `config.robust_ticket` records the widths. A pruned model can be
    pruned again with a ticket for what is left; the record then holds both cuts as one.

    A layer that keeps no head, or no neuron, loses that block: its weights, those of a normalisation that only it
    read, and its computation. Its residual connection stays, and so does the bias of its output projection, as a
    constant: what the block adds when all its heads or neurons are masked. (Dropout that a family applies to it inside
    the attention module goes too.)

    Args:
        model: The model, on any device, the meta device included.
        ticket: Drawn for a model of this shape.

    Returns:
        The model.

    Raises:
        UnknownArchitectureError: If the family is unknown.
        TicketError: If the ticket is for another shape, or the model is gated, wrapped, quantised or sharded, or has
            adapters, or a layer loses all heads in a family whose description does not name the block.
    """
    architecture = get_architecture(model)
    check_fits(model, ticket)
    total, dense = _total_ticket(model, ticket)
    for kind, masks, all_masks in (("heads", ticket.heads, total.heads), ("neurons", ticket.neurons, total.neurons)):
        for place, mask, all_mask in zip(architecture.places(model), masks, all_masks):
            group, keep = asdict(getattr(place, kind)), mask.nonzero().flatten()
            cut_units(place.layer, group, keep, selected=all_mask.nonzero().flatten().tolist())
    model.config.robust_ticket = _record(total, dense, architecture)
    mark_pruned(model)
    _become_pruned(model)
    model._ticket_bytes, model._per_layer_config = total.to_bytes(), per_layer_entries(model.config)
    return model


def unmark(config: Any) -> None:
    """Makes the configuration of a pruned model that of the dense one, in place."""
    for name in ("robust_ticket", "auto_map", "attn_implementation"):
        config.__dict__.pop(name, None)


def is_pruned(model: nn.Module) -> bool:
    """Whether a model was pruned by this package, in this process or before it was loaded."""
    return hasattr(type(model), "_dense_class") and getattr(model.config, "robust_ticket", None) is not None


def pruned_ticket(model: nn.Module) -> RobustTicket | None:
    """The ticket, over the dense model, that a model was pruned with; None where there is none, or it came without."""
    content = getattr(model, "_ticket_bytes", None)
    return None if content is None else RobustTicket.from_bytes(content, source="the pruned model")


def _become_pruned(model: PreTrainedModel) -> None:
    model.__class__ = derive(type(model), PrunedModel)
    # transformers records in __init__ which hidden states a class can return, and looks it up by the class of today.
    registry = getattr(modeling_utils, "_CAN_RECORD_REGISTRY", None)
    if registry is not None:
        registry[model] = model._can_record_outputs


def _total_ticket(model: PreTrainedModel, ticket: RobustTicket) -> tuple[RobustTicket, dict[str, list[int]]]:
    if not is_pruned(model):
        return ticket, ticket.shape()
    earlier = pruned_ticket(model)
    if earlier is None:
        raise TicketError(
            "expected the ticket of the earlier cut with the pruned model, got none: "
            "put ticket.safetensors back beside its weights and load it again"
        )
    return earlier.compose(ticket), earlier.shape()


def _record(total: RobustTicket, dense: dict[str, list[int]], architecture: Architecture) -> dict[str, Any]:
    record = {
        "version": RECORD_VERSION,
        "heads": total.head_counts,
        "neurons": total.neuron_counts,
        "dense": dense,
        "fingerprint": total.fingerprint(),
        "layout": architecture.layout(),
    }
    if any(part.heads.select for part in architecture.parts):
        record["kept_heads"] = [mask.nonzero().flatten().tolist() for mask in total.heads]
    return record


def check_fits(model: PreTrainedModel, ticket: RobustTicket | None = None) -> None:
    """Checks that a model can be pruned, and with a given ticket, without changing anything.

    Raises:
        UnknownArchitectureError: If the family is unknown.
        TicketError: If the ticket is for another shape, or the model is gated, wrapped, quantised or sharded.
    """
    architecture = get_architecture(model)
    if not isinstance(model, PreTrainedModel):
        raise TicketError(
            f"expected a bare transformers model, got {type(model).__name__}: unwrap it before pruning "
            "(of a PEFT model: prune first and then add adapters, or call merge_and_unload())"
        )
    if _is_quantised(model):
        raise TicketError("expected a model in floating point, got a quantised one: prune it before quantising")
    if get_gates(model) is not None:
        raise TicketError("expected a model without gates, got a gated one: call detach_gates(model) before prune_")
    architecture.check_supported(model.config)
    # All of it before the first cut: a model is never left half pruned.
    for layer, *groups in architecture.places(model):
        for group in groups:
            units = count_units(layer, asdict(group))
            for cut in group.cuts if units else ():
                _check_weight_fits(layer, cut, units)
    present = {"heads": architecture.num_heads(model), "neurons": architecture.num_neurons(model)}
    if ticket is not None and ticket.shape() != present:
        raise TicketError(
            f"expected a ticket for the {len(present['heads'])} layers of this model with {present}, "
            f"got one for {len(ticket.heads)} layers with {ticket.shape()}: draw it from this model"
        )
    if ticket is not None:
        _check_convolutions_left(architecture, model, ticket)
    places = architecture.places(model)
    emptied = [
        len(mask) > 0 and not mask.any() and not place.heads.block
        for place, mask in zip(places, () if ticket is None else ticket.heads)
    ]
    if True in emptied:
        raise TicketError(
            f"expected a ticket that keeps a head in every layer, got none in layer {emptied.index(True)}: "
            f"the description of {architecture.name!r} names no heads.block to remove; draw with keep_one=True"
        )


def _check_convolutions_left(architecture: Architecture, model: nn.Module, ticket: RobustTicket) -> None:
    for kind in ("heads", "neurons"):
        for i, output in enumerate(getattr(architecture, f"{kind[:-1]}_outputs")(model)):
            if isinstance(output, nn.Conv2d) and not getattr(ticket, kind)[i].any():
                raise TicketError(
                    f"expected a ticket that keeps a channel of every convolution, got none of the {kind} of block "
                    f"{i}: draw it with keep_one=True"
                )


def _is_quantised(model: PreTrainedModel) -> bool:
    flags = (getattr(model, name, None) for name in ("is_quantized", "hf_quantizer", "quantization_method"))
    return any(flags) or getattr(model.config, "quantization_config", None) is not None


def _check_weight_fits(layer: nn.Module, cut: Cut, units: int) -> None:
    target = _find(layer, cut.path)
    if target is None and cut.optional:
        return
    if not _is_plain(target):
        raise TicketError(
            f"expected a plain linear layer or an ungrouped convolution at {cut.path!r}, got "
            f"{type(target).__module__}.{type(target).__name__}: "
            "merge adapters and undo quantisation before pruning, or correct the architecture's description"
        )
    weight = target if isinstance(target, nn.Parameter) else target.weight
    # DeepSpeed ZeRO-3 leaves empty parameters that carry an id; FSDP and tensor parallelism leave DTensors.
    if hasattr(weight, "ds_id") or type(weight.data) not in WHOLE_TENSORS or not weight.is_floating_point():
        raise TicketError(
            f"expected a whole floating-point weight at {cut.path!r}, got a sharded or quantised one: "
            "prune before the model is distributed or quantised"
        )
    length = len(weight) if isinstance(target, nn.Parameter) else weight.shape[weight_dim(target, cut.side)]
    if units < 1 or length % (units * cut.blocks):
        raise TicketError(
            f"expected {cut.path!r} to divide into {cut.blocks} x {units} units, got {length} features: "
            "correct the architecture's description"
        )


def _is_plain(target: Any) -> bool:
    if type(target) is nn.Conv2d:
        return target.groups == 1
    if type(target) is nn.BatchNorm2d:
        return target.weight is not None
    # A parameter of a class of its own, a sharded one, is a parameter: what its weight must be is asked after this.
    return type(target) in (nn.Linear, Conv1D) or isinstance(target, nn.Parameter)


def _find(layer: nn.Module, path: str) -> Any:
    try:
        return attrgetter(path)(layer)
    except AttributeError:
        return None
