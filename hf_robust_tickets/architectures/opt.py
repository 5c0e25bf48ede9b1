"""OPT; of its sizes only 350M normalises after each block and not before it."""

from __future__ import annotations

from dataclasses import replace

from .base import Architecture
from .units import plain_neurons, separate_heads

OPT = Architecture(
    name="opt",
    model_types=("opt",),
    layer_path="decoder.layers.*",
    heads=replace(
        separate_heads(
            attention="self_attn",
            q="q_proj",
            k="k_proj",
            v="v_proj",
            output="self_attn.out_proj",
            size="head_dim",
            scaled=("num_heads",),
            norm_before="self_attn_layer_norm",
        ),
        norm_before_if="do_layer_norm_before",
    ),
    neurons=replace(
        plain_neurons(up="fc1", down="fc2", norm_before="final_layer_norm"), norm_before_if="do_layer_norm_before"
    ),
)
