"""DistilBERT."""

from __future__ import annotations

from .base import Architecture
from .units import plain_neurons, separate_heads

DISTILBERT = Architecture(
    name="distilbert",
    model_types=("distilbert",),
    layer_path="transformer.layer.*",
    heads=separate_heads(
        attention="attention",
        q="q_lin",
        k="k_lin",
        v="v_lin",
        output="attention.out_lin",
        size="attention_head_size",
        scaled=("n_heads",),
    ),
    neurons=plain_neurons(up="ffn.lin1", down="ffn.lin2"),
)
