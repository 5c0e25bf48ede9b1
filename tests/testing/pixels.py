"""A small convolutional classifier and images that tests of pixels share."""

from __future__ import annotations

import torch
from datasets import Dataset
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import ImageClassifierOutput

MEAN, STD = (0.5, 0.4, 0.3), (0.5, 0.25, 0.2)


def normalise(pixels: torch.Tensor) -> torch.Tensor:
    return (pixels - torch.tensor(MEAN).reshape(3, 1, 1)) / torch.tensor(STD).reshape(3, 1, 1)


class ConvConfig(PretrainedConfig):
    model_type = "tiny-convnet"

    def __init__(self, channels: int = 8, num_labels: int = 2, batch_norm: bool = False, **kwargs):
        super().__init__(num_labels=num_labels, **kwargs)
        self.channels, self.batch_norm = channels, batch_norm


class ConvNet(PreTrainedModel):
    """Two convolutions, a mean over the pixels, and a linear layer."""

    config_class = ConvConfig
    main_input_name = "pixel_values"

    def __init__(self, config: ConvConfig):
        super().__init__(config)
        width = config.channels
        norm = nn.BatchNorm2d(width) if config.batch_norm else nn.Identity()
        self.features = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1), norm, nn.ReLU(), nn.Conv2d(width, width, 3, stride=2), nn.ReLU()
        )
        self.classifier = nn.Linear(width, config.num_labels)
        self.post_init()

    def _init_weights(self, module):
        return None

    def forward(self, pixel_values, labels=None, return_dict=None):
        logits = self.classifier(self.features(pixel_values).mean((2, 3)))
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return ImageClassifierOutput(loss=loss, logits=logits)


def tiny_convnet(seed: int = 0, **config) -> ConvNet:
    torch.manual_seed(seed)
    return ConvNet(ConvConfig(**config))


def tiny_images(size: int = 16, seed: int = 0, side: int = 8, classes: int = 2) -> Dataset:
    """Noise whose label says which channel is brighter."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(size) % classes
    pixels = 0.7 * torch.rand(size, 3, side, side, generator=generator)
    pixels[torch.arange(size), labels % 3] += 0.3
    return Dataset.from_dict({"pixel_values": normalise(pixels).tolist(), "labels": labels.tolist()})
