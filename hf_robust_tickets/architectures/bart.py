"""BART and the encoder-decoder families that share its module names."""

from __future__ import annotations

from .base import Architecture, LayerGroup
from .units import UnitGroup, plain_neurons, separate_heads


def _heads(attention: str, norm_before: str = "") -> UnitGroup:
    return separate_heads(
        attention=attention,
        q="q_proj",
        k="k_proj",
        v="v_proj",
        output=f"{attention}.out_proj",
        size="head_dim",
        scaled=("num_heads",),
        norm_before=norm_before,
    )


BART = Architecture(
    name="bart",
    model_types=("bart", "marian"),
    layer_path="encoder.layers.*",
    heads=_heads("self_attn"),
    neurons=plain_neurons(up="fc1", down="fc2"),
    more=(
        LayerGroup("decoder.layers.*", heads=_heads("self_attn"), neurons=plain_neurons(up="fc1", down="fc2")),
        LayerGroup("decoder.layers.*", heads=_heads("encoder_attn")),
    ),
)

# These normalise before each block and not after it.
_SELF = _heads("self_attn", norm_before="self_attn_layer_norm")
_NEURONS = plain_neurons(up="fc1", down="fc2", norm_before="final_layer_norm")
MBART = Architecture(
    name="mbart",
    model_types=("m2m_100", "mbart", "pegasus"),
    layer_path="encoder.layers.*",
    heads=_SELF,
    neurons=_NEURONS,
    more=(
        LayerGroup("decoder.layers.*", heads=_SELF, neurons=_NEURONS),
        LayerGroup("decoder.layers.*", heads=_heads("encoder_attn", norm_before="encoder_attn_layer_norm")),
    ),
)
