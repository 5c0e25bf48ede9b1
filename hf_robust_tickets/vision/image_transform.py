"""From rows with images to what a model is given: decoded, checked, augmented, normalised, a batch at a time."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._compat import require
from ..errors import ConfigurationError, DataError

Augmentation = Callable[[Sequence[np.ndarray]], list[np.ndarray]]


class ImageTransform:
    """A transform for `datasets.Dataset.with_transform`: a batch of columns in, `pixel_values` and `labels` out.

    It does what the image processor does, after an augmentation of the raw pixels. Where the processor only rescales
    and normalises, the whole batch is done in one go. `prepare_images` sets it up.

    Args:
        processor: An image processor: `do_resize`, `size`, `do_rescale`, `do_normalize`, `image_mean`, `image_std` and
            `do_convert_rgb` say what is to be done and what is refused.
        image_column: Column of images: Pillow images, encoded bytes (`Image(decode=False)`) or uint8 arrays
            `(height, width[, channels])`.
        label_column: Column of class numbers; None for images without labels.
        augment: Augmentation of a batch of images, such as `RandomCropFlip`, or several, one after the other.
        num_labels: Classes that the model knows; None checks nothing.

    Raises:
        ConfigurationError: If the processor does not say what this needs.
    """

    def __init__(
        self,
        processor: Any,
        image_column: str = "image",
        label_column: str | None = "label",
        augment: Augmentation | Sequence[Augmentation] | None = None,
        num_labels: int | None = None,
    ) -> None:
        if not hasattr(processor, "image_mean"):
            raise ConfigurationError(
                f"expected an image processor with image_mean and image_std, got {type(processor).__name__}: make one "
                "with small_image_processor, or AutoImageProcessor.from_pretrained"
            )
        self.processor, self.num_labels = processor, num_labels
        self.augmentations = _as_list(augment)
        self.image_column, self.label_column = image_column, label_column
        self.mode = "L" if _channels(processor) == 1 else "RGB"

    def __call__(self, batch: dict[str, list[Any]]) -> dict[str, Tensor]:
        """Prepares a batch.

        Args:
            batch: Column -> values.

        Returns:
            `pixel_values`, `(batch, channels, height, width)`, float32, and `labels`, `(batch,)`, int64.

        Raises:
            DataError: If a column is missing, an image cannot be read or is of another mode or size, or a label is
                none of the model's.
        """
        images = [self._read(image) for image in self._column(batch, self.image_column)]
        for augmentation in self.augmentations:
            images = augmentation(images)
        prepared = {"pixel_values": self._process(images)}
        if self.label_column is not None:
            prepared["labels"] = self._labels(self._column(batch, self.label_column))
        return prepared

    @staticmethod
    def _column(batch: dict[str, list[Any]], name: str) -> list[Any]:
        if name not in batch:
            raise DataError(
                f"expected the column {name!r}, got {sorted(batch)}: set remove_unused_columns=False in the training "
                "arguments (the Trainer takes away what the model does not name), or name the column"
            )
        return batch[name]

    def _read(self, value: Any) -> np.ndarray:
        """One image, `(height, width, channels)`, uint8, in the mode and size that the processor takes."""
        name = "an image"
        if isinstance(value, dict):
            name = value.get("path") or name
            value = _decode(value, name)
        if not isinstance(value, np.ndarray):
            value = self._in_mode(value, name)
        pixels = value[:, :, None] if value.ndim == 2 else value
        if pixels.dtype != np.uint8 or pixels.ndim != 3:
            raise DataError(
                f"expected uint8 pixels (height, width[, channels]) between 0 and 255, got {pixels.dtype} of shape "
                f"{value.shape} in {name}: give the raw images; the image processor rescales and normalises them"
            )
        if pixels.shape[2] != len(self.mode):
            raise DataError(f"expected {len(self.mode)} channels ({self.mode}), got {pixels.shape[2]} in {name}")
        self._check_size(pixels, name)
        return pixels

    def _in_mode(self, image: Any, name: str) -> np.ndarray:
        if image.mode != self.mode:
            if self.mode != "RGB" or not getattr(self.processor, "do_convert_rgb", None):
                raise DataError(
                    f"expected images of mode {self.mode!r}, got {image.mode!r} in {name}: set do_convert_rgb=True in "
                    "the image processor, or convert the images"
                    if self.mode == "RGB"
                    else f"expected greyscale images (mode 'L'), got {image.mode!r} in {name}: convert the images, or "
                    "give an image processor with three means"
                )
            image = image.convert("RGB")
        try:
            return np.asarray(image)
        except (OSError, SyntaxError, ValueError) as error:
            raise _unreadable(name, error) from error

    def _check_size(self, pixels: np.ndarray, name: str) -> None:
        size = self._size()
        if not self.processor.do_resize and size is not None and pixels.shape[:2] != size:
            raise DataError(
                f"expected images of {size[1]} x {size[0]} pixels, got {pixels.shape[1]} x {pixels.shape[0]} in "
                f"{name}: set do_resize=True in the image processor, or its size"
            )

    def _size(self) -> tuple[int, int] | None:
        """Height and width that the processor names."""
        size = self.processor.size or {}
        height, width = size.get("height"), size.get("width")
        return (height, width) if height and width else None

    def _process(self, images: list[np.ndarray]) -> Tensor:
        if not self._is_plain({image.shape[:2] for image in images}):
            done = self.processor(images=images, input_data_format="channels_last", return_tensors="pt")
            return done["pixel_values"].to(torch.float32)
        processor = self.processor
        pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).to(torch.float32)
        pixels = pixels.contiguous().mul_(processor.rescale_factor)
        if processor.do_normalize:
            mean, std = (torch.tensor(v).reshape(-1, 1, 1) for v in (processor.image_mean, processor.image_std))
            pixels.sub_(mean).div_(std)
        return pixels

    def _is_plain(self, sizes: set[tuple[int, int]]) -> bool:
        """Whether the processor does no more to these images than to rescale and to normalise them."""
        processor = self.processor
        if len(sizes) != 1 or not processor.do_rescale or type(processor)._preprocess.__module__ != _BACKENDS:
            return False
        if getattr(processor, "do_center_crop", None) or getattr(processor, "do_pad", None):
            return False
        return not processor.do_resize or sizes == {self._size()}

    def _labels(self, values: list[Any]) -> Tensor:
        labels = torch.as_tensor(values, dtype=torch.int64)
        if self.num_labels is not None and len(labels):
            low, high = int(labels.min()), int(labels.max())
            if low < 0 or high >= self.num_labels:
                raise DataError(
                    f"expected labels from 0 to {self.num_labels - 1}, as the model has {self.num_labels} classes, "
                    f"got {low if low < 0 else high}: build the model with num_labels of the data, or remap the labels"
                )
        return labels


# Processors with a `_preprocess` of their own may do anything.
_BACKENDS = "transformers.image_processing_backends"


def _as_list(augment: Augmentation | Sequence[Augmentation] | None) -> list[Augmentation]:
    found = [] if augment is None else [augment] if callable(augment) else list(augment)
    wrong = next((each for each in found if not callable(each)), None)
    if wrong is not None:
        raise ConfigurationError(
            f"expected augmentations that take a list of arrays, got {wrong!r}: such as RandomCropFlip()"
        )
    return found


def _channels(processor: Any) -> int:
    mean = processor.image_mean
    return len(mean) if isinstance(mean, (list, tuple)) else 3


def _decode(encoded: dict[str, Any], name: str) -> Any:
    """The Pillow image in `{"bytes": ..., "path": ...}`."""
    pillow = require("PIL.Image", extra="vision")
    try:
        source = encoded["path"] if encoded.get("bytes") is None else io.BytesIO(encoded["bytes"])
        image = pillow.open(source)
        image.load()
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError, ValueError, pillow.DecompressionBombError) as error:
        raise _unreadable(name, error) from error
    return image


def _unreadable(name: str, error: Exception) -> DataError:
    return DataError(
        f"expected an image that Pillow can read, got {name}: {error}; repair the file, or remove the row"
    )
