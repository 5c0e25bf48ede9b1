"""BERT and the families that share its module names."""

from __future__ import annotations

from .base import Architecture
from .units import plain_neurons, separate_heads

BERT = Architecture(
    name="bert",
    model_types=(
        "bert",
        "camembert",
        "data2vec-text",
        "electra",
        "ernie",
        "layoutlm",
        "rembert",
        "roberta",
        "xlm-roberta",
    ),
    layer_path="encoder.layer.*",
    heads=separate_heads(
        attention="attention.self",
        q="query",
        k="key",
        v="value",
        output="attention.output.dense",
        size="attention_head_size",
        scaled=("num_attention_heads", "all_head_size"),
    ),
    neurons=plain_neurons(up="intermediate.dense", down="output.dense"),
)
