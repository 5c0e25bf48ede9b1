"""VGG-16 with batch norm for small images: one linear layer in place of three."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .image_classifier import SmallImageClassifier, StagedConfig, conv3x3


class VGGConfig(StagedConfig):
    """Configuration of `VGGForImageClassification`; the defaults are those of VGG-16.

    Attributes:
        widths: Channels of each stage; max pooling halves the map after every stage.
        depths: Convolutions of each stage: `(2, 2, 3, 3, 3)` is VGG-16, `(1, 1, 2, 2, 2)` VGG-11.

    Example:
        >>> model = VGGForImageClassification(VGGConfig(num_labels=10))
    """

    model_type = "vgg_bn"

    widths: Sequence[int] = (64, 128, 256, 512, 512)
    depths: Sequence[int] = (2, 2, 3, 3, 3)

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if self.image_size < 2 ** len(self.widths):
            raise ValueError(
                f"VGGConfig: {len(self.widths)} poolings need images of {2 ** len(self.widths)} pixels, got "
                f"image_size={self.image_size}: leave stages out"
            )


class VGGLayer(nn.Module):
    """A convolution, batch norm and ReLU.

    Args:
        inputs: Channels of the input.
        outputs: Channels of the output.
        stride: 2 halves the input by max pooling first.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv = conv3x3(inputs, outputs, bias=True)
        self.bn = nn.BatchNorm2d(outputs)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """A feature map, `(batch, inputs, height, width)`, one layer further."""
        if self.stride > 1:
            x = nn.functional.max_pool2d(x, self.stride)
        return torch.relu(self.bn(self.conv(x)))


class VGGForImageClassification(SmallImageClassifier):
    """Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015.

    With batch norm, and one linear layer in place of three, as is usual for small images. VGG-16 for ten classes has
    14,728,266 parameters.

    Args:
        config: Widths and depths of the stages, classes, image size.
    """

    config_class = VGGConfig
    _no_split_modules = ("VGGLayer",)

    def __init__(self, config: VGGConfig) -> None:
        super().__init__(config)
        outputs = self.add_stages(VGGLayer, config.num_channels, config.depths)
        self.classifier = nn.Linear(outputs, config.num_labels)
        self.post_init()

    def feature_maps(self, pixel_values: Tensor) -> list[Tensor]:
        """The output of each stage, `(batch, channels, height, width)`, the last one pooled."""
        *maps, last = self.run_stages(pixel_values)
        return [*maps, nn.functional.max_pool2d(last, 2)]
