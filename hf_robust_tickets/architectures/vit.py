"""ViT and the families that share its module names."""

from __future__ import annotations

from .base import Architecture
from .units import plain_neurons, separate_heads

VIT = Architecture(
    name="vit",
    model_types=("deit", "ijepa", "vit", "vit_msn"),
    layer_path="layers.*",
    heads=separate_heads(
        attention="attention",
        q="q_proj",
        k="k_proj",
        v="v_proj",
        output="attention.o_proj",
        size="head_dim",
        scaled=("num_attention_heads",),
        norm_before="layernorm_before",
    ),
    neurons=plain_neurons(up="mlp.fc1", down="mlp.fc2", norm_before="layernorm_after"),
)
