"""Pre-activation ResNets for small images: norm and ReLU come before each convolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .image_classifier import SmallImageClassifier, StagedConfig, conv3x3


class PreActResNetConfig(StagedConfig):
    """Configuration of `PreActResNetForImageClassification`; the defaults are those of PreAct ResNet-18.

    Attributes:
        widths: Channels of each stage; the stages after the first halve the map.
        depths: Blocks of each stage.

    Example:
        >>> model = PreActResNetForImageClassification(PreActResNetConfig(num_labels=100))
    """

    model_type = "preact_resnet"


class PreActBlock(nn.Module):
    """Norm, ReLU and convolution, twice; a shortcut that changes the shape is a convolution after the first ReLU.

    Args:
        inputs: Channels of the input.
        outputs: Channels of both convolutions.
        stride: Of the first convolution and of the shortcut.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = conv3x3(inputs, outputs, stride)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = conv3x3(outputs, outputs)
        self.shortcut = None
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """A feature map, `(batch, inputs, height, width)`, one block further."""
        y = torch.relu(self.bn1(x))
        shortcut = x if self.shortcut is None else self.shortcut(y)
        return self.conv2(torch.relu(self.bn2(self.conv1(y)))) + shortcut


class PreActResNetForImageClassification(SmallImageClassifier):
    """He et al., "Identity Mappings in Deep Residual Networks", ECCV 2016, with a stem of one 3 x 3 convolution.

    The last stage is followed by norm and ReLU, as in the paper; some releases leave them out (1,024 parameters).
    PreAct ResNet-18 for ten classes has 11,172,170 parameters.

    Args:
        config: Widths and depths of the stages, classes, image size.
    """

    config_class = PreActResNetConfig
    _no_split_modules = ("PreActBlock",)

    def __init__(self, config: PreActResNetConfig) -> None:
        super().__init__(config)
        self.conv1 = conv3x3(config.num_channels, config.widths[0])
        outputs = self.add_stages(PreActBlock, config.widths[0], config.depths)
        self.bn = nn.BatchNorm2d(outputs)
        self.classifier = nn.Linear(outputs, config.num_labels)
        self.post_init()

    def feature_maps(self, pixel_values: Tensor) -> list[Tensor]:
        """The output of each stage, `(batch, channels, height, width)`, the last one after norm and ReLU."""
        *maps, last = self.run_stages(self.conv1(pixel_values))
        return [*maps, torch.relu(self.bn(last))]
