"""DINOv2 with the plain feed-forward, which all sizes but the giant one have."""

from __future__ import annotations

from .base import Architecture, plain_neurons, separate_heads

DINOV2 = Architecture(
    name="dinov2",
    model_types=("dinov2",),
    layer_path="encoder.layer.*",
    heads=separate_heads(
        attention="attention",
        q="q_proj",
        k="k_proj",
        v="v_proj",
        output="attention.o_proj",
        size="head_dim",
        scaled=("num_attention_heads",),
    ),
    neurons=plain_neurons(up="mlp.fc1", down="mlp.fc2"),
    unsupported=(("use_swiglu_ffn", "its gated feed-forward has other module paths"),),
)
