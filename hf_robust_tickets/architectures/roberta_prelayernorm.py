"""RoBERTa with normalisation before each block."""

from __future__ import annotations

from dataclasses import replace

from .bert import BERT

ROBERTA_PRELAYERNORM = replace(
    BERT,
    name="roberta-prelayernorm",
    model_types=("roberta-prelayernorm",),
    heads=replace(BERT.heads, norm_before="attention.LayerNorm"),
    neurons=replace(BERT.neurons, norm_before="intermediate.LayerNorm"),
)
