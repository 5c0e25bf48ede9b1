"""Labels in one numbering: by name wherever both sides have names, and the row that has none is named."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import DataError

logger = logging.getLogger(__name__)

UNLABELLED = -1
"""What `datasets` writes into a `ClassLabel` column where there is no label, as SNLI does without a gold label."""


@dataclass(frozen=True)
class Classes:
    """The classes that labels are brought to, in the order of their numbers.

    Attributes:
        names: Their names.
        named: Whether these are names that somebody gave, and not `LABEL_0`, ...
        owner: What they belong to, for messages: "the model", "the training data".
    """

    names: tuple[str, ...]
    named: bool
    owner: str

    @classmethod
    def of_model(cls, config: Any) -> Classes:
        """The classes of a model, by its configuration."""
        known = {int(number): str(name) for number, name in (config.id2label or {}).items()}
        names = tuple(known.get(i, f"LABEL_{i}") for i in range(config.num_labels))
        return cls(names, not _are_generic(names), "the model")

    @classmethod
    def of_data(cls, dataset: Any, column: str, source: str = "") -> Classes:
        """The classes of training data: a `ClassLabel`'s, else those of the labels that occur.

        Numbers may be floats or booleans; names may be anything. `source` is what the data are called in messages.

        Raises:
            DataError: If there are no two classes, or the labels are numbers but not 0, 1, ...; it names a row.
        """
        names = class_names(dataset, column)
        if names is None:
            names = _names_that_occur(column_of(dataset, column), column, source)
        if len(names) < 2:
            raise DataError(
                f"expected two classes or more in {column!r}{_of(source)}, got {len(names)}: take more data"
            )
        return cls(tuple(names), not _are_generic(names), "the training data")

    def in_order_of(self, other: Classes) -> Classes:
        """These classes in the order of others, where both have the same names: a head keeps its meaning."""
        place = {_normal(name): i for i, name in enumerate(other.names)}
        if not (self.named and other.named and {_normal(name) for name in self.names} == set(place)):
            return self
        return Classes(tuple(sorted(self.names, key=lambda name: place[_normal(name)])), True, self.owner)


def labels_of(dataset: Any, column: str, classes: Classes, source: str = "") -> list[int]:
    """The label of every row in the numbering of `classes`; `UNLABELLED` in a `ClassLabel` column stays.

    Args:
        dataset: A `datasets.Dataset`, or rows.
        column: Where the labels are: class numbers (whole, as floats or as booleans), or names.
        classes: What they are brought to: by name if both sides have names, else by number.
        source: What the data are called in messages.

    Raises:
        DataError: If a label is none of the classes; it names the row.
    """
    values = column_of(dataset, column)
    names = class_names(dataset, column)
    mapping = None if names is None else match_names(names, classes)
    by_name = {_normal(name): number for number, name in enumerate(classes.names)}
    if not classes.named:
        by_name |= {str(number): number for number in range(len(classes.names))}
    found = []
    for row, value in enumerate(values):
        if isinstance(value, str):
            if _normal(value) not in by_name:
                known = ", ".join(map(repr, sorted(classes.names)[:10]))
                raise DataError(
                    f"expected a class of {classes.owner} ({known}) in {column!r} of {where(row, source)}, got "
                    f"{value!r}: correct the row, or leave it out"
                )
            found.append(by_name[_normal(value)])
            continue
        number = _whole(value)
        if number == UNLABELLED and names is not None:
            found.append(UNLABELLED)
            continue
        most = len(classes.names) if names is None else len(names)
        if number is None or not 0 <= number < most:
            hint = ": without a label it can be neither learnt nor judged" if number == UNLABELLED else ""
            raise DataError(
                f"expected a class number in 0..{most - 1}, those of {classes.owner}, in {column!r} of "
                f"{where(row, source)}, got {value!r}{hint}: correct the row, or leave it out"
            )
        found.append(number if mapping is None else mapping[number])
    return found


def labelled_rows(labels: Sequence[int], source: str = "") -> list[int]:
    """The rows that have a label; a warning says how many have none.

    Raises:
        DataError: If none has one.
    """
    rows = [row for row, label in enumerate(labels) if label != UNLABELLED]
    if not rows:
        raise DataError(f"expected labels{_of(source)}, got -1 in every row: this split is unlabelled, take another")
    if len(rows) < len(labels):
        logger.warning("%s", unlabelled_warning(labels, source))
    return rows


def unlabelled_warning(labels: Sequence[int], source: str = "") -> str:
    """What to say of rows without a label; empty where all have one."""
    without = [row for row, label in enumerate(labels) if label == UNLABELLED]
    if not without:
        return ""
    return f"{len(without)} rows{_of(source)} have no label (-1) and are left out, the first is row {without[0]}"


def match_names(names: Sequence[str], classes: Classes) -> list[int] | None:
    """A data set's class number -> that of `classes`, by name where both have names; None if they agree as they are.

    Raises:
        DataError: If a name is none of the classes', or there are more names than classes.
    """
    if len(names) > len(classes.names):
        raise DataError(
            f"expected {classes.owner} to have the data set's {len(names)} classes {list(names)}, got "
            f"{len(classes.names)}: {list(classes.names)}"
        )
    wanted, known = [_normal(name) for name in names], [_normal(name) for name in classes.names]
    if not classes.named or _are_generic(names) or wanted == known[: len(wanted)]:
        return None
    if set(wanted) <= set(known):
        logger.info("classes are matched by name: data set %s, %s %s", names, classes.owner, classes.names)
        return [known.index(name) for name in wanted]
    if set(wanted) & set(known):
        raise DataError(
            f"expected {classes.owner}'s class names to match the data set's {list(names)}, got "
            f"{list(classes.names)}: set model.config.id2label and label2id, or rename the classes"
        )
    logger.warning(
        "class names cannot be compared (data set %s, %s %s): class numbers are taken as they are",
        *(names, classes.owner, classes.names),
    )
    return None


def class_names(dataset: Any, column: str) -> list[str] | None:
    """The names of a `ClassLabel` column; None for any other."""
    feature = dataset.features[column] if hasattr(dataset, "features") else None
    names = getattr(feature, "names", None)
    return None if names is None else list(names)


def column_of(dataset: Any, column: str) -> list[Any]:
    """All values of a column."""
    return list(dataset[column]) if hasattr(dataset, "column_names") else [row.get(column) for row in dataset]


def where(row: int, source: str = "") -> str:
    """A row as its owner finds it: "row 5", "row 5 of reviews.csv" (the first is row 0)."""
    return f"row {row}{_of(source)}"


def _names_that_occur(values: Iterable[Any], column: str, source: str) -> list[str]:
    first: dict[Any, int] = {}
    for row, value in enumerate(values):
        # Values that cannot be compared, such as lists, are told apart by what they look like.
        first.setdefault(value if isinstance(value, str | int | float | bool) else repr(value), row)
        if value is None:
            raise DataError(f"expected a label in {column!r} of {where(row, source)}, got an empty cell: fill it")
    if first and all(isinstance(value, str) for value in first):
        return sorted(first)
    numbers = {value: _whole(value) for value in first}
    for value, number in numbers.items():
        if number is None or not 0 <= number < len(first):
            missing = sorted(set(range(len(first))) - set(numbers.values()))
            raise DataError(
                f"expected the labels in {column!r}{_of(source)} to be the whole numbers 0, 1, ..., {len(first) - 1}, "
                f"or names, got {value!r} in row {first[value]} (and no {missing[0]}): number the classes without gaps"
            )
    return [f"LABEL_{number}" for number in range(len(first))]


def _whole(value: Any) -> int | None:
    """A number as a class number; None if it is not whole, or no number."""
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if not isinstance(value, str) and number == value else None


def _are_generic(names: Sequence[str]) -> bool:
    return all(_normal(name) in (f"label {i}", str(i)) for i, name in enumerate(names))


def _normal(name: Any) -> str:
    return str(name).strip().lower().replace("_", " ").replace("-", " ")


def _of(source: str) -> str:
    return f" of {source}" if source else ""
