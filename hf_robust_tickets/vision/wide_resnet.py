"""Wide ResNets: WRN-34-10, the large network of adversarial training on CIFAR, and others of its kind."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .image_classifier import SmallImageClassifier, SmallImageConfig, conv3x3, expect_sizes
from .preact_resnet import PreActBlock


class WideResNetConfig(SmallImageConfig):
    """Configuration of `WideResNetForImageClassification`; the defaults are those of WRN-34-10.

    Attributes:
        depth: Layers with weights, `6n + 4` for n blocks in each of the three stages: 28, 34, 70, ...
        widen_factor: The three stages have 16, 32 and 64 channels times this.
        stem_width: Channels of the first convolution.

    Example:
        >>> model = WideResNetForImageClassification(WideResNetConfig(depth=28, widen_factor=10, num_labels=10))
    """

    model_type = "wide_resnet"

    depth: int = 34
    widen_factor: int = 10
    stem_width: int = 16

    def __post_init__(self, **kwargs: Any) -> None:
        for name in ("widen_factor", "stem_width"):
            expect_sizes(self, name, getattr(self, name))
        if type(self.depth) is not int or self.depth < 10 or (self.depth - 4) % 6:
            raise ValueError(f"WideResNetConfig: expected a depth of 6n + 4, such as 28 or 34, got {self.depth!r}")
        super().__post_init__(**kwargs)

    @property
    def widths(self) -> list[int]:
        """Channels of each stage."""
        return [self.stem_width * self.widen_factor * factor for factor in (1, 2, 4)]


class WideResNetForImageClassification(SmallImageClassifier):
    """Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016, without dropout.

    WRN-34-10 for ten classes has 46,160,474 parameters.

    Args:
        config: Depth, widening factor, classes, image size.
    """

    config_class = WideResNetConfig
    _no_split_modules = ("PreActBlock",)

    def __init__(self, config: WideResNetConfig) -> None:
        super().__init__(config)
        self.conv1 = conv3x3(config.num_channels, config.stem_width)
        outputs = self.add_stages(PreActBlock, config.stem_width, [(config.depth - 4) // 6] * 3)
        self.bn = nn.BatchNorm2d(outputs)
        self.classifier = nn.Linear(outputs, config.num_labels)
        self.post_init()

    def feature_maps(self, pixel_values: Tensor) -> list[Tensor]:
        """The output of each stage, `(batch, channels, height, width)`, the last one after norm and ReLU."""
        *maps, last = self.run_stages(self.conv1(pixel_values))
        return [*maps, torch.relu(self.bn(last))]
