"""Classifiers of small images, as models of transformers, and their data.

Importing this room makes its models known to `AutoConfig` and `AutoModelForImageClassification`. Checkpoints carry the
code of their model, so that they open without this package too (`trust_remote_code=True`).
"""

from __future__ import annotations

from transformers import AutoConfig, AutoModelForImageClassification

from .cifar_resnet import CifarResNetConfig, CifarResNetForImageClassification
from .conversion import convert_cifar_resnet
from .image_classifier import SmallImageClassifier, SmallImageConfig

__all__ = [
    "CifarResNetConfig",
    "CifarResNetForImageClassification",
    "SmallImageClassifier",
    "SmallImageConfig",
    "convert_cifar_resnet",
]

_FAMILIES = (CifarResNetForImageClassification,)

for _model in _FAMILIES:
    _config = _model.config_class
    AutoConfig.register(_config.model_type, _config, exist_ok=True)
    AutoModelForImageClassification.register(_config, _model, exist_ok=True)
    _config.register_for_auto_class()
    _model.register_for_auto_class("AutoModelForImageClassification")
