"""Pruned checkpoints: writing them, opening them, and turning them back into the dense shape.

A folder written by `model.save_pretrained` of a pruned model, by a `Trainer`, or by `save_pruned` holds the weights,
`ticket.safetensors` and a small file of code. It opens with `load_pruned`, and without this package with the auto
classes and `trust_remote_code=True`.
"""

from __future__ import annotations

import copy
import logging
import os
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, PreTrainedModel
from transformers.models.auto import modeling_auto

from .._arguments import check_arguments
from .._files import check_folder
from ..errors import CheckpointError, ConfigurationError, TicketError
from .gates import get_gates
from .growing import grow_units, restore_block
from .modeling_robust_ticket import HUB_OPTIONS, PrunedModel, check_record, stock_class
from .per_layer import per_layer_entries
from .pruning import is_pruned, pruned_ticket, unmark
from .robust_ticket_surgery import derive, find_places

logger = logging.getLogger(__name__)

ALIGNMENT = 64  # bytes: of what torch allocates on a CPU

# What a damaged folder makes the stock loader raise.
DAMAGE = (ValueError, TypeError, KeyError, AttributeError, IndexError, RuntimeError, OSError, SafetensorError)


@check_arguments
def save_pruned(model: PreTrainedModel, path: str | os.PathLike[str], tokenizer: Any = None) -> None:
    """Writes a pruned model to a folder that opens with and without this package.

    The same as `model.save_pretrained(path)`, with two checks and the tokenizer.

    Args:
        model: A pruned model.
        path: The folder; it is created.
        tokenizer: Tokenizer or image processor to save beside it.

    Raises:
        TicketError: If the model is dense, or has gates.
    """
    _require_pruned(model)
    check_folder(path)
    model.save_pretrained(path)
    if tokenizer is not None:
        tokenizer.save_pretrained(path)


@check_arguments
def load_pruned(path_or_repo: str | os.PathLike[str], auto_class: Any = None, **kwargs: Any) -> Any:
    """Opens a pruned checkpoint; no code that comes with it is run, and nobody is asked whether it may.

    Args:
        path_or_repo: A folder, or a repository on the Hub.
        auto_class: The task: an auto class (`AutoModelForSequenceClassification`), a model class, or the name of
            either. None: the class that was saved.
        **kwargs: As for `from_pretrained`: `dtype`, `device_map`, `revision`, `num_labels`, ...

    Returns:
        The model, in eval mode; with `output_loading_info=True` also the loading report. On a CPU its weights are
        copies at addresses of torch's choice, so that products are summed in the order of the model that was saved.

    Raises:
        CheckpointError: If the folder is missing, is not a pruned checkpoint, or is damaged: truncated weights, widths
            that contradict the weights, a ticket that contradicts the widths.
        ConfigurationError: If `auto_class` does not fit the checkpoint.
    """
    wants_report = kwargs.pop("output_loading_info", False)
    if kwargs.pop("trust_remote_code", False):
        logger.warning(
            "trust_remote_code=True is not needed and has no effect: load_pruned runs no code of %s", path_or_repo
        )
    hub_options = {key: kwargs[key] for key in HUB_OPTIONS if key in kwargs}
    try:
        own = isinstance(auto_class, type) and issubclass(auto_class, PreTrainedModel)
        kind = auto_class.config_class if own else AutoConfig
        config = kind.from_pretrained(path_or_repo, trust_remote_code=False, **hub_options)
        check_record(getattr(config, "robust_ticket", None))
        stock = _class_for(config, auto_class)
        options = {"output_loading_info": True, "trust_remote_code": False, **kwargs}
        model, report = derive(stock, PrunedModel).from_pretrained(path_or_repo, **options)
    except ConfigurationError:
        raise
    except DAMAGE as error:
        reason = " ".join(str(error).split())[:400]
        raise CheckpointError(f"expected a whole pruned checkpoint at {path_or_repo}, got: {reason}") from error
    _check_consistent(model, report, path_or_repo)
    _check_ticket(model, path_or_repo)
    model._per_layer_config = per_layer_entries(model.config)  # that of an older checkpoint, too
    _align(model)
    return (model, report) if wants_report else model


