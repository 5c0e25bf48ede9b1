"""Where in a model the heads, neurons and embeddings are: one family per file, as data."""

from __future__ import annotations

from .base import Architecture, Cut, UnitGroup, gated_neurons, plain_neurons, separate_heads
from .bert import BERT
from .distilbert import DISTILBERT
from .registry import get_architecture, known_model_types, register_architecture

for _architecture in (BERT, DISTILBERT):
    register_architecture(_architecture)

__all__ = [
    "Architecture",
    "Cut",
    "UnitGroup",
    "gated_neurons",
    "get_architecture",
    "known_model_types",
    "plain_neurons",
    "register_architecture",
    "separate_heads",
]
