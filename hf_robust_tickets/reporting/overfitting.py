"""Robust overfitting: what accuracy under attack does after its best epoch, and how far it is below that in training.

Rice, Wong and Kolter, "Overfitting in adversarially robust deep learning", ICML 2020; the columns are those of Chen et
al., "Sparsity Winning Twice", ICLR 2022, table 1.

Example:
    >>> watch = RobustOverfittingCallback({"train": sample, "validation": development, "test": test})
    >>> AdversarialTrainer(model, args, adversary=PixelPGD(), callbacks=[watch], ...).train()
    >>> summary = summarize_overfitting(watch.records)
    >>> print(overfitting_table({"dense": [summary]}))
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import mean, stdev
from typing import Any

from ..errors import DataError
from .tables import markdown_table, text_table


@dataclass(frozen=True)
class AccuracyRecord:
    """Accuracy of one model at one time of its training.

    Attributes:
        step: Optimiser step.
        epoch: The same in epochs.
        standard: Split -> accuracy without attack, in [0, 1].
        robust: Split -> accuracy under attack, in [0, 1].
        criterion: When an example counted as robust: right at the end of the ascent (`"last"`), or at every point that
            it visited (`"any"`).
    """

    step: int
    epoch: float
    standard: Mapping[str, float] = field(default_factory=dict)
    robust: Mapping[str, float] = field(default_factory=dict)
    criterion: str = "last"

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class RobustOverfitting:
    """One training in the columns of the paper; all accuracies and differences are fractions.

    The best epoch is that of the highest robust accuracy on `chosen_on`, a development split; standard and robust
    accuracy at the best epoch are of that same model.

    Attributes:
        split: What the accuracies are of.
        chosen_on: What the best epoch was chosen on.
        best_epoch: When that was.
        best_standard: Standard accuracy (SA) at the best epoch.
        final_standard: SA at the end.
        best_robust: Robust accuracy (RA) at the best epoch.
        final_robust: RA at the end.
        final_train_robust: RA on training examples at the end; None where it was not recorded.
    """

    split: str
    chosen_on: str
    best_epoch: float
    best_standard: float
    final_standard: float
    best_robust: float
    final_robust: float
    final_train_robust: float | None = None

    @property
    def standard_difference(self) -> float:
        """SA at the best epoch minus SA at the end; below 0 where SA still grew."""
        return self.best_standard - self.final_standard

    @property
    def robust_difference(self) -> float:
        """RA at the best epoch minus RA at the end: what robust overfitting costs."""
        return self.best_robust - self.final_robust

    @property
    def robust_generalization_gap(self) -> float | None:
        """RA on training examples minus RA on `split`, both at the end."""
        return None if self.final_train_robust is None else self.final_train_robust - self.final_robust

    def to_dict(self) -> dict[str, Any]:
        """Fields and differences, as JSON scalars."""
        names = ("standard_difference", "robust_difference", "robust_generalization_gap")
        return asdict(self) | {name: getattr(self, name) for name in names}


def summarize_overfitting(
    records: Sequence[AccuracyRecord | Mapping[str, Any]], split: str = "test", chosen_on: str = "validation"
) -> RobustOverfitting:
    """Best and final accuracy of a training.

    Args:
        records: One per epoch, oldest first; as objects or as `AccuracyRecord.to_dict` gives them.
        split: The split to report.
        chosen_on: The split that the best epoch is chosen on: a development split, for a best epoch chosen on the test
            split is not a result.

    Raises:
        DataError: If there is no record, or one lacks a split.
    """
    records = [_as_record(record) for record in records]
    if not records:
        raise DataError("expected at least one record, got none: measure accuracy at the end of every epoch")
    for record in records:
        lacking = [name for name in (split, chosen_on) if name not in record.robust]
        if lacking or split not in record.standard:
            raise DataError(
                f"expected accuracies of {split!r} and {chosen_on!r}, got {sorted(record.robust)} at epoch "
                f"{record.epoch:g}: pass split= and chosen_on="
            )
    best, final = max(records, key=lambda record: record.robust[chosen_on]), records[-1]
    return RobustOverfitting(
        split,
        chosen_on,
        best.epoch,
        best_standard=best.standard[split],
        final_standard=final.standard[split],
        best_robust=best.robust[split],
        final_robust=final.robust[split],
        final_train_robust=final.robust.get("train"),
    )


def _as_record(record: AccuracyRecord | Mapping[str, Any]) -> AccuracyRecord:
    return record if isinstance(record, AccuracyRecord) else AccuracyRecord(**record)


_PERCENT_COLUMNS = {
    "SA best": "best_standard",
    "SA final": "final_standard",
    "SA diff": "standard_difference",
    "RA best": "best_robust",
    "RA final": "final_robust",
    "RA diff": "robust_difference",
}


def overfitting_rows(
    summaries: Mapping[str, Sequence[RobustOverfitting]],
    training_flops: Mapping[str, float] | None = None,
    inference_flops: Mapping[str, float] | None = None,
    seconds: Mapping[str, float] | None = None,
) -> list[dict[str, Any]]:
    """One row per method in the columns of the paper; for `markdown_table` and `text_table`.

    Args:
        summaries: Name of the method -> its trainings, one per seed. With more than one, a cell is their mean and
            their standard deviation (of the sample).
        training_flops: Method -> theoretical operations of the training; None leaves the column out.
        inference_flops: Method -> theoretical operations of a forward pass over one example.
        seconds: Method -> measured seconds of the training; a column of its own, for theory saves no time by itself.

    Returns:
        Rows of text: accuracies in per cent, differences and gap in percentage points.

    Raises:
        DataError: If a method has no training.
    """
    rows = []
    for name, trainings in summaries.items():
        if not trainings:
            raise DataError(f"expected at least one training of {name!r}, got none")
        row: dict[str, Any] = {"method": name}
        for column, attribute in _PERCENT_COLUMNS.items():
            row[column] = _percent([getattr(training, attribute) for training in trainings])
        for column, values in (("training FLOPs", training_flops), ("inference FLOPs", inference_flops)):
            if values is not None:
                row[column] = f"{values[name]:.3g}" if name in values else None
        if seconds is not None:
            row["measured seconds"] = round(seconds[name]) if name in seconds else None
        gaps = [training.robust_generalization_gap for training in trainings]
        row["robust generalisation gap"] = None if None in gaps else _percent(gaps)
        rows.append(row)
    return rows


def overfitting_table(
    summaries: Mapping[str, Sequence[RobustOverfitting]], *, markdown: bool = True, **columns: Any
) -> str:
    """`overfitting_rows` as a table, in Markdown or for a terminal; `columns` as there."""
    rows = overfitting_rows(summaries, **columns)
    return markdown_table(rows) if markdown else text_table(rows)


def _percent(values: Sequence[float]) -> str:
    text = f"{100 * mean(values):.2f}"
    if len(values) == 1:
        return text
    spread = stdev(values)
    return f"{text} ± {100 * spread:.2f}" if math.isfinite(spread) else text