@check_arguments
def export_dense(
    model: PreTrainedModel, path: str | os.PathLike[str] | None = None, tokenizer: Any = None
) -> PreTrainedModel:
    """The pruned model at its full size, zeros in the place of what was cut, for plain `from_pretrained` anywhere.

    The logits are those of the pruned model; the speed is that of the dense one.

    Args:
        model: A pruned model; it is left as it is.
        path: Folder to save to, or None to save nothing.
        tokenizer: Tokenizer or image processor to save beside it.

    Returns:
        The dense model, of the stock class.

    Raises:
        TicketError: If the model is dense, or has gates.
    """
    _require_pruned(model)
    if path is not None:
        check_folder(path)
    dense = copy.deepcopy(model)
    record, ticket = dense.config.robust_ticket, pruned_ticket(dense)
    dense.__class__ = type(dense)._dense_class
    for name in ("_ticket_bytes", "_per_layer_config"):
        dense.__dict__.pop(name, None)
    unmark(dense.config)
    # Blocks that were removed come back from a model that still has them.
    removed = any(0 in [k for k, d in zip(record[kind], record["dense"][kind]) if d] for kind in ("heads", "neurons"))
    whole = type(dense)(dense.config).to(dense.device, dense.dtype) if removed else dense
    places = [find_places(each, record["layout"]) for each in (dense, whole)]
    for kind in ("heads", "neurons"):
        for i, ((layer, part), (source, _)) in enumerate(zip(*places)):
            group = part[kind]
            if not record["dense"][kind][i]:
                continue
            if not record[kind][i]:
                restore_block(layer, source, group)
                continue
            # Without the ticket the places are unknown; any will do for the same logits.
            keep = torch.arange(record[kind][i]) if ticket is None else getattr(ticket, kind)[i].nonzero().flatten()
            grow_units(layer, group, keep, record["dense"][kind][i])
    if path is not None:
        dense.save_pretrained(path)
        if tokenizer is not None:
            tokenizer.save_pretrained(path)
    return dense


def _align(model: nn.Module) -> None:
    """Copies what lies in the file of the checkpoint to where torch allocates.

    A library of matrix products picks its order of summation by the address too, and in the file a tensor begins
    wherever its header leaves it: the same weights would give other last bits, and a training that goes on from them
    other weights.
    """
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.device.type == "cpu" and tensor.data_ptr() % ALIGNMENT:
            tensor.data = tensor.data.clone()


def _require_pruned(model: nn.Module) -> None:
    if not is_pruned(model):
        raise TicketError(
            f"expected a pruned model, got a dense {type(model).__name__}: call prune_(model, ticket) first"
        )
    if get_gates(model) is not None:
        raise TicketError("expected a model without gates, got a gated one: call detach_gates(model) before saving")


def _class_for(config: Any, auto_class: Any) -> type:
    if auto_class is None:
        auto_class = (config.architectures or ["a class"])[0]
    if isinstance(auto_class, str):
        found = getattr(transformers, auto_class, None) or _registered_class(config, auto_class)
        if found is None:
            raise ConfigurationError(
                f"expected a class of transformers, got {auto_class!r}: pass the class itself as auto_class="
            )
        auto_class = found
    if isinstance(auto_class, type) and issubclass(auto_class, PreTrainedModel):
        return auto_class
    mapping = getattr(auto_class, "_model_mapping", None)
    if mapping is None or type(config) not in mapping:
        raise ConfigurationError(
            f"expected an auto class or model class for {config.model_type!r} as auto_class=, got {auto_class!r}"
        )
    return stock_class(config, mapping, (config.architectures or [None])[0])


def _registered_class(config: Any, name: str) -> type | None:
    """The class of this name that was registered with an auto class for a configuration, outside transformers."""
    mappings = (getattr(each, "_model_mapping", None) for each in vars(modeling_auto).values())
    known = (mapping[type(config)] for mapping in mappings if mapping is not None and type(config) in mapping)
    classes = (each for group in known for each in (group if isinstance(group, (tuple, list)) else (group,)))
    return next((each for each in classes if each.__name__ == name), None)


def _check_consistent(model: PreTrainedModel, report: dict[str, Any], source: Any) -> None:
    """A new head may start from random weights; a layer may not, nor may it leave weights of the file unused."""
    names = {module: name for name, module in model.named_modules()}
    layers = [f".{names[layer]}." for layer, _ in find_places(model, model.config.robust_ticket["layout"])]
    unused = sorted(key for key in report["unexpected_keys"] if any(layer in f".{key}" for layer in layers))
    if unused:
        raise CheckpointError(
            f"expected weights at {source} for the blocks alone that the configuration keeps, got {unused[0]} and "
            f"{len(unused) - 1} others: the configuration or the weights were altered"
        )
    absent = [*report["missing_keys"], *(key[0] for key in report["mismatched_keys"])]
    holes = sorted(key for key in absent if any(layer in f".{key}" for layer in layers))
    if holes:
        raise CheckpointError(
            f"expected weights for every layer at {source}, got none that fit {holes[0]} and {len(holes) - 1} others: "
            "the weights are incomplete or the configuration was altered"
        )


def _check_ticket(model: PreTrainedModel, source: Any) -> None:
    ticket, record = pruned_ticket(model), model.config.robust_ticket
    if ticket is None:
        logger.warning("%s has no ticket.safetensors: which heads and neurons were kept is not known", source)
    elif ticket.fingerprint() != record["fingerprint"]:
        raise CheckpointError(
            f"expected the ticket {record['fingerprint']} that the configuration at {source} names, "
            f"got {ticket.fingerprint()}: the two files belong to different checkpoints"
        )
    elif (ticket.head_counts, ticket.neuron_counts) != (record["heads"], record["neurons"]):
        raise CheckpointError(
            f"expected the widths of the ticket at {source}, {ticket.head_counts} heads and {ticket.neuron_counts} "
            f"neurons, got a configuration with {record['heads']} and {record['neurons']}: it was altered"
        )
