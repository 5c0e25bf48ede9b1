"""NomicBERT: an encoder with rotary positions and a gated feed-forward."""

from __future__ import annotations

from .base import Architecture
from .units import gated_neurons, separate_heads

NOMIC_BERT = Architecture(
    name="nomic_bert",
    model_types=("nomic_bert",),
    layer_path="layers.*",
    heads=separate_heads(
        attention="self_attn", q="q_proj", k="k_proj", v="v_proj", output="self_attn.o_proj", size="head_dim"
    ),
    neurons=gated_neurons(gate="mlp.gate_proj", up="mlp.up_proj", down="mlp.down_proj"),
)
