"""Training verbs on images: the data, a new or trained classifier, and what becomes of it under attack."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification, PreTrainedModel, set_seed

from .._compat import require
from ..adversaries import PixelPGD, PixelSpace, get_adversary, list_adversaries
from ..errors import ConfigurationError, DataError
from ..evaluation import evaluate_white_box
from ..evaluation.datasets.labels import Classes, labelled_rows, labels_of
from ..evaluation.sampling import rows_of
from ..tickets import load_pruned
from ..training import AdversarialTrainer, AdversarialTrainingArguments
from ..vision import (
    CIFAR10_MEAN,
    CIFAR10_STD,
    NETWORKS,
    RandomCropFlip,
    prepare_images,
    small_image_processor,
)
from .data import read_split, source_of
from .models import in_words
from .options import DataOptions, ModelOptions, named
from .train import accuracy

ALWAYS = {"remove_unused_columns": False, "adversary": "pixel-pgd"}
FROM_SCRATCH = {
    "learning_rate": 0.1,
    "optim": "sgd",
    "optim_args": "momentum=0.9",
    "weight_decay": 5e-4,
    "lr_scheduler_type": "cosine",
    "per_device_train_batch_size": 128,
    "per_device_eval_batch_size": 128,
}
"""What options that are not named are for a network that is made anew (Chen et al., ICLR 2022)."""

RADIUS, STEPS = 8 / 255, 20


@dataclass
class ImageOptions:
    """Which images, and which classifier of them."""

    image_model: str = field(
        metadata={"help": f"A new {', '.join(NETWORKS)}; or the folder or repository of a trained classifier."}
    )
    model_revision: str = field(default="main", metadata={"help": "Branch, tag or commit of the repository."})
    ignore_mismatched_sizes: bool = field(
        default=False, metadata={"help": "Replace a head for another number of classes by a new one."}
    )
    dataset_name: str | None = field(default=None, metadata={"help": "A data set of the Hub, e.g. uoft-cs/cifar10."})
    dataset_config_name: str | None = field(default=None, metadata={"help": "Its configuration."})
    train_file: str | None = field(default=None, metadata={"help": "A parquet file with images in its place."})
    validation_file: str | None = field(default=None, metadata={"help": "A parquet file with images."})
    train_split: str = field(default="train", metadata={"help": "Name of the split to train on."})
    validation_split: str | None = field(
        default=None, metadata={"help": "Split to evaluate on; default: a tenth of the training images, by the seed."}
    )
    image_column: str | None = field(default=None, metadata={"help": "Column of images; default: the only one."})
    label_column: str = field(default="label", metadata={"help": "Column with the label."})
    max_train_samples: int | None = field(default=None, metadata={"help": "Train on a random part of this size."})
    max_eval_samples: int | None = field(default=None, metadata={"help": "Evaluate on a random part of this size."})
    image_mean: list[float] = field(
        default_factory=lambda: list(CIFAR10_MEAN), metadata={"help": "New models: mean per channel, in [0, 1]."}
    )
    image_std: list[float] = field(
        default_factory=lambda: list(CIFAR10_STD), metadata={"help": "New models: standard deviation per channel."}
    )
    augment: bool = field(default=True, metadata={"help": "Crop and mirror training images at random."})
    attacked_examples: int = field(
        default=500,
        metadata={"help": "Images of the evaluation that PGD-20 within 8/255 attacks at the end; 0: none."},
    )


def image_defaults(argv: list[str]) -> dict[str, Any]:
    """What options that a line does not name are for images."""
    return {**ALWAYS, **(FROM_SCRATCH if named(argv).get("image_model") in NETWORKS else {})}


def build_image_trainer(
    options: ImageOptions,
    args: AdversarialTrainingArguments,
    kind: type[AdversarialTrainer] = AdversarialTrainer,
    **more: Any,
) -> AdversarialTrainer:
    """The trainer for these options, with data loaded and checked.

    Args:
        options: Which images and which classifier.
        args: Those of the training.
        kind: The trainer's class.
        **more: Further arguments of it.

    Raises:
        ConfigurationError: If an option is refused, or the classifier is for other classes.
        DataError: If the images cannot be read, or do not fit the classifier.
    """
    require("PIL", extra="vision")
    _check(options, args)
    set_seed(args.seed)
    train, validation, classes = load_images(options, args.seed)
    model, processor = load_image_model(options, classes, train)
    names = {"image_column": options.image_column, "label_column": options.label_column}
    augment = RandomCropFlip(padding=max(1, processor.size["height"] // 8)) if options.augment else None
    trainer = kind(
        model=model,
        args=args,
        train_dataset=prepare_images(train, processor, model=model, augment=augment, **names),
        eval_dataset=prepare_images(validation, processor, model=model, **names),
        processing_class=processor,
        compute_metrics=accuracy,
        **more,
    )
    trainer.card_options = {
        "dataset": options.dataset_name or Path(options.train_file).name,
        "dataset_tags": options.dataset_name,
        "dataset_args": options.dataset_config_name,
    }
    return trainer


def load_images(options: ImageOptions, seed: int) -> tuple[Dataset, Dataset, Classes]:
    """Both splits, their labels in one numbering, and the classes.

    Raises:
        DataError: If nothing says where they are, or a label is missing or none of the training data's.
    """
    shared = {name: getattr(options, name) for name in ("dataset_name", "dataset_config_name", "train_file")}
    own = options.validation_split or "validation"
    splits_of = {"train_split": options.train_split, "validation_split": own}
    where = DataOptions(**shared, **splits_of, validation_file=options.validation_file)
    splits = {"train": rows_of(read_split(where, "train"))}
    source = source_of(where, "train")
    if options.label_column not in splits["train"].column_names:
        columns = ", ".join(splits["train"].column_names)
        raise DataError(f"no column {options.label_column!r}: {source} has {columns}; pass --label_column")
    classes = Classes.of_data(splits["train"], options.label_column, source)
    if options.validation_file is not None or options.validation_split is not None:
        splits["validation"] = rows_of(read_split(where, "validation"))
    elif len(splits["train"]) < 10:
        raise DataError(f"expected ten images or more to take a tenth of, got {len(splits['train'])}: take more data")
    else:
        parts = splits["train"].train_test_split(test_size=0.1, seed=seed)
        splits = {"train": parts["train"], "validation": parts["test"]}
    limits = {"train": options.max_train_samples, "validation": options.max_eval_samples}
    for split, data in splits.items():
        data = _numbered(data, options.label_column, classes, source if split == "train" else f"{own} data")
        limit = limits[split]
        small = limit is None or limit >= len(data)
        splits[split] = data if small else data.shuffle(seed=seed).select(range(limit))
    return splits["train"], splits["validation"], classes


def load_image_model(options: ImageOptions, classes: Classes, train: Dataset) -> tuple[PreTrainedModel, Any]:
    """A new network for the images of a data set, or a trained one, and its image processor.

    Raises:
        CheckpointError: If there is no classifier of images.
        ConfigurationError: If it is for another number of classes, and its head may not be replaced.
        DataError: If the images are not square, or none can be read.
    """
    labels = {
        "id2label": dict(enumerate(classes.names)),
        "label2id": {name: i for i, name in enumerate(classes.names)},
    }
    if options.image_model in NETWORKS:
        size = _side(train, options.image_column)
        processor = small_image_processor(size, options.image_mean, options.image_std, do_convert_rgb=True)
        config = NETWORKS[options.image_model](image_size=size, **labels)
        return AutoModelForImageClassification.from_config(config), processor
    where = {"revision": options.model_revision}
    asked = ModelOptions(options.image_model, options.model_revision)
    with in_words(asked, f"a new {', '.join(NETWORKS)}, or a classifier of images"):
        config = AutoConfig.from_pretrained(options.image_model, **where)
        processor = AutoImageProcessor.from_pretrained(options.image_model, use_fast=False, **where)
        if type(config) not in AutoModelForImageClassification._model_mapping:
            raise ConfigurationError(
                f"expected a classifier of images, got {options.image_model}: {config.model_type}"
            )
        if config.num_labels != len(classes.names) and not options.ignore_mismatched_sizes:
            raise ConfigurationError(
                f"expected a model for the data's {len(classes.names)} classes, got {options.image_model} with "
                f"{config.num_labels}: pass --ignore_mismatched_sizes True to give it a new head"
            )
        if getattr(config, "robust_ticket", None):
            return load_pruned(options.image_model, AutoModelForImageClassification, **where, **labels), processor
        model = AutoModelForImageClassification.from_pretrained(
            options.image_model, **where, **labels, ignore_mismatched_sizes=options.ignore_mismatched_sizes
        )
    return model, processor


def attacked_row(options: ImageOptions, trainer: AdversarialTrainer) -> list[dict[str, str]]:
    """The row of the table that says what is left under PGD-20; none where nothing is to be attacked."""
    if not options.attacked_examples:
        return []
    count = min(options.attacked_examples, len(trainer.eval_dataset))
    attack = PixelPGD.from_processor(trainer.processing_class, steps=STEPS + 1)
    found = evaluate_white_box(
        trainer.model, trainer.eval_dataset, adversary=attack, radii=[RADIUS], num_examples=count
    )
    left = f"{found.robust_accuracy[RADIUS]:.1%} of {count} images"
    return [{"what": "under PGD-20 within 8/255", "result": left}]


def _check(options: ImageOptions, args: AdversarialTrainingArguments) -> None:
    for name in ("max_train_samples", "max_eval_samples"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            raise ConfigurationError(f"{name} must be at least 1, got {getattr(options, name)}")
    for name, least in (("image_mean", 0.0), ("image_std", 1e-6)):
        if len(values := getattr(options, name)) != 3 or not all(least <= value <= 1 for value in values):
            raise ConfigurationError(
                f"expected three values of {name} for red, green and blue, from {least:g} to 1, got {values}"
            )
    if options.attacked_examples < 0:
        raise ConfigurationError(f"attacked_examples must not be negative, got {options.attacked_examples}")
    if args.remove_unused_columns:
        raise ConfigurationError("images need their column until they are asked for: leave remove_unused_columns out")
    plain = args.adversary in (None, "none")
    if not plain and not isinstance(get_adversary(args.adversary), PixelSpace):
        known = [name for name in list_adversaries() if isinstance(get_adversary(name), PixelSpace)]
        raise ConfigurationError(f"expected an adversary on pixels ({', '.join(known)}), got {args.adversary!r}")


def _numbered(data: Dataset, column: str, classes: Classes, source: str) -> Dataset:
    """The rows that have a label, as numbers of the classes."""
    if column not in data.column_names:
        raise DataError(f"no column {column!r}: {source} has {', '.join(data.column_names)}; pass --label_column")
    labels = labels_of(data, column, classes, source)
    rows = labelled_rows(labels, source)
    if len(rows) < len(labels):
        data = data.select(rows)
    return data.remove_columns(column).add_column(column, [labels[row] for row in rows])


def _side(data: Dataset, column: str | None) -> int:
    """Pixels along a side of the first image."""
    images = [name for name, feature in data.features.items() if type(feature).__name__ == "Image"]
    column = column or (images[0] if len(images) == 1 else None)
    if column not in images:
        raise DataError(
            f"expected one column of the feature Image, got {images or 'none'} among {sorted(data.features)}: name it "
            "with --image_column, or save the parquet file with datasets"
        )
    try:
        width, height = data[0][column].size
    except Exception as error:  # Pillow raises whatever it stumbles over
        raise DataError(f"expected an image in {column!r} of row 0, got none that can be read ({error})") from error
    if width != height:
        raise DataError(f"expected square images, got {width} x {height} in row 0: crop or resize them first")
    return width
