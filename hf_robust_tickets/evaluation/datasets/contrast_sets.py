"""Contrast sets: small changes by people that change the label, or must not, evaluated together with the original.

Gardner et al., "Evaluating Models' Local Decision Boundaries via Contrast Sets", Findings of EMNLP 2020; Kaushik et
al., "Learning the Difference that Makes a Difference with Counterfactually-Augmented Data", ICLR 2020.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Unpack

from ..._arguments import check_arguments
from ...errors import DataError
from ..config import EvaluationConfig, EvaluationSettings
from ..fingerprints import describe_model, describe_texts, versions
from ..results import false_robustness
from ..results.base import EvaluationResult, log_warnings
from ..results.example import tokenizer_input
from ..results.metrics import wilson_interval
from ..sampling import rows_of, select_examples
from ..victim.classifier import as_classifier
from ..victim.model import Victim, evaluation_mode
from ..victim.reading import unread_warnings

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class ContrastResult(EvaluationResult, kind="contrast"):
    """Accuracy on groups of texts that differ in little.

    Attributes:
        num_examples: Rows that were evaluated.
        right: How many of them are classified right.
        num_groups: Groups of two rows or more.
        consistent: How many of them are right in every row.
        kinds: Kind of row -> (right, rows), where the data says kinds.
        left_out: Rows that belong to no group.
    """

    num_examples: int
    right: int
    num_groups: int
    consistent: int
    kinds: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    left_out: int = 0

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

    def derived(self) -> dict[str, Any]:
        """Accuracy, consistency and its interval."""
        figures = {"accuracy": self.accuracy, "consistency": self.consistency}
        return {**figures, "confidence_interval": list(self.confidence_interval)}

    def _encoded(self, name: str, value: Any) -> Any:
        if name != "kinds":
            return super()._encoded(name, value)
        return {
            kind: {"right": right, "rows": rows, "accuracy": right / rows} for kind, (right, rows) in value.items()
        }

    @classmethod
    def _decoded(cls, name: str, value: Any) -> Any:
        if name != "kinds":
            return super()._decoded(name, value)
        return {kind: (found["right"], found["rows"]) for kind, found in value.items()}


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
    dataset = rows_of(dataset)
    rows = [dataset[i] for i in range(len(dataset))]
    if kind_column not in rows[0]:
        raise DataError(f"expected a column {kind_column!r} that says which rows are originals")
    texts = [name for name, value in rows[0].items() if isinstance(value, str) and name != kind_column]
    owners: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        if row.get(kind_column) == original:
            for name in texts:
                owners[name, row.get(name)].append(i)
    if not owners:
        raise DataError(f"expected rows whose {kind_column!r} is {original!r}, got none")
    groups: list[int | None] = []
    for i, row in enumerate(rows):
        found = {owner for name in texts for owner in owners.get((name, row.get(name)), ())}
        groups.append(i if row.get(kind_column) == original else found.pop() if len(found) == 1 else None)
    return groups


@check_arguments
def evaluate_contrast(
    model: PreTrainedModel,
    dataset: Dataset | Sequence[Mapping[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    *,
    groups: str | Sequence[Hashable | None],
    kind_column: str | None = None,
    config: EvaluationConfig | None = None,
    **settings: Unpack[EvaluationSettings],
) -> ContrastResult:
    """Measures on how many contrast sets a model is right throughout.

    Args:
        model: A sequence classifier; it is put into evaluation mode and back.
        dataset: One split of texts and labels, originals and changed texts as rows of their own.
        tokenizer: Its tokenizer.
        groups: Column with the name of each row's group, or one entry per row (see `contrast_groups`); None for a row
            that belongs to none. Rows without a group, and groups of one row, are left out.
        kind_column: Column that says what a row is (original, or which change), for accuracy by kind.
        config: Settings that evaluations share.
        **settings: The same as keywords, see `EvaluationConfig`.
            All rows are evaluated, for a part would break the sets. Text columns are guessed only where the data set
            has no further columns of text.

    Raises:
        DataError: If data set, groups and model do not fit.
    """
    config = EvaluationConfig.merged(evaluate_contrast, config, settings, unused=("num_examples", "seed"))
    model = as_classifier(model)
    dataset = rows_of(dataset)
    if kind_column is not None and not any(kind_column in row for row in dataset):
        raise DataError(f"expected a column {kind_column!r} that says what a row is, got columns {sorted(dataset[0])}")
    of_row, rows = _grouped_rows(dataset, groups)
    everything = select_examples(dataset, model.config, replace(config, num_examples=None))
    examples = [everything[i] for i in rows]
    victim = Victim(model, tokenizer, **config.victim_options)
    warnings = false_robustness.mode_warnings(model)
    with evaluation_mode(model):
        logits = victim([tokenizer_input(example.texts) for example in examples])
    warnings += false_robustness.answer_warnings(logits, [example.label for example in examples])
    warnings += unread_warnings([example.texts for example in examples], victim)
    log_warnings(warnings)
    right = [int(row.argmax()) == example.label for row, example in zip(logits, examples)]
    by_group: dict[Hashable, list[bool]] = defaultdict(list)
    by_kind: dict[str, list[bool]] = defaultdict(list)
    for i, ok in zip(rows, right):
        by_group[of_row[i]].append(ok)
        if kind_column is not None:
            by_kind[str(dataset[i].get(kind_column))].append(ok)
    return ContrastResult(
        num_examples=len(rows),
        right=sum(right),
        num_groups=len(by_group),
        consistent=sum(map(all, by_group.values())),
        kinds={kind: (sum(found), len(found)) for kind, found in by_kind.items()},
        left_out=len(of_row) - len(rows),
        model=describe_model(model),
        settings=describe_texts(dataset, examples, config, victim.max_length),
        sample_ids=tuple(rows),
        warnings=tuple(warnings),
        versions=versions(),
    )


def _grouped_rows(dataset: Any, groups: str | Sequence[Hashable | None]) -> tuple[list[Hashable | None], list[int]]:
    """The group of each row, and the rows that are in a group of two or more."""
    of_row = _group_of_each_row(dataset, groups)
    if len(of_row) != len(dataset):
        raise DataError(f"expected one group per row ({len(dataset)}), got {len(of_row)}")
    sizes = Counter(group for group in of_row if group is not None)
    rows = [i for i, group in enumerate(of_row) if group is not None and sizes[group] > 1]
    if not rows:
        raise DataError("expected groups of two rows or more, got none")
    return of_row, rows


def _group_of_each_row(dataset: Any, groups: str | Sequence[Hashable | None]) -> list[Hashable | None]:
    if not isinstance(groups, str):
        if not isinstance(groups, Iterable):
            raise DataError(f"expected a column, or one group per row, got {groups!r}: see contrast_groups")
        return list(groups)
    rows = [dataset[i] for i in range(len(dataset))]
    if not any(groups in row for row in rows):
        columns = sorted({name for row in rows for name in row})
        raise DataError(f"expected a column {groups!r} that names each row's group, got columns {columns}")
    return [row.get(groups) for row in rows]
