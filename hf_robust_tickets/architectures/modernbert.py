"""ModernBERT: fused query-key-value and fused gated feed-forward projections."""

from __future__ import annotations

from .base import Architecture
from .units import Cut, UnitGroup

MODERNBERT = Architecture(
    name="modernbert",
    model_types=("modernbert",),
    layer_path="layers.*",
    heads=UnitGroup(
        output="attn.Wo",
        cuts=(Cut("attn.Wqkv", blocks=3), Cut("attn.Wo", "in")),
        unit_size=("attn.head_dim",),
        block="attn",
        norm_before="attn_norm",
    ),
    neurons=UnitGroup(output="mlp.Wo", cuts=(Cut("mlp.Wi", blocks=2), Cut("mlp.Wo", "in")), norm_before="mlp_norm"),
)
