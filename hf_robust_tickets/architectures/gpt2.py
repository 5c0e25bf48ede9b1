"""GPT-2: a fused query-key-value projection, and weights stored transposed."""

from __future__ import annotations

from .base import Architecture
from .units import Cut, UnitGroup, plain_neurons

GPT2 = Architecture(
    name="gpt2",
    model_types=("gpt2",),
    layer_path="h.*",
    heads=UnitGroup(
        output="attn.c_proj",
        cuts=(Cut("attn.c_attn", blocks=3), Cut("attn.c_proj", "in")),
        unit_size=("attn.head_dim",),
        scaled=("attn.num_heads", "attn.split_size"),
        block="attn",
        norm_before="ln_1",
    ),
    neurons=plain_neurons(up="mlp.c_fc", down="mlp.c_proj", norm_before="ln_2"),
)
