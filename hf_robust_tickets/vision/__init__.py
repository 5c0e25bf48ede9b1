"""Classifiers of small images, as models of transformers, and their data.

Importing this room makes its models known to `AutoConfig` and `AutoModelForImageClassification`. Checkpoints carry the
code of their model, so that they open without this package too (`trust_remote_code=True`).
"""

from __future__ import annotations

from transformers import AutoConfig, AutoModelForImageClassification

from .augmentation import RandomCropFlip, RandomRotation
from .cifar_resnet import CifarResNetConfig, CifarResNetForImageClassification
from .conversion import convert_cifar_resnet
from .data import (
    CIFAR10_MEAN,
    CIFAR10_STD,
    IMAGENET_MEAN,
    IMAGENET_STD,
    prepare_images,
    small_image_processor,
)
from .image_classifier import SmallImageClassifier, SmallImageConfig
from .image_transform import ImageTransform
from .networks import NETWORKS
from .preact_resnet import PreActResNetConfig, PreActResNetForImageClassification
from .small_image_resnet import SmallImageResNetConfig, SmallImageResNetForImageClassification
from .vgg import VGGConfig, VGGForImageClassification
from .wide_resnet import WideResNetConfig, WideResNetForImageClassification

__all__ = [
    "CIFAR10_MEAN",
    "CIFAR10_STD",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "NETWORKS",
    "CifarResNetConfig",
    "CifarResNetForImageClassification",
    "ImageTransform",
    "PreActResNetConfig",
    "PreActResNetForImageClassification",
    "RandomCropFlip",
    "RandomRotation",
    "SmallImageClassifier",
    "SmallImageConfig",
    "SmallImageResNetConfig",
    "SmallImageResNetForImageClassification",
    "VGGConfig",
    "VGGForImageClassification",
    "WideResNetConfig",
    "WideResNetForImageClassification",
    "convert_cifar_resnet",
    "prepare_images",
    "small_image_processor",
]

_MODELS = (
    CifarResNetForImageClassification,
    SmallImageResNetForImageClassification,
    PreActResNetForImageClassification,
    VGGForImageClassification,
    WideResNetForImageClassification,
)

for _model in _MODELS:
    _config = _model.config_class
    AutoConfig.register(_config.model_type, _config, exist_ok=True)
    AutoModelForImageClassification.register(_config, _model, exist_ok=True)
    _config.register_for_auto_class()
    _model.register_for_auto_class("AutoModelForImageClassification")
