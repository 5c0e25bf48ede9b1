"""DINOv2 with the plain feed-forward, which all sizes but the giant one have."""

from __future__ import annotations

from dataclasses import replace

from .base import Architecture
from .vit import VIT

DINOV2 = Architecture(
    name="dinov2",
    model_types=("dinov2",),
    layer_path="encoder.layer.*",
    heads=replace(VIT.heads, norm_before="norm1"),
    neurons=replace(VIT.neurons, norm_before="norm2"),
    unsupported=(("use_swiglu_ffn", "its gated feed-forward has other module paths"),),
)
