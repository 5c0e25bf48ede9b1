"""Images of a data set as model inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ...adversaries.pixels.space import image_processor
from ...errors import DataError
from ..datasets.labels import Classes, class_names, labelled_rows, labels_of
from ..sampling import check_split, stratified_sample

# Most data sets on the Hub name their images so.
_COLUMNS = ("image", "img", "pixel_values")


def is_image_processor(processor: Any) -> bool:
    """Whether it makes `pixel_values` of images, rather than ids of a text."""
    return hasattr(image_processor(processor), "image_mean")


def image_rows(
    dataset: Any,
    processor: Any,
    num_examples: int | None,
    seed: int,
    label_column: str = "label",
    classes: Classes | None = None,
) -> list[dict[str, Any]]:
    """Draws a sample of images as model inputs.

    Args:
        dataset: Rows with an `Image` column (`image` or `img`; PIL images or arrays), or with `pixel_values`.
        processor: The model's image processor; may be None for rows with `pixel_values`.
        num_examples: Size of a seeded, stratified sample; None for all.
        seed: Seed of the sample.
        label_column: Column of the labels; `labels` and CIFAR-100's `fine_label` are found too.
        classes: Those of the model, to whose numbers labels are brought; None to take them as they are.

    Returns:
        Dicts of `pixel_values` (channels, height, width), `labels` and `row`.

    Raises:
        DataError: If there are no images, no labels, one that is none of the classes, or images that the processor
            does not take.
    """
    check_split(dataset)
    first = dataset[0]
    column = next((name for name in reversed(_COLUMNS) if name in first), None)
    label = next((name for name in (label_column, "label", "labels", "fine_label") if name in first), None)
    if column is None or label is None:
        raise DataError(
            f"expected images in {', '.join(_COLUMNS)} and labels in {label_column!r}, got columns {sorted(first)}"
        )
    if column != "pixel_values" and processor is None:
        raise DataError(f"expected an image processor for the column {column!r}, got none: pass it as tokenizer=")
    labels = class_labels(dataset, label, classes)
    rows = labelled_rows(labels)
    chosen = [rows[i] for i in stratified_sample([labels[row] for row in rows], num_examples, seed)]
    return [{"pixel_values": _pixels(dataset[i], column, processor), "labels": labels[i], "row": i} for i in chosen]


def class_labels(dataset: Any, column: str, classes: Classes | None) -> list[int]:
    """The label of every row in the numbering of some classes; those of a transformed data set are in its rows alone.

    Args:
        dataset: A data set, or rows.
        column: Where the labels are.
        classes: Those of the model; None to take the labels as they are.

    Raises:
        DataError: If a label is none of the classes; it names the row.
    """
    values = _column(dataset, column)
    if classes is None:
        return [int(value) for value in values]
    plain = values is not None and isinstance(getattr(dataset, "column_names", None), list)
    if plain and column in dataset.column_names and class_names(dataset, column) is not None:
        return labels_of(dataset, column, classes)
    return labels_of([{column: value} for value in values], column, classes)


def _column(dataset: Any, name: str) -> Any:
    # A data set decodes every image of a row that is asked for as a whole. The columns that a transform makes are in
    # its rows alone.
    transformed = (getattr(dataset, "format", None) or {}).get("type") == "custom"
    if isinstance(getattr(dataset, "column_names", None), list) and not transformed:
        return dataset[name]
    return [row[name] for row in dataset]


def _pixels(row: Mapping[str, Any], column: str, processor: Any) -> torch.Tensor:
    if column == "pixel_values":
        return torch.as_tensor(row[column])
    image, processor = row[column], image_processor(processor)
    mean = processor.image_mean
    wanted = "L" if isinstance(mean, (list, tuple)) and len(mean) == 1 else "RGB"
    mode = getattr(image, "mode", wanted)
    if mode != wanted and not (wanted == "RGB" and getattr(processor, "do_convert_rgb", None)):
        remedy = (
            "set do_convert_rgb=True in the image processor" if wanted == "RGB" else "use a processor of three means"
        )
        raise DataError(
            f"expected images of mode {wanted!r}, got {mode!r}: image.convert({wanted!r}) them, or {remedy}"
        )
    return processor(image, return_tensors="pt")["pixel_values"][0]
