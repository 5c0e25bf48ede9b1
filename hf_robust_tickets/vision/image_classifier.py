"""What the classifiers of small images share. This file travels with their checkpoints and needs nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import ImageClassifierOutputWithNoAttention
from transformers.utils import can_return_tuple


class SmallImageConfig(PreTrainedConfig):
    """Configuration of a classifier of small images.

    Attributes:
        image_size: Height and width of the images.
        num_channels: Channels of the images: 3 for RGB, 1 for greyscale.
    """

    image_size: int = 32
    num_channels: int = 3

    def __post_init__(self, **kwargs: Any) -> None:
        for name in ("image_size", "num_channels"):
            expect_sizes(self, name, [getattr(self, name)])
        super().__post_init__(**kwargs)


class StagedConfig(SmallImageConfig):
    """Configuration of a network of stages.

    Attributes:
        widths: Channels of each stage.
        depths: Blocks of each stage.
    """

    widths: Sequence[int] = (64, 128, 256, 512)
    depths: Sequence[int] = (2, 2, 2, 2)

    def __post_init__(self, **kwargs: Any) -> None:
        self.widths = expect_sizes(self, "widths", self.widths)
        self.depths = expect_sizes(self, "depths", self.depths)
        if len(self.widths) != len(self.depths):
            raise ValueError(
                f"{type(self).__name__}: expected one width and one depth per stage, got widths={self.widths}, "
                f"depths={self.depths}"
            )
        super().__post_init__(**kwargs)


def expect_sizes(config: PreTrainedConfig, name: str, values: Any) -> list[int]:
    """The values of an option, which must be positive whole numbers.

    Raises:
        ValueError: If they are not.
    """
    values = list(values) if isinstance(values, (list, tuple)) else [values]
    if not values or any(type(value) is not int or value < 1 for value in values):
        raise ValueError(f"{type(config).__name__}: expected positive whole numbers for {name}, got {values}")
    return values


class SmallImageClassifier(PreTrainedModel):
    """A convolutional network with global average pooling and one linear layer, `classifier`, on top.

    A family says how it makes feature maps: `feature_maps`.
    """

    config_class = SmallImageConfig
    base_model_prefix = ""
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    accepts_loss_kwargs = True

    def feature_maps(self, pixel_values: Tensor) -> list[Tensor]:
        """The output of every stage, `(batch, channels, height, width)`; the last one is pooled."""
        raise NotImplementedError

    def add_stages(self, block: Callable[[int, int, int], nn.Module], inputs: int, depths: Sequence[int]) -> int:
        """Adds `layer1`, `layer2`, ...: as many blocks as `depths` says, the map halved before each but the first.

        Args:
            block: Makes a block from its input channels, output channels and stride.
            inputs: Channels of what the first stage is given.
            depths: Blocks of each stage; `config.widths` says their channels.

        Returns:
            Channels of the last stage.
        """
        for stage, (width, depth) in enumerate(zip(self.config.widths, depths, strict=True)):
            blocks = [block(inputs, width, 1 if stage == 0 else 2)]
            blocks += [block(width, width, 1) for _ in range(depth - 1)]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
            inputs = width
        return inputs

    def run_stages(self, x: Tensor) -> list[Tensor]:
        """The output of each stage."""
        maps = []
        for stage in range(1, len(self.config.widths) + 1):
            x = getattr(self, f"layer{stage}")(x)
            maps.append(x)
        return maps

    @can_return_tuple
    def forward(
        self,
        pixel_values: Tensor,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        **kwargs: Any,
    ) -> ImageClassifierOutputWithNoAttention:
        """Classifies images.

        Args:
            pixel_values: `(batch, num_channels, image_size, image_size)`, as the image processor gives them.
            labels: `(batch,)`, int64: numbers of classes.
            output_hidden_states: Whether to return the feature maps of all stages.
            **kwargs: For the loss: `num_items_in_batch`.

        Raises:
            ValueError: If the images have another shape.
        """
        expected = (self.config.num_channels, self.config.image_size, self.config.image_size)
        if pixel_values.dim() != 4 or tuple(pixel_values.shape[1:]) != expected:
            raise ValueError(
                f"expected pixel_values of shape (batch, {', '.join(map(str, expected))}), got "
                f"{tuple(pixel_values.shape)}: let the image processor resize and convert the images, or set "
                "image_size and num_channels in the configuration"
            )
        maps = self.feature_maps(pixel_values)
        logits = self.classifier(maps[-1].mean(dim=(2, 3)))
        loss = None if labels is None else self.loss_function(labels, logits, self.config, **kwargs)
        wanted = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        return ImageClassifierOutputWithNoAttention(
            loss=loss, logits=logits, hidden_states=tuple(maps) if wanted else None
        )

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # He et al., "Delving Deep into Rectifiers", ICCV 2015. Norms and linear layers begin as PyTorch's own do.
        if isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            bound = module.in_features**-0.5
            init.uniform_(module.weight, -bound, bound)
            init.uniform_(module.bias, -bound, bound)
        elif isinstance(module, nn.BatchNorm2d):
            init.ones_(module.weight)
            init.zeros_(module.bias)
            init.zeros_(module.running_mean)
            init.ones_(module.running_var)
            init.zeros_(module.num_batches_tracked)


def conv3x3(inputs: int, outputs: int, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    """A convolution of 3 x 3 that keeps the size of the map, or divides it by the stride."""
    return nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=bias)
