"""PGD on the pixels of an image, in the units of the image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..errors import ConfigurationError, DataError
from .injection import SHARE, PerturbationSource
from .pgd import PGD
from .registry import register_adversary

# Normalising in float32 or half precision moves a pixel off [0, 1] by less than this.
_ROUNDING = 0.02


@dataclass(frozen=True)
class PixelPGD(PGD):
    """PGD on images: linf or l2 ball and the box [0, 1], both in pixels before normalisation.

    Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks", ICLR 2018. The defaults are the
    training attack of "Sparsity Winning Twice" (Chen et al., ICLR 2022): radius 8/255, ten ascents of 2/255, a random
    start; `steps` counts passes, the last of which trains the weights.

    The perturbation lives in pixel units: it is added as `delta / image_std` to what the model is given, and
    after every step `x + delta` is brought back into [0, 1]. Give the constants of the image processor, or leave them
    `None` and let `AdversarialTrainer` take them from its `processing_class`; without either, the model's input must
    be the pixels in [0, 1] themselves.

    Attributes:
        image_mean: Mean per channel that the processor subtracts.
        image_std: Standard deviation per channel that it divides by.

    Example:
        >>> AdversarialTrainer(model, args, adversary=PixelPGD.from_processor(processor), train_dataset=train)
        >>> evaluate_white_box(model, test, adversary=PixelPGD.from_processor(processor, steps=21), radii=[8 / 255])
    """

    steps: int = 11
    step_size: float = 2 / 255
    init_magnitude: float = 8 / 255
    max_norm: float = 8 / 255
    norm: str = "linf"
    image_mean: tuple[float, ...] | None = None
    image_std: tuple[float, ...] | None = None

    name: ClassVar[str] = "pixel_pgd"

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.image_mean is None) != (self.image_std is None):
            raise ConfigurationError("PixelPGD: expected image_mean and image_std together, got one of them")
        if self.image_mean is None:
            return
        for field in ("image_mean", "image_std"):
            value = getattr(self, field)
            object.__setattr__(self, field, (value,) if isinstance(value, (int, float)) else tuple(value))
        if len(self.image_mean) != len(self.image_std) or not all(std > 0 for std in self.image_std):
            raise ConfigurationError(
                "PixelPGD: expected one mean and one positive standard deviation per channel, got "
                f"image_mean={self.image_mean}, image_std={self.image_std}"
            )
        if self.scope != "sentence":
            raise ConfigurationError(
                f"PixelPGD: the ball is around the whole image (scope='sentence'), got scope={self.scope!r}"
            )

    @classmethod
    def from_processor(cls, processor: Any, **options: Any) -> PixelPGD:
        """A `PixelPGD` with the constants of an image processor.

        Args:
            processor: An image processor (its `do_rescale`, `do_normalize`, `image_mean`, `image_std` are read).
            **options: Other hyper-parameters.

        Raises:
            ConfigurationError: If its output cannot be traced back to pixels in [0, 1].
        """
        return cls(**_constants(processor), **options)

    def with_processor(self, processor: Any) -> PixelPGD:
        """Itself, with a processor's constants where it has none of its own and the processor has some."""
        if self.image_mean is not None or not hasattr(_image_processor(processor), "image_mean"):
            return self
        return replace(self, **_constants(processor))

    @property
    def box(self) -> PixelBox:
        """The pixels that an image may have."""
        return PixelBox(self.image_mean, self.image_std)


def _image_processor(processor: Any) -> Any:
    """The image processor inside a processor of several modalities."""
    return getattr(processor, "image_processor", processor)


def _constants(processor: Any) -> dict[str, Any]:
    processor = _image_processor(processor)
    if not hasattr(processor, "image_mean"):
        raise ConfigurationError(
            f"expected an image processor with image_mean and image_std, got {type(processor).__name__}: give "
            "PixelPGD(image_mean=..., image_std=...)"
        )
    if not getattr(processor, "do_rescale", True):
        raise ConfigurationError("the image processor does not rescale pixels to [0, 1]: set do_rescale=True")
    if not getattr(processor, "do_normalize", True):
        return {"image_mean": None, "image_std": None}
    return {"image_mean": processor.image_mean, "image_std": processor.image_std}


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
        if self.mean is not None and max(self.mean) > 0 and float(x.min()) >= 0 and float(x.max()) <= 1:
            raise DataError(
                "expected normalised images, got values in [0, 1] alone: normalise them as the processor does, or "
                "leave image_mean and image_std away"
            )

    def pixels(self, x: Tensor) -> Tensor:
        """Normalisation undone."""
        return x if self.mean is None else x * self._channels(self.std, x) + self._channels(self.mean, x)

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
        return torch.tensor(values, dtype=like.dtype, device=like.device).reshape(1, -1, 1, 1)


class PixelInjector:
    """Adds delta to a model's `pixel_values` while it is armed; the counterpart of `Injector` for images.

    Args:
        model: The model, not wrapped.
        box: Keeps the perturbed image an image.
    """

    def __init__(self, model: nn.Module, box: PixelBox) -> None:
        self._box = box
        self._source: PerturbationSource | None = None
        self._checked = False
        self._handle = model.register_forward_pre_hook(self._hook, with_kwargs=True)

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
        """The images of a whole batch; arguments as in `Injector.clean`."""
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


register_adversary("pixel_pgd", PixelPGD)
