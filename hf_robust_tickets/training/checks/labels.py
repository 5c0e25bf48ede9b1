"""Whether there is anything to learn from, said before training rather than in its first step."""

from __future__ import annotations

from typing import Any

from transformers import DataCollatorWithPadding, default_data_collator

from ...errors import DataError

# Names that the default collators turn into `labels`.
_COLLATED = ("label", "label_ids")


def refuse_unlabelled(dataset: Any, collator: Any, label_names: list[str]) -> None:
    """Checks that a data set has labels, where it has named columns and its collator makes no labels of its own.

    Raises:
        DataError: If it has none.
    """
    columns = getattr(dataset, "column_names", None)
    makes_none = collator is default_data_collator or type(collator) is DataCollatorWithPadding
    if columns is None or not makes_none or set(columns) & {*label_names, *_COLLATED}:
        return
    raise DataError(
        f"the training data has no labels: expected one of the columns {', '.join([*label_names, 'label'])}, got "
        f"{', '.join(columns)}; rename the column, or pass a data_collator that makes labels"
    )
