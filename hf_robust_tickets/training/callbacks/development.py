"""The development sample that a callback attacks while a model trains: checked as training data are."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from ...errors import DataError
from ...evaluation.datasets.labels import (
    UNLABELLED,
    Classes,
    class_names,
    column_of,
    labels_of,
    unlabelled_warning,
    where,
)
from ...evaluation.sampling import rows_of, stratified_sample, text_columns_of, text_of

logger = logging.getLogger(__name__)

_SOURCE = "the development data"
_ENCODED = {"input_ids", "pixel_values"}


class DevelopmentSample:
    """A fixed sample of a split, stratified by label.

    Args:
        data: Texts and labels, or `input_ids` (or `pixel_values`) and labels.
        num_examples: Size of the sample.
        seed: Its seed.
        label_column: Column of the labels; `labels` is found too.
        text_columns: Columns of the texts; None to find them.

    Attributes:
        rows: The sample, as rows of the data.

    Raises:
        DataError: If there are no examples or no labels, or a row of the sample has no text; it names the row.
    """

    def __init__(
        self,
        data: Any,
        num_examples: int,
        seed: int,
        label_column: str,
        text_columns: str | Sequence[str] | None = None,
    ) -> None:
        self._data = data = rows_of(data)
        columns = list(data.column_names) if hasattr(data, "column_names") else list(data[0])
        self._label = next((name for name in (label_column, "labels") if name in columns), None)
        if self._label is None:
            raise DataError(f"expected a column {label_column!r}, got {columns}: pass label_column=")
        labels = column_of(data, self._label)
        for row, value in enumerate(labels):
            if value is None:
                raise DataError(
                    f"expected a label in {self._label!r} of {where(row, _SOURCE)}, got an empty cell: fill it"
                )
        labelled = list(range(len(labels)))
        if class_names(data, self._label) is not None:
            if without := unlabelled_warning(labels, _SOURCE):
                logger.warning("%s", without)
            labelled = [row for row in labelled if labels[row] != UNLABELLED]
        numbers = {value: number for number, value in enumerate(sorted({labels[row] for row in labelled}, key=str))}
        chosen = stratified_sample([numbers[labels[row]] for row in labelled], num_examples, seed)
        indices = [labelled[i] for i in chosen]
        if not _ENCODED & set(columns):
            for column in text_columns_of(data, text_columns, self._label):
                for row in indices:
                    text_of(data[row].get(column), column, row, _SOURCE)
        self.rows = data.select(indices) if hasattr(data, "select") else [data[i] for i in indices]

    def check_labels(self, config: Any) -> None:
        """Raises DataError if a label of the split is no class of the model with this configuration."""
        labels_of(self._data, self._label, Classes.of_model(config), _SOURCE)
