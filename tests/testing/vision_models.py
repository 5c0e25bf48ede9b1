"""One tiny model of each family, and synthetic images."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from datasets import ClassLabel, Dataset, Features, Image
from PIL import Image as PillowImage
from transformers import PreTrainedModel

from hf_robust_tickets import vision
from tests.testing.device import device

FAMILIES = {
    "cifar_resnet": (vision.CifarResNetForImageClassification, {"depth": 8, "widths": [4, 6, 8]}),
    "small_image_resnet": (vision.SmallImageResNetForImageClassification, {"widths": [4, 6], "depths": [1, 2]}),
    "preact_resnet": (vision.PreActResNetForImageClassification, {"widths": [4, 6], "depths": [2, 1]}),
    "vgg_bn": (vision.VGGForImageClassification, {"widths": [4, 6], "depths": [1, 2]}),
    "wide_resnet": (vision.WideResNetForImageClassification, {"depth": 10, "widen_factor": 2, "stem_width": 4}),
}


def tiny_image_model(family: str, seed: int = 0, **options: Any) -> PreTrainedModel:
    """A model for images of 8 x 8 and three classes."""
    kind, small = FAMILIES[family]
    torch.manual_seed(seed)
    return kind(kind.config_class(**({"image_size": 8, "num_labels": 3, **small} | options))).to(device())


def tiny_images(size: int = 24, side: int = 8, classes: int = 3, seed: int = 0) -> Dataset:
    """Encoded images of noise; the brightest channel is the class."""
    draw = np.random.default_rng(seed)
    labels = [i % classes for i in range(size)]
    pixels = draw.integers(0, 160, (size, side, side, 3), dtype=np.uint8)
    for image, label in zip(pixels, labels, strict=True):
        image[:, :, label % 3] += 95
    names = ClassLabel(names=[f"class {i}" for i in range(classes)])
    images = [PillowImage.fromarray(image) for image in pixels]
    return Dataset.from_dict({"image": images, "label": labels}, Features({"image": Image(), "label": names}))
