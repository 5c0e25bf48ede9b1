"""ALBERT: all layers of a group share their weights, so one ticket entry stands for the whole group."""

from __future__ import annotations

from dataclasses import replace

from .base import Architecture
from .units import plain_neurons, separate_heads

ALBERT = Architecture(
    name="albert",
    model_types=("albert",),
    layer_path="encoder.albert_layer_groups.*.albert_layers.*",
    heads=replace(
        separate_heads(
            attention="attention",
            q="query",
            k="key",
            v="value",
            output="attention.dense",
            size="attention_head_size",
            scaled=("num_attention_heads", "all_head_size"),
        ),
        norm_inside="attention.LayerNorm",
    ),
    neurons=plain_neurons(up="ffn", down="ffn_output"),
)
