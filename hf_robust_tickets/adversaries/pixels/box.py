"""The pixels that an image may have, and the hook that perturbs what a model is given."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import DataError
from ..hooks import SHARE, PerturbationSource

# Normalising in float32 or half precision moves a pixel off [0, 1] by less than this.
_ROUNDING = 0.02
# So near to multiples of 1/255 are the pixels of an 8-bit image in float32, normalised and back.
_GRID_ERROR = 1e-4
_LEAST_SPREAD = 0.5


class PixelBox:
    """[0, 1] per pixel, seen through normalisation.

    Args:
        mean: Mean per channel; None where pixels are not normalised.
        std: Standard deviation per channel; None likewise.
    """

    def __init__(self, mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> None:
        self.mean, self.std = mean, std

    def check(self, x: Tensor) -> None:
        """Checks that a batch is what the constants say.

        Args:
            x: Input of the model, `(batch, channels, height, width)`.

        Raises:
            DataError: If it has another number of channels, or is no normalised image.
        """
        if x.dim() != 4:
            raise DataError(f"expected images (batch, channels, height, width), got {tuple(x.shape)}")
        if self.mean is not None and len(self.mean) not in (1, x.shape[1]):
            raise DataError(
                f"expected {len(self.mean)} channels, as many as image_mean, got {x.shape[1]}: convert the images "
                "('RGB' or 'L'), or give the constants of their processor"
            )
        pixels = self.pixels(x.float())
        low, high = float(pixels.min()), float(pixels.max())
        if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):
            raise DataError(
                f"expected pixels in [0, 1] once normalisation is undone, got [{low:.3g}, {high:.3g}]: give PixelPGD "
                "the image_mean and image_std of the processor, and pixels rescaled by 1/255"
            )
        if self.mean is not None and max(self.mean) > 0 and _looks_like_pixels(x.float()) and not _is_8_bit(pixels):
            raise DataError(
                "expected normalised images, got values in [0, 1] alone: normalise them as the processor does, or "
                "leave image_mean and image_std away"
            )

    def look(self, inputs: Mapping[str, Any]) -> None:
        """As `check`, at the images among the inputs of a model."""
        self.check(inputs["pixel_values"])

    def pixels(self, x: Tensor) -> Tensor:
        """Normalisation undone."""
        return x if self.mean is None else x * self._channels(self.std, x) + self._channels(self.mean, x)

    def normalize(self, pixels: Tensor) -> Tensor:
        """What the model is given for pixels in [0, 1]; undoes `pixels`."""
        if self.mean is None:
            return pixels
        return (pixels - self._channels(self.mean, pixels)) / self._channels(self.std, pixels)

    def project(self, x: Tensor, delta: Tensor) -> Tensor:
        """The perturbation, in pixels, that leads from `x` into the box and is nearest to `delta`."""
        pixels = self.pixels(x.to(delta.dtype))
        return (pixels + delta).clamp(0, 1) - pixels

    def add(self, x: Tensor, delta: Tensor) -> Tensor:
        """`x`, as the model is given it, plus `delta` in pixels."""
        change = delta if self.std is None else delta / self._channels(self.std, delta)
        return x + change.to(x.dtype)

    @staticmethod
    def _channels(values: tuple[float, ...], like: Tensor) -> Tensor:
        return _constant(tuple(values), like.dtype, like.device)


@functools.lru_cache(maxsize=64)
def _constant(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """One number per channel. Made once: a copy to the device makes the host wait for all that it was asked before."""
    with torch.inference_mode(False):  # what is made in it cannot be used where there are gradients
        return torch.tensor(values, dtype=dtype, device=device).reshape(1, -1, 1, 1)


def _looks_like_pixels(x: Tensor) -> bool:
    """Whether a batch fills [0, 1] and nothing else, as one does that was not normalised.

    Flat and synthetic images may lie inside it after normalisation too, but seldom fill half of it.
    """
    low, high = float(x.min()), float(x.max())
    return low >= 0 and high <= 1 and high - low > _LEAST_SPREAD


def _is_8_bit(pixels: Tensor) -> bool:
    """Whether pixels are multiples of 1/255: then it was right to undo normalisation."""
    levels = 255 * pixels
    return bool(((levels - levels.round()).abs() < 255 * _GRID_ERROR).all())


class PixelHook:
    """Adds delta to a model's `pixel_values` while it is armed; the counterpart of `PerturbationHook` for images.

    Args:
        model: The model, not wrapped.
        box: Keeps the perturbed image an image.
    """

    def __init__(self, model: nn.Module, box: PixelBox) -> None:
        self._box = box
        self._source: PerturbationSource | None = None
        self._checked = False
        self._handle = model.register_forward_pre_hook(self._hook, with_kwargs=True)

    @property
    def box(self) -> PixelBox:
        """The pixels that an image may have."""
        return self._box

    @contextmanager
    def armed(self, source: PerturbationSource | None, before: Callable[[Any], Any] | None = None) -> Iterator[None]:
        """While the context lasts, adds `source(pixel_values)`; `source` sees the clean images.

        Args:
            source: Gives delta; `None` adds nothing.
            before: Of no use here: pixels lie below every layer.
        """
        self._source = source
        try:
            yield
        finally:
            self._source = None

    def remove(self) -> None:
        """Takes the hook away for good."""
        self._handle.remove()

    def clean(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
        """The images of a whole batch; arguments as in `PerturbationHook.clean`."""
        return kwargs.get("pixel_values")

    def settle(self, kwargs: dict[str, Any], delta: Tensor) -> None:
        """Brings delta, in place, to where the images it is added to have all pixels in [0, 1].

        Args:
            kwargs: Keyword arguments of the model, with `pixel_values`.
            delta: In pixels.

        Raises:
            DataError: If the first images are no images as the processor makes them.
        """
        images = kwargs["pixel_values"]
        if not self._checked:
            self._box.check(images)
            self._checked = True
        with torch.no_grad():
            # In place: where the ascent goes on from is inside the box, and the gradient is that of no clamp.
            delta.copy_(self._box.project(images, delta))

    def _hook(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        clean = kwargs.get("pixel_values")
        if self._source is None or clean is None:
            return None
        delta = module.__dict__.get(SHARE)
        if delta is None:
            delta = self._source(clean)
            self.settle(kwargs, delta)
        return args, {**kwargs, "pixel_values": self._box.add(clean, delta.reshape(clean.shape))}
