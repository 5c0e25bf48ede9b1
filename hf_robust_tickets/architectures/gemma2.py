"""Gemma 2: Llama's module names, with normalisation before and after each block."""

from __future__ import annotations

from dataclasses import replace

from .llama import LLAMA

GEMMA2 = replace(
    LLAMA,
    name="gemma2",
    model_types=("gemma2",),
    neurons=replace(LLAMA.neurons, norm_before="pre_feedforward_layernorm"),
)
