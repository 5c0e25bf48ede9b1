"""MPNet: a relative position bias per head, computed once and passed to every layer."""

from __future__ import annotations

from dataclasses import replace

from .base import Architecture
from .units import plain_neurons, separate_heads

MPNET = Architecture(
    name="mpnet",
    model_types=("mpnet",),
    layer_path="encoder.layer.*",
    heads=replace(
        separate_heads(
            attention="attention.attn",
            q="q",
            k="k",
            v="v",
            output="attention.attn.o",
            size="attention_head_size",
            scaled=("num_attention_heads", "all_head_size"),
        ),
        select=("attention", "position_bias"),
    ),
    neurons=plain_neurons(up="intermediate.dense", down="output.dense"),
)
