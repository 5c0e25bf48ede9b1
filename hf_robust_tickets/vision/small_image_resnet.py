"""ResNet-18 and its relatives for small images: a stem of one 3 x 3 convolution, and no pooling after it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .image_classifier import SmallImageClassifier, StagedConfig, conv3x3


class SmallImageResNetConfig(StagedConfig):
    """Configuration of `SmallImageResNetForImageClassification`; the defaults are those of ResNet-18.

    Attributes:
        widths: Channels of each stage; the stages after the first halve the map.
        depths: Blocks of each stage: `(2, 2, 2, 2)` is ResNet-18, `(3, 4, 6, 3)` ResNet-34.

    Example:
        >>> model = SmallImageResNetForImageClassification(SmallImageResNetConfig(num_labels=10))
    """

    model_type = "small_image_resnet"


class BasicBlock(nn.Module):
    """Two convolutions and a shortcut, which is a 1 x 1 convolution where the shape changes (option B).

    Args:
        inputs: Channels of the input.
        outputs: Channels of both convolutions.
        stride: Of the first convolution and of the shortcut.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(inputs, outputs, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = conv3x3(outputs, outputs)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            projection = nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """A feature map, `(batch, inputs, height, width)`, one block further."""
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class SmallImageResNetForImageClassification(SmallImageClassifier):
    """He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, as adversarial training on CIFAR uses it.

    The first two layers of the ImageNet networks (7 x 7 convolution of stride 2, max pooling) are one 3 x 3
    convolution of stride 1; the rest is theirs. ResNet-18 for ten classes has 11,173,962 parameters.

    Args:
        config: Widths and depths of the stages, classes, image size.
    """

    config_class = SmallImageResNetConfig
    _no_split_modules = ("BasicBlock",)

    def __init__(self, config: SmallImageResNetConfig) -> None:
        super().__init__(config)
        self.conv1 = conv3x3(config.num_channels, config.widths[0])
        self.bn1 = nn.BatchNorm2d(config.widths[0])
        outputs = self.add_stages(BasicBlock, config.widths[0], config.depths)
        self.classifier = nn.Linear(outputs, config.num_labels)
        self.post_init()

    def feature_maps(self, pixel_values: Tensor) -> list[Tensor]:
        """The output of each stage, `(batch, channels, height, width)`."""
        return self.run_stages(torch.relu(self.bn1(self.conv1(pixel_values))))
