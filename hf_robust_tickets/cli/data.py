"""Data sets as the command line gets them: from the Hub or from files, checked as a whole, tokenized."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from datasets import Dataset, load_dataset
from transformers.tokenization_utils_base import BatchEncoding, PreTrainedTokenizerBase

from ..errors import ConfigurationError, DataError
from ..evaluation.datasets.labels import Classes, labelled_rows, labels_of
from ..evaluation.sampling import rows_of, text_columns_of, text_of
from .options import DataOptions

logger = logging.getLogger(__name__)

_BATCH = 32
_FORMATS = {".parquet": "parquet", ".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json"}


@dataclass(frozen=True)
class TrainingData:
    """Both splits, checked against each other row by row.

    Attributes:
        train: The texts, and a column `label` with class numbers.
        validation: The same, in the same numbering.
        classes: What the numbers mean: the classes of the training data, some of which validation may lack.
        text_columns: Where the texts are.
    """

    train: Dataset
    validation: Dataset
    classes: Classes
    text_columns: tuple[str, ...]


def load_training(options: DataOptions, *, seed: int, model_classes: Classes | None = None) -> TrainingData:
    """Reads and checks training and validation data before anything is made of them.

    Args:
        options: Where they are.
        seed: Chooses the parts, where only parts are asked for.
        model_classes: The classes of the classifier that is trained further: where it has the same names, their order
            is kept; None for a new head.

    Raises:
        ConfigurationError: If a part is to have no row.
        DataError: If nothing says where they are, or a row has no text, no label, or one that training data lack; it
            names the row and the file.
    """
    limits = {"train": options.max_train_samples, "validation": options.max_eval_samples}
    if few := [limit for limit in limits.values() if limit is not None and limit < 1]:
        raise ConfigurationError(f"max_train_samples and max_eval_samples must be at least 1, got {few[0]}")
    splits = {split: rows_of(read_split(options, split)) for split in ("train", "validation")}
    sources = {split: source_of(options, split) for split in splits}
    for split, data in splits.items():
        if options.label_column not in data.column_names:
            raise DataError(
                f"no column {options.label_column!r}: the data set has {', '.join(data.column_names)} "
                f"({sources[split]}); pass --label_column"
            )
    columns = text_columns_of(splits["train"], options.text_columns, options.label_column)
    classes = Classes.of_data(splits["train"], options.label_column, sources["train"])
    if model_classes is not None:
        classes = classes.in_order_of(model_classes)
    ready = {}
    for split, data in splits.items():
        text_columns_of(data, columns, options.label_column)
        data = _checked(data, columns, options.label_column, classes, sources[split])
        limit = limits[split]
        small = limit is None or limit >= len(data)
        ready[split] = data if small else data.shuffle(seed=seed).select(range(limit))
    return TrainingData(ready["train"], ready["validation"], classes, columns)


def load_evaluation(options: DataOptions) -> Dataset:
    """Reads the whole split to evaluate on: labels may be numbers or names, and rows are those of the file.

    Raises:
        DataError: If nothing says where it is, or it has no text.
    """
    data = rows_of(read_split(options, "validation"))
    text_columns_of(data, options.text_columns, options.label_column)
    return data


def load_batches(
    options: DataOptions, tokenizer: PreTrainedTokenizerBase, max_length: int, *, count: int, seed: int
) -> list[BatchEncoding]:
    """Texts of the training data as padded batches of 32, without labels.

    Args:
        options: Where they are.
        tokenizer: That of the model.
        max_length: Longer texts are cut to this many tokens.
        count: How many texts at most; the seed chooses them.
        seed: See `count`.

    Raises:
        DataError: If nothing says where they are, or a row has no text.
    """
    data = rows_of(read_split(options, "train"))
    columns = text_columns_of(data, options.text_columns, options.label_column)
    rows = data.shuffle(seed=seed).select(range(min(count, len(data))))
    source = source_of(options, "train")
    texts = [[text_of(rows[row][column], column, row, source) for column in columns] for row in range(len(rows))]
    parts = [texts[start : start + _BATCH] for start in range(0, len(texts), _BATCH)]
    settings = {"truncation": True, "max_length": max_length, "padding": True, "return_tensors": "pt"}
    return [tokenizer(*map(list, zip(*part)), **settings) for part in parts]


def load_texts(files: Sequence[str], options: DataOptions) -> list[str]:
    """All texts of some files: every line of a .txt file, every column of text of the others.

    Args:
        files: Their paths.
        options: How they are read: columns, encoding.

    Raises:
        DataError: If a file is missing or cannot be read, or has no text.
    """
    texts: list[str] = []
    for file in files:
        if Path(file).suffix == ".txt" and Path(file).is_file():
            texts += _lines(file, options.encoding)
            continue
        one = replace(options, train_file=file)
        data = rows_of(read_split(one, "train"))
        columns = text_columns_of(data, options.text_columns, options.label_column)
        texts += [text_of(text, column, row, file) for column in columns for row, text in enumerate(data[column])]
    return texts


def load_development(options: DataOptions, file: str | None, split: str | None) -> Dataset | None:
    """The data that temperatures are fitted on, if any are named.

    Args:
        options: How the attacked data are read: columns, encoding, the data set of a split.
        file: A file of development data.
        split: A split of the data set, in its place.

    Raises:
        ConfigurationError: If both a file and a split are named.
    """
    if file is not None and split is not None:
        raise ConfigurationError("expected --development_file or --development_split, got both")
    if file is None and split is None:
        return None
    named = {"validation_file": file} if file is not None else {"validation_file": None, "validation_split": split}
    return load_evaluation(replace(options, **named))


@contextmanager
def rows_of_file(options: DataOptions) -> Iterator[None]:
    """While it lasts, an error that names a row also says of which file the row is."""
    try:
        yield
    except DataError as error:
        if re.search(r"\brow \d", str(error)):
            error.add_note(f"rows are those of {source_of(options, 'validation')}, counted from 0")
        raise


def sample_size(options: DataOptions, num_examples: int) -> int:
    """The smaller of `--num_examples` and `--max_eval_samples`: of one sample of rows, not of a sample's sample."""
    return num_examples if options.max_eval_samples is None else min(num_examples, options.max_eval_samples)


