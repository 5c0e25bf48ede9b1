"""ESM: BERT's module names, with normalisation before each block."""

from __future__ import annotations

from dataclasses import replace

from .bert import BERT

ESM = replace(
    BERT,
    name="esm",
    model_types=("esm",),
    heads=replace(BERT.heads, norm_before="attention.LayerNorm"),
    neurons=replace(BERT.neurons, norm_before="LayerNorm"),
)
