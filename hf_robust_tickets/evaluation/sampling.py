"""From a data set to a sample of texts and labels that fit the model."""

from __future__ import annotations

import logging
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import DataError
from .config import EvaluationConfig

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PretrainedConfig

logger = logging.getLogger(__name__)

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
) -> list[Example]:
    """Draws the sample that an evaluation uses: seeded, stratified, in the order of the data set.

    Args:
        dataset: A `datasets.Dataset`, or a list of dicts.
        model_config: The model's configuration: number and names of its classes.
        config: The settings of the evaluation; `num_examples` may be larger than there are examples.

    Returns:
        The sample.

    Raises:
        DataError: If columns, texts or labels are not what the model needs.
    """
    if hasattr(dataset, "all_special_ids"):
        raise DataError(
            f"expected a data set as the second argument, got {type(dataset).__name__}: the order is model, dataset, "
            "tokenizer"
        )
    if isinstance(dataset, Mapping):
        raise DataError(f"expected one split, got a mapping of splits {sorted(dataset)}: pass dataset['validation']")
    if len(dataset) == 0:
        raise DataError("expected at least one example, got an empty data set")
    columns = list(dataset.column_names) if hasattr(dataset, "column_names") else list(dataset[0])
    if config.label_column not in columns:
        raise DataError(f"expected a label column {config.label_column!r}, got columns {columns}: pass label_column=")
    chosen = text_columns_of(dataset, config.text_columns, config.label_column)
    labels = _labels(dataset, model_config, config.label_column)
    indices = stratified_sample(labels, config.num_examples, config.seed)
    return [Example(i, _texts(dataset[i], chosen, i), labels[i]) for i in indices]


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


def _texts(row: Mapping[str, Any], columns: tuple[str, ...], index: int) -> dict[str, str]:
    texts = {}
    for column in columns:
        text = row.get(column)
        if not isinstance(text, str) or not text.strip():
            got = "an empty text" if isinstance(text, str) else repr(text)
            raise DataError(f"expected a text in column {column!r} of row {index}, got {got}: filter the data set")
        texts[column] = text
    return texts


def _labels(dataset: Any, config: PretrainedConfig, column: str) -> list[int]:
    """All labels in the model's numbering."""
    raw = dataset[column] if hasattr(dataset, "column_names") else [row.get(column) for row in dataset]
    feature = dataset.features[column] if hasattr(dataset, "features") else None
    names = list(getattr(feature, "names", None) or [])
    mapping = match_classes(names, config) if names else None
    by_name = {_normal(name): index for index, name in (config.id2label or {}).items()}
    labels = []
    for index, value in enumerate(raw):
        if isinstance(value, str):
            if _normal(value) not in by_name:
                known = sorted(map(str, (config.id2label or {}).values()))
                raise DataError(f"expected a label among the model's {known} in row {index}, got {value!r}")
            labels.append(int(by_name[_normal(value)]))
            continue
        labels.append(_number(value, index, len(names) or config.num_labels))
    if mapping is not None:
        labels = [mapping[label] for label in labels]
    return labels


def _number(value: Any, index: int, classes: int) -> int:
    try:
        number = int(value)
        exact = number == value
    except (TypeError, ValueError):
        number, exact = 0, False
    if not exact or not 0 <= number < classes:
        hint = ": this split is unlabelled, take another" if exact and number == -1 else ""
        raise DataError(f"expected a class number in 0..{classes - 1} in row {index}, got {value!r}{hint}")
    return number


def _normal(name: Any) -> str:
    return str(name).strip().lower().replace("_", " ").replace("-", " ")


def match_classes(names: list[str], config: PretrainedConfig) -> list[int] | None:
    """Data set's class number -> model's, by name where both sides have names; None if they agree as they are.

    Raises:
        DataError: If the model has fewer classes, or only some of the names.
    """
    if len(names) > config.num_labels:
        raise DataError(f"expected a model for the data set's {len(names)} classes {names}, got {config.num_labels}")
    model_names = [_normal((config.id2label or {}).get(i, f"label {i}")) for i in range(config.num_labels)]
    wanted = [_normal(name) for name in names]
    generic = all(name == f"label {i}" for i, name in enumerate(model_names))
    if generic or wanted == model_names[: len(wanted)]:
        return None
    if set(wanted) <= set(model_names):
        logger.info("labels are matched by name: data set %s, model %s", names, list(config.id2label.values()))
        return [model_names.index(name) for name in wanted]
    if set(wanted) & set(model_names):
        raise DataError(
            f"expected the model's class names to match the data set's {names}, got {list(config.id2label.values())}: "
            "set model.config.id2label and label2id"
        )
    logger.warning(
        "class names cannot be compared (data set %s, model %s): class numbers are taken as they are",
        names,
        list(config.id2label.values()),
    )
    return None
