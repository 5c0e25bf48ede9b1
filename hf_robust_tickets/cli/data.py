"""Data sets as the command line gets them: from the Hub or from files, tokenized."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Dataset, load_dataset
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from ..errors import DataError
from ..evaluation.sampling import text_columns_of
from .options import DataOptions

_FORMATS = {".parquet": "parquet", ".csv": "csv", ".json": "json", ".jsonl": "json"}


@dataclass
class EvaluationData(DataOptions):
    """Which texts and labels to evaluate on."""

    max_length: int | None = field(
        default=None, metadata={"help": "Longer texts are cut to this many tokens; default: what the model reads."}
    )


def load_split(options: DataOptions, split: str, *, seed: int) -> Dataset:
    """Reads one split for a training, whose labels are class numbers.

    Args:
        options: Where it is.
        split: `"train"` or `"validation"`.
        seed: Chooses the part, where only a part is asked for.

    Raises:
        DataError: If nothing says where it is, or it has no labels or no text.
    """
    data = _read(options, split)
    labels(data, options.label_column)
    text_columns_of(data, options.text_columns, options.label_column)
    limit = options.max_train_samples if split == "train" else options.max_eval_samples
    return data if limit is None or limit >= len(data) else data.shuffle(seed=seed).select(range(limit))


def load_evaluation(options: EvaluationData) -> Dataset:
    """Reads the whole split to evaluate on: labels may be numbers or names, and rows are those of the file.

    Raises:
        DataError: If nothing says where it is, or it has no text.
    """
    data = _read(options, "validation")
    text_columns_of(data, options.text_columns, options.label_column)
    return data


def sample_size(options: EvaluationData, num_examples: int) -> int:
    """The smaller of `--num_examples` and `--max_eval_samples`: of one sample of rows, not of a sample's sample."""
    return num_examples if options.max_eval_samples is None else min(num_examples, options.max_eval_samples)


def _read(options: DataOptions, split: str) -> Dataset:
    file = options.train_file if split == "train" else options.validation_file
    name = options.train_split if split == "train" else options.validation_split
    if file is not None:
        return load_dataset(_format(file), data_files={name: file}, split=name)
    if options.dataset_name is not None:
        return load_dataset(options.dataset_name, options.dataset_config_name, split=name)
    raise DataError(f"no {split} data: give --dataset_name, or --{split}_file with a parquet, csv or json file")


def labels(data: Dataset, column: str) -> list[str]:
    """Names of the classes, in the order of their numbers.

    Raises:
        DataError: If there is no such column, or it does not hold classes.
    """
    if column not in data.column_names:
        raise DataError(f"no column {column!r}: the data set has {', '.join(data.column_names)}; pass --label_column")
    feature = data.features[column]
    if isinstance(feature, ClassLabel):
        return list(feature.names)
    found = set(data[column])
    if len(found) < 2 or found != set(range(len(found))):
        some = ", ".join(sorted(map(repr, found))[:5])
        raise DataError(
            f"labels must be the whole numbers 0, 1, ..., got {some} in {column!r}: "
            "number the classes, or store them as a ClassLabel"
        )
    return [f"LABEL_{label}" for label in range(len(found))]


def tokenize(data: Dataset, tokenizer: PreTrainedTokenizerBase, options: DataOptions) -> Dataset:
    """Tokenized texts and a column `label`; padding is left to the collator, batch by batch."""
    columns = text_columns_of(data, options.text_columns, options.label_column)

    def encode(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        encoded = tokenizer(*(batch[column] for column in columns), truncation=True, max_length=options.max_length)
        return {**encoded, "label": batch[options.label_column]}

    return data.map(encode, batched=True, remove_columns=data.column_names, desc="tokenize")


def _format(file: str) -> str:
    if not Path(file).is_file():
        raise DataError(f"no file {file}")
    if Path(file).suffix not in _FORMATS:
        raise DataError(f"expected a file that ends in {', '.join(_FORMATS)}, got {file}")
    return _FORMATS[Path(file).suffix]
