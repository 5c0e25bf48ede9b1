"""GPT-NeoX and Pythia: query, key and value of a head lie side by side in one projection."""

from __future__ import annotations

from .base import Architecture
from .units import Cut, UnitGroup, plain_neurons

GPT_NEOX = Architecture(
    name="gpt_neox",
    model_types=("gpt_neox",),
    layer_path="layers.*",
    heads=UnitGroup(
        output="attention.dense",
        cuts=(Cut("attention.query_key_value"), Cut("attention.dense", "in")),
        unit_size=("attention.head_size",),
        block="attention",
        norm_before="input_layernorm",
    ),
    neurons=plain_neurons(up="mlp.dense_h_to_4h", down="mlp.dense_4h_to_h", norm_before="post_attention_layernorm"),
)
