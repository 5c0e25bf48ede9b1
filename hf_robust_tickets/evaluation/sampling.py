"""From a data set to a sample of texts and labels that fit the model."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import DataError
from .config import EvaluationConfig
from .datasets.labels import Classes, labelled_rows, labels_of, where

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PretrainedConfig

PAIRS = (("premise", "hypothesis"), ("sentence1", "sentence2"), ("question1", "question2"), ("question", "sentence"))
"""Pairs of columns that are one input: NLI; MRPC, RTE, STS; QQP; QNLI."""

NOT_TEXT = frozenset({"id", "idx", "guid", "uid", "index"})
"""Columns that may be strings but are never what a model reads."""


@dataclass(frozen=True)
class Example:
    """One row of the sample.

    Attributes:
        index: Row in the data set.
        texts: Column -> text, one or two.
        label: Class in the model's numbering.
    """

    index: int
    texts: dict[str, str]
    label: int


def select_examples(
    dataset: Dataset | Sequence[Mapping[str, Any]],
    model_config: PretrainedConfig,
    config: EvaluationConfig,
    any_text: bool = False,
) -> list[Example]:
    """Draws the sample that an evaluation uses: seeded, stratified, in the order of the data set.

    Args:
        dataset: A `datasets.Dataset`, or a list of dicts.
        model_config: The model's configuration: number and names of its classes.
        config: The settings of the evaluation; `num_examples` may be larger than there are examples.
        any_text: Take texts that no tokenizer can read, with lone surrogates, too.

    Returns:
        The sample.

    Raises:
        DataError: If columns, texts or labels are not what the model needs.
    """
    dataset = rows_of(dataset)
    columns = list(dataset.column_names) if hasattr(dataset, "column_names") else list(dataset[0])
    if config.label_column not in columns:
        raise DataError(f"expected a label column {config.label_column!r}, got columns {columns}: pass label_column=")
    chosen = text_columns_of(dataset, config.text_columns, config.label_column)
    labels = labels_of(dataset, config.label_column, Classes.of_model(model_config))
    rows = labelled_rows(labels)
    indices = [rows[i] for i in stratified_sample([labels[row] for row in rows], config.num_examples, config.seed)]
    return [Example(i, _texts(dataset[i], chosen, i, any_text), labels[i]) for i in indices]


def rows_of(dataset: Any) -> Any:
    """A split as people have it, as rows that can be counted: whatever its format, all of its columns.

    Raises:
        DataError: If it is no split, a stream, or empty.
    """
    check_split(dataset)
    if hasattr(dataset, "to_dict") and hasattr(dataset, "iloc"):  # pandas
        dataset = dataset.to_dict("records")
    elif hasattr(dataset, "with_format") and hasattr(dataset, "column_names"):
        dataset = dataset.with_format(None)
    if not hasattr(dataset, "column_names") and not isinstance(dataset[0], Mapping):
        raise DataError(
            f"expected rows as mappings from column to value, got {type(dataset[0]).__name__}: pass a list of dicts"
        )
    return dataset


def check_split(dataset: Any) -> None:
    """Raises DataError for what is no split of countable rows: several splits, a stream, a name, nothing."""
    if hasattr(dataset, "all_special_ids"):
        raise DataError(
            f"expected a data set as the second argument, got {type(dataset).__name__}: the order is model, dataset, "
            "tokenizer"
        )
    if isinstance(dataset, Mapping):
        raise DataError(f"expected one split, got a mapping of splits {sorted(dataset)}: pass dataset['validation']")
    if isinstance(dataset, str | bytes) or not (hasattr(dataset, "__len__") or hasattr(dataset, "__iter__")):
        raise DataError(
            f"expected a data set or a list of dicts, got {type(dataset).__name__}: open it with load_dataset"
        )
    if not hasattr(dataset, "__len__"):
        raise DataError(
            f"expected a data set with a length, got a stream ({type(dataset).__name__}): take a part of it, "
            "Dataset.from_list(list(stream.take(1000)))"
        )
    if len(dataset) == 0:
        raise DataError("expected at least one example, got an empty data set")


def stratified_sample(labels: Sequence[int], num_examples: int | None, seed: int) -> list[int]:
    """Draws without replacement so that the classes keep their shares, within one example each (largest remainder).

    Args:
        labels: Class of every row.
        num_examples: Size of the sample; None, or more than there are: every row.
        seed: The same seed gives the same rows.

    Returns:
        Rows, ascending.
    """
    total = len(labels)
    if num_examples is None or num_examples >= total:
        return list(range(total))
    strata: dict[int, list[int]] = defaultdict(list)
    for index, label in enumerate(labels):
        strata[label].append(index)
    names = sorted(strata)
    exact = {name: num_examples * len(strata[name]) / total for name in names}
    quota = {name: int(exact[name]) for name in names}
    left = num_examples - sum(quota.values())
    for name in sorted(names, key=lambda name: (quota[name] - exact[name], name))[:left]:
        quota[name] += 1
    generator = random.Random(seed)
    return sorted(index for name in names for index in generator.sample(strata[name], quota[name]))


def _is_text(dataset: Any, column: str) -> bool:
    if hasattr(dataset, "features"):
        return getattr(dataset.features[column], "dtype", None) in {"string", "large_string"}
    return isinstance(dataset[0].get(column), str)


def text_columns_of(dataset: Any, wanted: str | Sequence[str] | None, label_column: str) -> tuple[str, ...]:
    """The columns that hold the text: those wanted, else the only one of strings, else a known pair.

    Raises:
        DataError: If the wanted ones are not there, or it cannot be told which they are.
    """
    columns = list(dataset.column_names) if hasattr(dataset, "column_names") else list(dataset[0])
    if wanted is not None:
        chosen = (wanted,) if isinstance(wanted, str) else tuple(wanted)
        if not 1 <= len(chosen) <= 2:
            raise DataError(f"expected one text column or a pair, got {len(chosen)}: {chosen}")
        for column in chosen:
            if column not in columns:
                raise DataError(f"expected a text column {column!r}, got columns {columns}")
            if not _is_text(dataset, column):
                raise DataError(
                    f"expected strings in the text column {column!r}, got another type: pass text_columns="
                )
        return chosen
    texts = [name for name in columns if name != label_column and name not in NOT_TEXT and _is_text(dataset, name)]
    if len(texts) == 1:
        return (texts[0],)
    for pair in PAIRS:
        if sorted(pair) == sorted(texts):
            return pair
    problem = "none" if not texts else f"{len(texts)}: {texts}"
    raise DataError(f"expected one text column or a known pair, got {problem} among {columns}: pass text_columns=")


def text_of(value: Any, column: str, row: int, source: str = "") -> str:
    """A cell that is to be read.

    Raises:
        DataError: If it is empty, blank or no text; it names the row.
    """
    if isinstance(value, str) and value.strip():
        return value
    got = "a blank text" if isinstance(value, str) and value else "an empty cell" if not value else repr(value)[:100]
    raise DataError(
        f"expected a text in column {column!r} of {where(row, source)}, got {got}: fill the cell, or leave the row out"
    )


def _texts(row: Mapping[str, Any], columns: tuple[str, ...], index: int, any_text: bool) -> dict[str, str]:
    texts = {column: text_of(row.get(column), column, index) for column in columns}
    for column, text in texts.items() if not any_text else ():
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise DataError(
                f"expected a text that can be read in column {column!r} of {where(index)}, got one with a lone "
                "surrogate: correct the row, or leave it out"
            )
    return texts
