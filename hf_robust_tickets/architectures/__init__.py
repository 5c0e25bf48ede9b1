"""Where in a model the heads and neurons are: one family per file, as data."""

from __future__ import annotations

from .albert import ALBERT
from .base import Architecture, Cut, UnitGroup, gated_neurons, plain_neurons, separate_heads
from .bert import BERT
from .deberta import DEBERTA
from .deberta_v2 import DEBERTA_V2
from .distilbert import DISTILBERT
from .gpt2 import GPT2
from .llama import LLAMA
from .modernbert import MODERNBERT
from .mpnet import MPNET
from .registry import get_architecture, known_model_types, register_architecture
from .vit import VIT

for _architecture in (ALBERT, BERT, DEBERTA, DEBERTA_V2, DISTILBERT, GPT2, LLAMA, MODERNBERT, MPNET, VIT):
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
