"""The networks of this package by the names of their papers."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from transformers import PretrainedConfig

from .cifar_resnet import CifarResNetConfig
from .preact_resnet import PreActResNetConfig
from .small_image_resnet import SmallImageResNetConfig
from .vgg import VGGConfig
from .wide_resnet import WideResNetConfig

NETWORKS: Mapping[str, type[PretrainedConfig]] = MappingProxyType(
    {
        "resnet20": CifarResNetConfig,
        "resnet18": SmallImageResNetConfig,
        "preact_resnet18": PreActResNetConfig,
        "vgg16": VGGConfig,
        "wrn34_10": WideResNetConfig,
    }
)
"""Name -> configuration, whose defaults are the depths and widths of the paper."""
