"""DeBERTa v2 and v3, with the position projections that the v2 layout has when they are not shared."""

from __future__ import annotations

from dataclasses import replace

from .base import Architecture
from .units import Cut, plain_neurons, separate_heads

_HEADS = separate_heads(
    attention="attention.self",
    q="query_proj",
    k="key_proj",
    v="value_proj",
    output="attention.output.dense",
    size="attention_head_size",
    scaled=("num_attention_heads", "all_head_size"),
)

DEBERTA_V2 = Architecture(
    name="deberta-v2",
    model_types=("deberta-v2",),
    layer_path="encoder.layer.*",
    heads=replace(
        _HEADS,
        cuts=(
            *_HEADS.cuts,
            Cut("attention.self.pos_key_proj", optional=True),
            Cut("attention.self.pos_query_proj", optional=True),
        ),
    ),
    neurons=plain_neurons(up="intermediate.dense", down="output.dense"),
)
