"""XLM-RoBERTa XL: BERT's module names, with normalisation before each block."""

from __future__ import annotations

from dataclasses import replace

from .bert import BERT

XLM_ROBERTA_XL = replace(
    BERT,
    name="xlm-roberta-xl",
    model_types=("xlm-roberta-xl",),
    heads=replace(BERT.heads, norm_before="attention.self_attn_layer_norm"),
    neurons=replace(BERT.neurons, norm_before="LayerNorm"),
)
