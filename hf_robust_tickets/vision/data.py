"""Image columns of `datasets` for training: one call per split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._compat import require
from ..errors import DataError
from .image_transform import Augmentation, ImageTransform

# Means and standard deviations per channel of the 50,000 training images, as most releases on CIFAR give them.
CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def small_image_processor(
    image_size: int = 32,
    image_mean: Sequence[float] = IMAGENET_MEAN,
    image_std: Sequence[float] = IMAGENET_STD,
    **options: Any,
) -> Any:
    """An image processor of transformers that rescales and normalises; it resizes and converts if told to.

    It needs Pillow alone. Saved beside a model, `AutoImageProcessor.from_pretrained` opens it.

    Args:
        image_size: Height and width in pixels; images of another size are refused, or resized with `do_resize=True`.
        image_mean: Mean per channel of pixels in [0, 1].
        image_std: Standard deviation per channel.
        **options: `do_resize`, `do_convert_rgb` (greyscale becomes RGB; else it is refused), `do_normalize`,
            `resample`.

    Returns:
        A `ViTImageProcessorPil`, which is ViT's in name only: the three steps are the same.
    """
    require("PIL", extra="vision")
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    size = {"height": image_size, "width": image_size}
    constants = {"image_mean": list(image_mean), "image_std": list(image_std)}
    return ViTImageProcessorPil(**{"size": size, **constants, "do_resize": False, **options})


def prepare_images(
    dataset: Any,
    processor: Any,
    *,
    model: Any = None,
    augment: Augmentation | Sequence[Augmentation] | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
) -> Any:
    """A data set that gives `pixel_values` and `labels`, decoded and augmented when they are asked for.

    Train with `remove_unused_columns=False`: the Trainer would take the column of images away.

    Args:
        dataset: A `datasets.Dataset` with a column of the feature `Image`.
        processor: The image processor; see `ImageTransform`.
        model: Its classes, image size and channels are held against the data; None to check nothing.
        augment: Augmentation, or several one after the other, for the training split alone; see `RandomCropFlip` and
            `RandomRotation`.
        image_column: Column of images; None for the only one.
        label_column: Column of class numbers; None for `label`, `labels` or the only one of the feature `ClassLabel`,
            and for images without labels where there is none of them.

    Returns:
        The data set, with an `ImageTransform`.

    Raises:
        DataError: If a column is missing or ambiguous, or the data or the processor do not fit the model.

    Example:
        >>> train = prepare_images(cifar["train"], processor, model=model, augment=RandomCropFlip())
        >>> test = prepare_images(cifar["test"], processor, model=model)
    """
    features = getattr(dataset, "features", None)
    if not features or not hasattr(dataset, "with_transform"):
        raise DataError(f"expected a datasets.Dataset with features, got {type(dataset).__name__}")
    image_column = image_column or _only(features, "Image", "image_column")
    _require_column(features, image_column)
    if label_column is None:
        named = [name for name in ("label", "labels") if name in features]
        label_column = named[0] if named else _only(features, "ClassLabel", "label_column", optional=True)
    else:
        _require_column(features, label_column)
    if model is not None:
        _check_fit(model.config, processor, features.get(label_column))
    if type(features[image_column]).__name__ == "Image":
        from datasets import Image

        # Decoded by the transform, which knows what to say about an image that cannot be.
        dataset = dataset.cast_column(image_column, Image(decode=False))
    classes = None if model is None else model.config.num_labels
    return dataset.with_transform(ImageTransform(processor, image_column, label_column, augment, classes))


def _only(features: Any, kind: str, option: str, optional: bool = False) -> str | None:
    found = [name for name, feature in features.items() if type(feature).__name__ == kind]
    if len(found) == 1 or (optional and not found):
        return found[0] if found else None
    raise DataError(
        f"expected one column of the feature {kind}, got {found or 'none'} among {sorted(features)}: name it with "
        f"{option}, or cast it"
    )


def _require_column(features: Any, name: str) -> None:
    if name not in features:
        raise DataError(f"expected the column {name!r}, got {sorted(features)}: name a column that is there")


def _check_fit(config: Any, processor: Any, label: Any) -> None:
    """Holds a model's configuration against the processor and the labels."""
    size, mean = processor.size or {}, processor.image_mean
    wanted, channels = getattr(config, "image_size", None), getattr(config, "num_channels", None)
    if isinstance(wanted, int) and size.get("height") and {size["height"], size["width"]} != {wanted}:
        raise DataError(
            f"expected an image processor for the model's {wanted} x {wanted} pixels, got {size['width']} x "
            f"{size['height']}: give it size={{'height': {wanted}, 'width': {wanted}}}"
        )
    if channels and isinstance(mean, (list, tuple)) and len(mean) not in (1, channels):
        raise DataError(f"expected {channels} means, one per channel of the model, got image_mean={mean}")
    names = getattr(label, "names", None)
    if not names:
        return
    if len(names) > config.num_labels:
        raise DataError(
            f"expected at most {config.num_labels} classes, as the model has, got {len(names)} in the data: build the "
            f"model with num_labels={len(names)}"
        )
    known = [str(config.id2label.get(i)) for i in range(config.num_labels)]
    if sorted(known) == sorted(names) and known != list(names):
        raise DataError(
            f"expected the classes in the model's order {known}, got {names}: remap the labels "
            "(dataset.align_labels_with_mapping)"
        )
