"""Where in a model the heads and neurons are: one family per file, as data."""

from __future__ import annotations

from .albert import ALBERT
from .bart import BART, MBART
from .base import Architecture, LayerGroup
from .bert import BERT
from .deberta import DEBERTA
from .deberta_v2 import DEBERTA_V2
from .dinov2 import DINOV2
from .distilbert import DISTILBERT
from .esm import ESM
from .gemma2 import GEMMA2
from .gpt2 import GPT2
from .gpt_neox import GPT_NEOX
from .layers import layer_module, layer_number, layers_of
from .llama import LLAMA
from .megatron_bert import MEGATRON_BERT
from .modernbert import MODERNBERT
from .mpnet import MPNET
from .nomic_bert import NOMIC_BERT
from .opt import OPT
from .registry import get_architecture, known_architectures, known_model_types, register_architecture
from .resnet import BN_CONV, CONV_BN, RESNET_BASIC, RESNET_BOTTLENECK
from .roberta_prelayernorm import ROBERTA_PRELAYERNORM
from .t5 import T5
from .units import NO_UNITS, Cut, UnitGroup, gated_neurons, inner_channels, plain_neurons, separate_heads
from .vit import VIT
from .xlm_roberta_xl import XLM_ROBERTA_XL

_KNOWN = (
    ALBERT,
    BART,
    BERT,
    BN_CONV,
    CONV_BN,
    DEBERTA,
    DEBERTA_V2,
    DINOV2,
    DISTILBERT,
    ESM,
    GEMMA2,
    GPT2,
    GPT_NEOX,
    LLAMA,
    MBART,
    MEGATRON_BERT,
    MODERNBERT,
    MPNET,
    NOMIC_BERT,
    OPT,
    RESNET_BASIC,
    RESNET_BOTTLENECK,
    ROBERTA_PRELAYERNORM,
    T5,
    VIT,
    XLM_ROBERTA_XL,
)
for _architecture in _KNOWN:
    register_architecture(_architecture)

__all__ = [
    "NO_UNITS",
    "Architecture",
    "Cut",
    "LayerGroup",
    "UnitGroup",
    "gated_neurons",
    "get_architecture",
    "inner_channels",
    "known_architectures",
    "known_model_types",
    "layer_module",
    "layer_number",
    "layers_of",
    "plain_neurons",
    "register_architecture",
    "separate_heads",
]