def tokenize(
    data: Dataset, tokenizer: PreTrainedTokenizerBase, columns: tuple[str, ...], max_length: int, label: str = "label"
) -> Dataset:
    """Tokenized texts and a column `label`; padding is left to the collator, batch by batch."""

    def encode(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        encoded = tokenizer(*(batch[column] for column in columns), truncation=True, max_length=max_length)
        return {**encoded, "label": batch[label]}

    return data.map(encode, batched=True, remove_columns=data.column_names, desc="tokenize")


def _checked(data: Dataset, columns: tuple[str, ...], label_column: str, classes: Classes, source: str) -> Dataset:
    """The rows that have a label, their texts read, their labels in the numbering of `classes`."""
    labels = labels_of(data, label_column, classes, source)
    rows = labelled_rows(labels, source)
    texts = {column: list(data[column]) for column in columns}
    checked = {column: [text_of(values[row], column, row, source) for row in rows] for column, values in texts.items()}
    return Dataset.from_dict({**checked, "label": [labels[row] for row in rows]}, info=_origin(data), split=data.split)


def _origin(data: Dataset) -> Any:
    """Where a data set comes from, for the model card: its columns are others now."""
    info = data.info.copy()
    info.features = None
    return info


def read_split(options: DataOptions, split: str) -> Dataset:
    """The rows of `train` or `validation`, unchecked.

    Raises:
        DataError: If nothing says where they are, or they cannot be read.
    """
    file = options.train_file if split == "train" else options.validation_file
    name = options.train_split if split == "train" else options.validation_split
    if file is None and options.dataset_name is None:
        raise DataError(f"no {split} data: give --dataset_name, or --{split}_file with a parquet, csv or json file")
    try:
        if file is not None:
            return load_dataset(_format(file), data_files={name: file}, split=name, **_reading(options, file))
        return load_dataset(options.dataset_name, options.dataset_config_name, split=name)
    except DataError:
        raise
    # What is wrong with a file or an address stands in the cause: the library wraps it in errors that do not say it.
    except Exception as error:
        reason = _root(error)
        codec = isinstance(reason, UnicodeError) or "utf" in str(reason).lower() or "decode" in str(reason).lower()
        hint = "; pass --encoding, such as utf-16 or latin-1" if codec and file is not None else ""
        text = " ".join(str(reason).split())[:300] or type(reason).__name__
        raise DataError(f"expected {split} data in {source_of(options, split)}, got: {text}{hint}") from error


def _reading(options: DataOptions, file: str) -> dict[str, Any]:
    if _FORMATS[Path(file).suffix] != "csv":
        return {}
    return {"sep": "\t" if Path(file).suffix == ".tsv" else ",", "encoding": options.encoding}


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def source_of(options: DataOptions, split: str) -> str:
    """What a split is called in messages."""
    file = options.train_file if split == "train" else options.validation_file
    if file is not None:
        return file
    name = options.train_split if split == "train" else options.validation_split
    return f"the split {name!r} of {options.dataset_name}"


def _lines(file: str, encoding: str) -> list[str]:
    try:
        return Path(file).read_text(encoding=encoding).splitlines()
    except (OSError, UnicodeError, LookupError) as error:
        raise DataError(f"expected lines of text in {file}, got: {error}; pass --encoding, such as latin-1") from error


def _format(file: str) -> str:
    if not Path(file).is_file():
        raise DataError(f"no file {file}")
    if Path(file).suffix not in _FORMATS:
        raise DataError(f"expected a file that ends in {', '.join(_FORMATS)}, got {file}")
    return _FORMATS[Path(file).suffix]
