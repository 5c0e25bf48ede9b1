"""Where in a model the heads and neurons are: one family per file, as data."""

from __future__ import annotations

from .albert import ALBERT
from .base import Architecture, Cut, UnitGroup, gated_neurons, plain_neurons, separate_heads
from .bert import BERT
from .deberta import DEBERTA
from .deberta_v2 import DEBERTA_V2
from .dinov2 import DINOV2
from .distilbert import DISTILBERT
from .gpt2 import GPT2
from .gpt_neox import GPT_NEOX
from .llama import LLAMA
from .modernbert import MODERNBERT
from .mpnet import MPNET
from .nomic_bert import NOMIC_BERT
from .opt import OPT
from .registry import get_architecture, known_model_types, register_architecture
from .vit import VIT

_KNOWN = (
    ALBERT,
    BERT,
    DEBERTA,
    DEBERTA_V2,
    DINOV2,
    DISTILBERT,
    GPT2,
    GPT_NEOX,
    LLAMA,
    MODERNBERT,
    MPNET,
    NOMIC_BERT,
    OPT,
    VIT,
)
for _architecture in _KNOWN:
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
