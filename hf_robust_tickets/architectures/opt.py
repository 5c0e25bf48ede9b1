"""OPT."""

from __future__ import annotations

from .base import Architecture, plain_neurons, separate_heads

OPT = Architecture(
    name="opt",
    model_types=("opt",),
    layer_path="decoder.layers.*",
    heads=separate_heads(
        attention="self_attn",
        q="q_proj",
        k="k_proj",
        v="v_proj",
        output="self_attn.out_proj",
        size="head_dim",
        scaled=("num_heads",),
    ),
    neurons=plain_neurons(up="fc1", down="fc2"),
)
