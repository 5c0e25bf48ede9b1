"""What makes an attack on embeddings one on pixels: the constants of the image processor."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from torch import nn

from ...errors import ConfigurationError
from .box import PixelBox, PixelHook


@dataclass(frozen=True)
class PixelSpace:
    """Stands before an `Adversary` in the bases of a class, and puts its perturbation on the pixels of images.

    The perturbation lives in pixel units: it is added as `delta / image_std` to what the model is given, and in
    every pass `x + delta` is brought back into [0, 1]. Give the constants of the image processor, or leave them
    `None` and let `AdversarialTrainer` take them from its `processing_class`; without either, the model's input must
    be the pixels in [0, 1] themselves.

    Attributes:
        image_mean: Mean per channel that the processor subtracts.
        image_std: Standard deviation per channel that it divides by.
        step_unit: `"absolute"`: pixels between 0 and 1 are a unit already.
    """

    step_unit: str = "absolute"
    image_mean: tuple[float, ...] | None = None
    image_std: tuple[float, ...] | None = None

    space: ClassVar[str] = "pixels"

    def __post_init__(self) -> None:
        super().__post_init__()
        title = type(self).__name__
        if self.scope != "sentence":
            raise ConfigurationError(
                f"{title}: the ball is around the whole image (scope='sentence'), got scope={self.scope!r}"
            )
        if self.step_unit != "absolute":
            raise ConfigurationError(
                f"{title}: lengths are in pixels between 0 and 1 (step_unit='absolute'), got "
                f"step_unit={self.step_unit!r}: leave it out"
            )
        if (self.image_mean is None) != (self.image_std is None):
            raise ConfigurationError(f"{title}: expected image_mean and image_std together, got one of them")
        if self.image_mean is None:
            return
        for field in ("image_mean", "image_std"):
            value = getattr(self, field)
            object.__setattr__(self, field, (value,) if isinstance(value, (int, float)) else tuple(value))
        if len(self.image_mean) != len(self.image_std) or not all(std > 0 for std in self.image_std):
            raise ConfigurationError(
                f"{title}: expected one mean and one positive standard deviation per channel, got "
                f"image_mean={self.image_mean}, image_std={self.image_std}"
            )

    @classmethod
    def from_processor(cls, processor: Any, **options: Any) -> Self:
        """The attack with the constants of an image processor.

        Args:
            processor: An image processor (its `do_rescale`, `do_normalize`, `image_mean`, `image_std` are read).
            **options: Other hyper-parameters.

        Raises:
            ConfigurationError: If its output cannot be traced back to pixels in [0, 1].
        """
        return cls(**processor_constants(processor), **options)

    def with_processor(self, processor: Any) -> Self:
        """Itself, with a processor's constants where it has none of its own and the processor has some."""
        if self.image_mean is not None or not hasattr(image_processor(processor), "image_mean"):
            return self
        return replace(self, **processor_constants(processor))

    def hook(self, model: nn.Module, module: nn.Module | None, processor: Any = None) -> PixelHook:
        """The hook that perturbs pixels, with the processor's constants where the method has none of its own."""
        return PixelHook(model, self.with_processor(processor).box)

    @property
    def box(self) -> PixelBox:
        """The pixels that an image may have."""
        return PixelBox(self.image_mean, self.image_std)


def image_processor(processor: Any) -> Any:
    """The image processor inside a processor of several modalities."""
    return getattr(processor, "image_processor", processor)


def processor_constants(processor: Any) -> dict[str, Any]:
    """`image_mean` and `image_std` of a processor, both None where it does not normalise.

    Raises:
        ConfigurationError: If its output cannot be traced back to pixels in [0, 1].
    """
    processor = image_processor(processor)
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
