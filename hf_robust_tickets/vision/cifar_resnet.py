"""The ResNets that He et al. made for CIFAR: 3 stages, 0.27 million weights at depth 20, shortcuts without weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .image_classifier import SmallImageClassifier, SmallImageConfig, conv3x3, expect_sizes


class CifarResNetConfig(SmallImageConfig):
    """Configuration of `CifarResNetForImageClassification`.

    Attributes:
        depth: Layers with weights, `6n + 2` for n blocks per stage: 20, 32, 44, 56 or 110 in the paper.
        widths: Channels of each stage; a block has two convolutions, and the stages after the first halve the map.

    Example:
        >>> model = CifarResNetForImageClassification(CifarResNetConfig(depth=20, num_labels=10))
    """

    model_type = "cifar_resnet"

    depth: int = 20
    widths: Sequence[int] = (16, 32, 64)

    def __post_init__(self, **kwargs: Any) -> None:
        self.widths = expect_sizes(self, "widths", self.widths)
        per_block = 2 * len(self.widths)
        if type(self.depth) is not int or self.depth < per_block + 2 or (self.depth - 2) % per_block:
            raise ValueError(
                f"CifarResNetConfig: expected a depth of {per_block}n + 2 with n blocks in each of the "
                f"{len(self.widths)} stages, got {self.depth!r}"
            )
        if sorted(self.widths) != self.widths:
            raise ValueError(f"CifarResNetConfig: expected widths that do not shrink, got {self.widths}")
        super().__post_init__(**kwargs)


class CifarBlock(nn.Module):
    """Two convolutions and a shortcut of option A: every second pixel, and zeros for the channels that are new."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(inputs, outputs, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = conv3x3(outputs, outputs)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.new = stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        """A feature map, `(batch, inputs, height, width)`, one block further."""
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
        if self.new:
            x = nn.functional.pad(x, (0, 0, 0, 0, self.new // 2, self.new - self.new // 2))
        return torch.relu(y + x)


class CifarResNetForImageClassification(SmallImageClassifier):
    """He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2.

    Names of parameters are those of the widespread implementations, but for `classifier`; see `convert_cifar_resnet`.

    Args:
        config: Depth, widths, classes, image size.
    """

    config_class = CifarResNetConfig
    _no_split_modules = ("CifarBlock",)

    def __init__(self, config: CifarResNetConfig) -> None:
        super().__init__(config)
        stages = len(config.widths)
        self.conv1 = conv3x3(config.num_channels, config.widths[0])
        self.bn1 = nn.BatchNorm2d(config.widths[0])
        outputs = self.add_stages(CifarBlock, config.widths[0], [(config.depth - 2) // (2 * stages)] * stages)
        self.classifier = nn.Linear(outputs, config.num_labels)
        self.post_init()

    def feature_maps(self, pixel_values: Tensor) -> list[Tensor]:
        """The output of each stage, `(batch, channels, height, width)`."""
        return self.run_stages(torch.relu(self.bn1(self.conv1(pixel_values))))
