"""T5 and mT5: layers that are lists of blocks, and a position bias for all layers of a stack.

The bias has a column for each head, is made by the first layer's attention and handed from layer to layer, so its
table stays whole: a layer that lost heads reads the columns of those that it kept. The size of a head is independent
of the width of the model.
"""

from __future__ import annotations

from .base import Architecture, LayerGroup
from .units import Cut, UnitGroup


def _heads(block: str, attention: str) -> UnitGroup:
    path = f"{block}.{attention}"
    return UnitGroup(
        output=f"{path}.o",
        cuts=(Cut(f"{path}.q"), Cut(f"{path}.k"), Cut(f"{path}.v"), Cut(f"{path}.o", "in")),
        unit_size=(f"{path}.key_value_proj_dim",),
        scaled=(f"{path}.n_heads", f"{path}.inner_dim"),
        select=(path, "position_bias"),
        block=path,
        bias_inside=f"{path}.relative_attention_bias",
        norm_before=f"{block}.layer_norm",
    )


def _neurons(block: str) -> UnitGroup:
    # The first T5 has one up projection; T5 1.1 and mT5 have a gate beside it.
    ups = tuple(Cut(f"{block}.DenseReluDense.{name}", optional=True) for name in ("wi", "wi_0", "wi_1"))
    output = f"{block}.DenseReluDense.wo"
    return UnitGroup(output=output, cuts=(*ups, Cut(output, "in")), norm_before=f"{block}.layer_norm")


T5 = Architecture(
    name="t5",
    model_types=("mt5", "t5"),
    layer_path="encoder.block.*",
    heads=_heads("layer.0", "SelfAttention"),
    neurons=_neurons("layer.1"),
    more=(
        LayerGroup("decoder.block.*", heads=_heads("layer.0", "SelfAttention"), neurons=_neurons("layer.2")),
        LayerGroup("decoder.block.*", heads=_heads("layer.1", "EncDecAttention")),
    ),
)
