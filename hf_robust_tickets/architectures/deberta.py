"""DeBERTa: query, key and value of a head lie side by side in one projection, and positions have projections too."""

from __future__ import annotations

from .base import Architecture
from .units import Cut, UnitGroup, plain_neurons

DEBERTA = Architecture(
    name="deberta",
    model_types=("deberta",),
    layer_path="encoder.layer.*",
    heads=UnitGroup(
        output="attention.output.dense",
        cuts=(
            Cut("attention.self.in_proj"),
            Cut("attention.self.q_bias"),
            Cut("attention.self.v_bias"),
            Cut("attention.self.pos_proj", optional=True),
            Cut("attention.self.pos_q_proj", optional=True),
            Cut("attention.output.dense", "in"),
        ),
        unit_size=("attention.self.attention_head_size",),
        scaled=("attention.self.num_attention_heads", "attention.self.all_head_size"),
        block="attention.self",
    ),
    neurons=plain_neurons(up="intermediate.dense", down="output.dense"),
    unsupported=(("talking_head", "every head then depends on all others"),),
)
