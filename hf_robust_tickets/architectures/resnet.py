"""Residual networks of convolutions: the channels inside their blocks.

What a block adds to the residual stream must keep its width; the channels between its convolutions need not. A
coefficient on such a channel, after batch norm and ReLU, is a factor on the scale and shift of that norm: what network
slimming ranks channels by (Liu et al., "Learning Efficient Convolutional Networks through Network Slimming", ICCV
2017).
"""

from __future__ import annotations

from .base import Architecture
from .units import NO_UNITS, inner_channels

# Two convolutions and one set of channels between them.
RESNET_BASIC = Architecture(
    name="resnet (basic)",
    model_types=("resnet",),
    layer_path="encoder.stages.*.layers.*",
    heads=NO_UNITS,
    neurons=inner_channels("layer.0.convolution", "layer.0.normalization", "layer.1.convolution"),
    only_if=("layer_type", "basic"),
)
# Three convolutions and two sets: a ticket's heads are the first set, its neurons the second.
RESNET_BOTTLENECK = Architecture(
    name="resnet (bottleneck)",
    model_types=("resnet",),
    layer_path="encoder.stages.*.layers.*",
    heads=inner_channels("layer.0.convolution", "layer.0.normalization", "layer.1.convolution"),
    neurons=inner_channels("layer.1.convolution", "layer.1.normalization", "layer.2.convolution"),
    only_if=("layer_type", "bottleneck"),
)
# The names of torchvision and of this package's models of small images.
CONV_BN = Architecture(
    name="basic blocks",
    model_types=("cifar_resnet", "small_image_resnet"),
    layer_path="layer*.*",
    heads=NO_UNITS,
    neurons=inner_channels("conv1", "bn1", "conv2"),
)
# Norm and ReLU before each convolution: the second norm lies between the two.
BN_CONV = Architecture(
    name="pre-activation blocks",
    model_types=("preact_resnet", "wide_resnet"),
    layer_path="layer*.*",
    heads=NO_UNITS,
    neurons=inner_channels("conv1", "bn2", "conv2"),
)
