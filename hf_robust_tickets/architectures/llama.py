"""Llama and the families that share its module names.

With grouped-query attention one unit is a key-value head with all the query heads that read it: the attention code
assumes the same number of query heads per key-value head everywhere. `num_heads` counts these groups.
"""

from __future__ import annotations

from .base import Architecture
from .units import Cut, UnitGroup, gated_neurons

LLAMA = Architecture(
    name="llama",
    model_types=(
        "eurobert",
        "gemma",
        "granite",
        "llama",
        "ministral",
        "mistral",
        "olmo",
        "qwen2",
        "qwen3",
        "smollm3",
    ),
    layer_path="layers.*",
    heads=UnitGroup(
        output="self_attn.o_proj",
        cuts=(
            Cut("self_attn.q_proj"),
            Cut("self_attn.k_proj"),
            Cut("self_attn.v_proj"),
            Cut("self_attn.o_proj", "in"),
        ),
        unit_size=("self_attn.head_dim", "self_attn.num_key_value_groups"),
        block="self_attn",
        norm_before="input_layernorm",
    ),
    neurons=gated_neurons(
        gate="mlp.gate_proj", up="mlp.up_proj", down="mlp.down_proj", norm_before="post_attention_layernorm"
    ),
)
