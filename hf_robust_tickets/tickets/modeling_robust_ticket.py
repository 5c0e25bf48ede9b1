"""Opens a pruned checkpoint with stock transformers: travels with it, and needs `robust_ticket_surgery.py` alone.

`config.robust_ticket` holds the number of heads and neurons that each layer kept, and the module paths at which they
are found. A class derived from the stock one builds the stock model and then shrinks its layers to these widths, so
that the stock `from_pretrained` finds tensors of the right shapes. The modelling code itself stays the stock one. A
layer that kept no head, or no neuron, skips that block: what the block still adds is the bias of its last projection.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers.models.auto import modeling_auto
from transformers.utils.hub import cached_file

from . import robust_ticket_surgery
from .robust_ticket_surgery import Derived, count_units, cut_units, derive, find_places

RECORD_VERSION = 1
PER_LAYER = ("allow_global_per_layer_attribute_access", "per_layer_config")
TICKET_FILE = "ticket.safetensors"
CODE_FILES = tuple(Path(file) for file in (__file__, robust_ticket_surgery.__file__))
REFUSAL = "none: this model is pruned; open it with trust_remote_code=True, or with hf_robust_tickets.load_pruned"
HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token")


def shrink_to_widths(model: nn.Module, record: dict[str, Any]) -> nn.Module:
    """Shrinks a new dense model, in place, to `config.robust_ticket`; ValueError if that contradicts the model."""
    check_record(record)
    places = find_places(model, record["layout"])
    for kind in ("heads", "neurons"):
        kept, present = record[kind], [count_units(layer, part[kind]) for layer, part in places]
        if present != record["dense"][kind] or any(k > p for k, p in zip(kept, present)):
            raise ValueError(
                f"expected config.robust_ticket to keep part of the {present} {kind} per layer that the rest of the "
                f"configuration describes, got {kept} of {record['dense'][kind]}: the configuration was altered"
            )
        for i, (layer, part) in enumerate(places):
            selected = record["kept_heads"][i] if part[kind]["select"] else None
            cut_units(layer, part[kind], torch.arange(kept[i]), selected)
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


class PrunedModel(Derived):
    """What a pruned model adds to its stock class: it builds itself at its widths, and saves what reopens it."""

    _ticket_bytes: bytes | None = None
    _per_layer_config: dict[str, Any] | None = None

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        if config._attn_implementation == REFUSAL:
            config._attn_implementation = None
        native = take_per_layer(config)
        super().__init__(config, *args, **kwargs)
        self._per_layer_config = native
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
        """As in the stock class; this code and the ticket are written first, beside the weights."""
        if is_main_process:
            write_pruned_files(self, save_directory)
        for name, value in (self._per_layer_config or {}).items():
            setattr(self.config, name, value)
        try:
            return super().save_pretrained(save_directory, is_main_process, *args, **kwargs)
        finally:
            take_per_layer(self.config)

    def _upload_modified_files(self, working_dir: Any, repo_id: str, files_timestamps: dict, **kwargs: Any) -> Any:
        # The stock method uploads what changed since it looked at the folder; our files were there already.
        ours = (*(file.name for file in CODE_FILES), TICKET_FILE)
        stamps = {name: stamp for name, stamp in files_timestamps.items() if name not in ours}
        return super()._upload_modified_files(working_dir, repo_id, stamps, **kwargs)


def take_per_layer(config: Any) -> dict[str, Any]:
    """Takes off a configuration what it says of single layers, and gives it back: the stock code builds them alike."""
    written = config.to_dict()
    config.per_layer_config = None
    config.__dict__.pop(PER_LAYER[0], None)
    return {name: written[name] for name in PER_LAYER if name in written}


def write_pruned_files(model: Any, folder: Any) -> None:
    """Writes what a pruned model needs beside its configuration and weights, each file as a whole or not at all."""
    os.makedirs(folder, exist_ok=True)
    for name, content in (
        *((file.name, file.read_bytes()) for file in CODE_FILES),
        (TICKET_FILE, model._ticket_bytes),
    ):
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


def __getattr__(name: str) -> type:
    stock = None if name.startswith("_") else getattr(transformers, name, None)
    if isinstance(stock, type) and issubclass(stock, transformers.PreTrainedModel):
        return derive(stock, PrunedModel)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
