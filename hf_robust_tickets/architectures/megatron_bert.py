"""Megatron-BERT: BERT's module names, with normalisation before each block."""

from __future__ import annotations

from dataclasses import replace

from .bert import BERT

MEGATRON_BERT = replace(
    BERT,
    name="megatron-bert",
    model_types=("megatron-bert",),
    heads=replace(BERT.heads, norm_before="attention.ln"),
    neurons=replace(BERT.neurons, norm_before="ln"),
)
