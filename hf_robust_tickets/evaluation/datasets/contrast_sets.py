"""Contrast sets: small changes by people that change the label, or must not, evaluated together with the original.

Gardner et al., "Evaluating Models' Local Decision Boundaries via Contrast Sets", Findings of EMNLP 2020; Kaushik et
al., "Learning the Difference that Makes a Difference with Counterfactually-Augmented Data", ICLR 2020.
"""

from __future__ import annotations

import logging
import os
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..._files import write_json
from ..._provenance import describe_data
from ...errors import DataError
from ..fingerprints import describe_model, versions
from ..results import false_robustness as checks
from ..results.example import tokenizer_input
from ..results.metrics import wilson_interval
from ..sampling import select_examples
from ..victim.model import Victim, evaluation_mode

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

SCHEMA = "hf_robust_tickets/contrast"


@dataclass(frozen=True)
class ContrastResult:
    """Accuracy on groups of texts that differ in little.

    Attributes:
        num_examples: Rows that were evaluated.
        right: How many of them are classified right.
        num_groups: Groups of two rows or more.
        consistent: How many of them are right in every row.
        kinds: Kind of row -> (right, rows), where the data says kinds.
        left_out: Rows that belong to no group.
        model: What was evaluated.
        settings: The arguments that bear on the figures.
        warnings: What a reader has to know.
    """

    num_examples: int
    right: int
    num_groups: int
    consistent: int
    kinds: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    left_out: int = 0
    model: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def accuracy(self) -> float:
        """Share of the rows that is right, in [0, 1]."""
        return self.right / self.num_examples

    @property
    def consistency(self) -> float:
        """Contrast consistency (Gardner et al., section 2.3): share of the groups that are right throughout."""
        return self.consistent / self.num_groups

    @property
    def confidence_interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the consistency."""
        return wilson_interval(self.consistent, self.num_groups)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "schema": SCHEMA,
            "schema_version": 1,
            "accuracy": self.accuracy,
            "consistency": self.consistency,
            "confidence_interval": list(self.confidence_interval),
            **{
                name: getattr(self, name) for name in ("num_examples", "right", "num_groups", "consistent", "left_out")
            },
            "kinds": {
                kind: {"right": right, "rows": rows, "accuracy": right / rows}
                for kind, (right, rows) in self.kinds.items()
            },
            "model": dict(self.model),
            "settings": dict(self.settings),
            "versions": versions(),
            "warnings": list(self.warnings),
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the result as JSON, atomically."""
        write_json(Path(path), self.to_dict())


def contrast_groups(
    dataset: Dataset | Sequence[Mapping[str, Any]], kind_column: str = "kind", original: str = "original"
) -> list[int | None]:
    """Groups of a contrast set that names none: a changed row belongs to the original that it shares a text with.

    Args:
        dataset: Rows with a column that says which of them are originals.
        kind_column: That column.
        original: Its value for originals.

    Returns:
        Per row the row of its original; None where no original shares a text with it, or several do.

    Raises:
        DataError: If there is no such column, or no original.
    """
    rows = [dataset[i] for i in range(len(dataset))]
    if not rows or kind_column not in rows[0]:
        raise DataError(f"expected a column {kind_column!r} that says which rows are originals")
    texts = [name for name, value in rows[0].items() if isinstance(value, str) and name != kind_column]
    owners: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        if row[kind_column] == original:
            for name in texts:
                owners[name, row[name]].append(i)
    if not owners:
        raise DataError(f"expected rows whose {kind_column!r} is {original!r}, got none")
    groups: list[int | None] = []
    for i, row in enumerate(rows):
        found = {owner for name in texts for owner in owners.get((name, row[name]), ())}
        groups.append(i if row[kind_column] == original else found.pop() if len(found) == 1 else None)
    return groups


def evaluate_contrast(
    model: PreTrainedModel,
    dataset: Dataset | Sequence[Mapping[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    groups: str | Sequence[Hashable | None],
    *,
    kind_column: str | None = None,
    text_columns: str | Sequence[str] | None = None,
    label_column: str = "label",
    batch_size: int = 64,
    max_length: int | None = None,
) -> ContrastResult:
    """Measures on how many contrast sets a model is right throughout.

    Args:
        model: A sequence classifier; it is put into evaluation mode and back.
        dataset: One split of texts and labels, originals and changed texts as rows of their own.
        tokenizer: Its tokenizer.
        groups: Column with the name of each row's group, or one entry per row (see `contrast_groups`); None for a row
            that belongs to none. Rows without a group, and groups of one row, are left out.
        kind_column: Column that says what a row is (original, or which change), for accuracy by kind.
        text_columns: The text column or pair; None to guess, which needs a data set without further columns of text.
        label_column: Column of the labels.
        batch_size: Most texts per forward call.
        max_length: Truncation in tokens; None for the tokenizer's limit.

    Raises:
        DataError: If data set, groups and model do not fit.
    """
    of_row = _group_of_each_row(dataset, groups)
    if len(of_row) != len(dataset):
        raise DataError(f"expected one group per row ({len(dataset)}), got {len(of_row)}")
    sizes = Counter(group for group in of_row if group is not None)
    rows = [i for i, group in enumerate(of_row) if group is not None and sizes[group] > 1]
    if not rows:
        raise DataError("expected groups of two rows or more, got none")
    examples = select_examples(
        dataset, model.config, num_examples=None, seed=0, text_columns=text_columns, label_column=label_column
    )
    examples = [examples[i] for i in rows]
    victim = Victim(model, tokenizer, batch_size=batch_size, max_length=max_length)
    warnings = checks.mode_warnings(model)
    with evaluation_mode(model):
        logits = victim([tokenizer_input(example.texts) for example in examples])
    warnings += checks.logit_scale_warnings(checks.margins(logits))
    for warning in warnings:
        logger.warning("%s", warning)
    right = [int(row.argmax()) == example.label for row, example in zip(logits, examples)]
    by_group: dict[Hashable, list[bool]] = defaultdict(list)
    by_kind: dict[str, list[bool]] = defaultdict(list)
    for i, ok in zip(rows, right):
        by_group[of_row[i]].append(ok)
        if kind_column is not None:
            by_kind[str(dataset[i][kind_column])].append(ok)
    return ContrastResult(
        num_examples=len(rows),
        right=sum(right),
        num_groups=len(by_group),
        consistent=sum(map(all, by_group.values())),
        kinds={kind: (sum(found), len(found)) for kind, found in by_kind.items()},
        left_out=len(of_row) - len(rows),
        model=describe_model(model),
        settings={
            "text_columns": list(examples[0].texts),
            "label_column": label_column,
            "max_length": victim.max_length,
            "data": describe_data(dataset),
        },
        warnings=tuple(warnings),
    )


def _group_of_each_row(dataset: Any, groups: str | Sequence[Hashable | None]) -> list[Hashable | None]:
    if not isinstance(groups, str):
        return list(groups)
    rows = [dataset[i] for i in range(len(dataset))]
    if not any(groups in row for row in rows):
        columns = sorted({name for row in rows for name in row})
        raise DataError(f"expected a column {groups!r} that names each row's group, got columns {columns}")
    return [row.get(groups) for row in rows]
