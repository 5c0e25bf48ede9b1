"""Rows with several decisions, in the model's numbering."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import DataError


def label_set(value: Any, config: Any, column: str, row: int) -> np.ndarray:
    """A boolean per label.

    Args:
        value: A number per label, 0 or 1, or the names of the labels that hold.
        config: The model's; its `id2label` has the names.
        column: For messages.
        row: For messages.

    Raises:
        DataError: If it is neither.
    """
    numbers = _numbers(config)
    entries = list(value) if isinstance(value, Sequence | np.ndarray) and not isinstance(value, str) else None
    if entries is not None and entries and not any(isinstance(entry, str) for entry in entries):
        if len(entries) == config.num_labels and all(entry in (0, 1) for entry in entries):
            return np.array(entries, dtype=bool)
    elif entries is not None and all(entry in numbers for entry in entries):
        found = np.zeros(config.num_labels, dtype=bool)
        found[[numbers[entry] for entry in entries]] = True
        return found
    raise DataError(
        f"expected {config.num_labels} numbers of 0 or 1, or names of the model's labels, in {column!r} of row {row}, "
        f"got {str(value)[:100]}: correct the row, or set model.config.id2label"
    )


def tagged_words(words: Any, tags: Any, config: Any, row: int) -> tuple[str, np.ndarray]:
    """A sentence, its words joined by spaces, and the tag of each, negative for none.

    Raises:
        DataError: If there are no words, one has a space in it, or the tags are not the model's or of another number.
    """
    if not isinstance(words, Sequence) or isinstance(words, str) or not words:
        raise DataError(f"expected a list of words in row {row}, got {str(words)[:100]}: pass text_columns=")
    for word in words:
        if not isinstance(word, str) or not word or word.split() != [word]:
            raise DataError(
                f"expected words without spaces in row {row}, got {word!r}: correct the row, or leave it out"
            )
    if not isinstance(tags, Sequence) or isinstance(tags, str) or len(tags) != len(words):
        raise DataError(
            f"expected {len(words)} tags in row {row}, one per word, got {str(tags)[:100]}: pass label_column="
        )
    numbers = _numbers(config)
    found = [numbers.get(tag, None) if isinstance(tag, str) else tag for tag in tags]
    for tag, number in zip(tags, found):
        if not isinstance(number, int) or isinstance(number, bool) or number >= config.num_labels:
            raise DataError(
                f"expected tags of the model (0..{config.num_labels - 1}, or their names) in row {row}, got {tag!r}: "
                "correct the row, or set model.config.id2label"
            )
    return " ".join(words), np.array([max(number, -1) for number in found])


def _numbers(config: Any) -> dict[str, int]:
    return {str(name): int(number) for number, name in (config.id2label or {}).items()}
