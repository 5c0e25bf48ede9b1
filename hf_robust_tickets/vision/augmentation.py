"""Random crops, flips and rotations, the augmentations of CIFAR: anew in every epoch, and the same after a resume."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .._compat import require
from ..errors import ConfigurationError


@dataclass(frozen=True)
class RandomCropFlip:
    """Pads an image with black, cuts a piece of the old size out at random, and mirrors it at random.

    He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2, after Lee et al. 2015.

    The draws follow from the seed and from the images that are in the batch, and from nothing else: they are the same
    in any number of worker processes and after a resume, and they leave every other random number alone. A shuffled
    epoch makes other batches and so other crops. (Batches of one image, or an order that never changes, would repeat
    their crops in every epoch.)

    Attributes:
        padding: Pixels added on each side; 0 crops nothing.
        flip: Probability of a mirror image.
        seed: Another seed gives other crops.

    Example:
        >>> train = prepare_images(train, processor, augment=RandomCropFlip(padding=4))
    """

    padding: int = 4
    flip: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if type(self.padding) is not int or self.padding < 0:
            raise ConfigurationError(f"RandomCropFlip: expected a padding of 0 or more pixels, got {self.padding!r}")
        if not 0 <= self.flip <= 1:
            raise ConfigurationError(f"RandomCropFlip: expected a probability between 0 and 1, got flip={self.flip!r}")
        _check_seed(self)

    def __call__(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Augments a batch.

        Args:
            images: Each `(height, width, channels)`, uint8.

        Returns:
            New images of the same shapes.
        """
        draw = np.random.default_rng([self.seed, _checksum(images)])
        corners = draw.integers(0, 2 * self.padding + 1, size=(len(images), 2)).tolist()
        mirrored = (draw.random(len(images)) < self.flip).tolist()
        return [self._one(*each) for each in zip(images, corners, mirrored, strict=True)]

    def _one(self, image: np.ndarray, corner: list[int], mirror: bool) -> np.ndarray:
        height, width, channels = image.shape
        padded = np.zeros((height + 2 * self.padding, width + 2 * self.padding, channels), dtype=image.dtype)
        padded[self.padding : self.padding + height, self.padding : self.padding + width] = image
        cut = padded[corner[0] : corner[0] + height, corner[1] : corner[1] + width]
        # A copy: tensors cannot be made of arrays that run backwards.
        return cut[:, ::-1].copy() if mirror else cut


@dataclass(frozen=True)
class RandomRotation:
    """Turns an image about its centre by a random angle; the corners that become free are black.

    The angle is uniform in [-degrees, degrees], each pixel is that of the nearest place, and the size stays: what
    torchvision's `RandomRotation(15)` does, which "Sparsity Winning Twice" (Chen et al., ICLR 2022) has on CIFAR-100
    after crops and flips. The draws follow from the seed and from the images of the batch, as those of
    `RandomCropFlip`; it needs Pillow alone.

    Attributes:
        degrees: Largest angle to either side, in [0, 180].
        seed: Another seed gives other angles.

    Example:
        >>> train = prepare_images(train, processor, augment=[RandomCropFlip(), RandomRotation(15)])
    """

    degrees: float = 15.0
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.degrees, bool) or not math.isfinite(self.degrees) or not 0 <= self.degrees <= 180:
            raise ConfigurationError(f"RandomRotation: expected degrees between 0 and 180, got {self.degrees!r}")
        _check_seed(self)

    def __call__(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Turns each image of a batch by an angle of its own.

        Args:
            images: Each `(height, width, channels)`, uint8.

        Returns:
            New images of the same shapes.
        """
        # A stream of its own: with the seed of `RandomCropFlip` alone the angles would follow the crops.
        draw = np.random.default_rng([self.seed, _checksum(images), _ROTATION])
        angles = draw.uniform(-self.degrees, self.degrees, size=len(images)).tolist()
        return [rotate(image, angle) for image, angle in zip(images, angles, strict=True)]


def rotate(image: np.ndarray, degrees: float) -> np.ndarray:
    """An image turned about its centre, against the clock; nearest pixel, same size, black corners.

    Args:
        image: `(height, width, channels)`, uint8.
        degrees: The angle.
    """
    pillow = require("PIL.Image", extra="vision")
    nearest = pillow.Resampling.NEAREST
    # Channel by channel: Pillow knows no image of two, or of more than four.
    turned = [pillow.fromarray(image[:, :, c]).rotate(degrees, nearest) for c in range(image.shape[2])]
    return np.stack([np.asarray(channel) for channel in turned], axis=2)


_ROTATION = 1


def _check_seed(augmentation: RandomCropFlip | RandomRotation) -> None:
    if type(augmentation.seed) is not int or augmentation.seed < 0:
        raise ConfigurationError(
            f"{type(augmentation).__name__}: expected a seed of 0 or more, got {augmentation.seed!r}"
        )


def _checksum(images: Sequence[np.ndarray]) -> int:
    value = 0
    for image in images:
        value = zlib.crc32(np.ascontiguousarray(image), value)
    return value
