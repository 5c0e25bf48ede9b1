"""Adversarial examples made on one model, replayed on another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Unpack

from ..._arguments import check_arguments
from ...errors import DataError
from ..config import EvaluationConfig, EvaluationSettings
from ..fingerprints import describe_model, versions
from ..results import false_robustness
from ..results.base import EvaluationResult, log_warnings
from ..results.example import ExampleOutcome, Text
from ..results.metrics import wilson_interval
from ..results.recipe import RecipeResult
from ..victim.classifier import as_classifier
from ..victim.model import TextInput, Victim, evaluation_mode
from .labels import Classes, match_names

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class TransferResult(EvaluationResult, kind="transfer"):
    """How a model classifies examples that fooled another.

    A model that withstands attacks on itself but falls for examples made on a plain one is not robust: its own
    attacks were misled.

    Attributes:
        recipe: The attack that made the examples.
        num_examples: Examples that fooled the model they were made on.
        originally_right: How many of their originals the replaying model classifies right.
        still_right: How many of those it classifies right after the attack too.
        fooled: Rows that it classified right before and wrong after.
        source: The model that they were made on; `model` is the one that they were replayed on.
        right_before: Rows that it classified right before.
    """

    recipe: str
    num_examples: int
    originally_right: int
    still_right: int
    fooled: tuple[int, ...] = ()
    source: Mapping[str, Any] = field(default_factory=dict)
    right_before: tuple[int, ...] = ()

    @property
    def accuracy(self) -> float:
        """Of the examples it classified right before, the share that it still does, in [0, 1]; NaN for none."""
        return self.still_right / self.originally_right if self.originally_right else math.nan

    @property
    def confidence_interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy."""
        return wilson_interval(self.still_right, self.originally_right)

    def derived(self) -> dict[str, Any]:
        """Accuracy and its interval."""
        accuracy = None if math.isnan(self.accuracy) else self.accuracy
        return {"accuracy": accuracy, "confidence_interval": list(self.confidence_interval)}

    @classmethod
    def _decoded(cls, name: str, value: Any) -> Any:
        return tuple(value) if name in ("fooled", "right_before") else super()._decoded(name, value)


@check_arguments
def evaluate_transfer(
    model: PreTrainedModel,
    dataset: RecipeResult,
    tokenizer: PreTrainedTokenizerBase,
    *,
    own: RecipeResult | None = None,
    config: EvaluationConfig | None = None,
    **settings: Unpack[EvaluationSettings],
) -> TransferResult:
    """Replays a recipe's successful attacks on another model with the same classes.

    Labels of a result that is from a report are matched to this model's classes by name; where one side has no names,
    or none are shared, class numbers are taken as they are.

    Args:
        model: The model to replay them on; it is put into evaluation mode and back.
        dataset: The texts to replay: outcomes on the model that was attacked, e.g. `report["textfooler"]`.
        tokenizer: The model's tokenizer.
        own: What the same recipe did to this model when it was attacked itself, on the same data: replayed texts that
            do more damage are a sign of false robustness, and give a warning.
        config: Settings that evaluations share.
        **settings: The same as keywords, see `EvaluationConfig`.

    Returns:
        How many of the examples fool this model too.

    Raises:
        DataError: If the model has fewer classes than the labels need, or only some of the other's names.
    """
    unused = ("num_examples", "seed", "text_columns", "label_column")
    config = EvaluationConfig.merged(evaluate_transfer, config, settings, unused=unused)
    model = as_classifier(model)
    fooled = [outcome for outcome in dataset.outcomes if outcome.outcome == "succeeded"]
    labels = _labels([outcome.label for outcome in fooled], dataset, model)
    victim = Victim(model, tokenizer, **config.victim_options)
    warnings = false_robustness.mode_warnings(model)
    with evaluation_mode(model):
        clean = victim([_input(outcome.original) for outcome in fooled])
        after = victim([_input(outcome.perturbed) for outcome in fooled]).argmax(dim=1).tolist()
    right = [label == prediction for label, prediction in zip(labels, clean.argmax(dim=1).tolist())]
    still = [was and label == now for was, label, now in zip(right, labels, after)]
    attacked = [outcome.index for was, outcome in zip(right, fooled) if was]
    broken = tuple(outcome.index for was, now, outcome in zip(right, still, fooled) if was and not now)
    warnings += false_robustness.answer_warnings(clean)
    if own is not None:
        warnings += _compared_with_own(dataset.recipe, attacked, broken, own.outcomes)
    log_warnings(warnings)
    return TransferResult(
        dataset.recipe,
        len(fooled),
        sum(right),
        sum(still),
        broken,
        source=dict(dataset.model),
        right_before=tuple(attacked),
        model=describe_model(model),
        settings={"max_length": victim.max_length, **({"bf16": True} if config.bf16 else {})},
        sample_ids=tuple(outcome.index for outcome in fooled),
        warnings=tuple(warnings),
        versions=versions(),
    )


def _compared_with_own(
    recipe: str, attacked: Sequence[int], broken: Sequence[int], own: Sequence[ExampleOutcome]
) -> list[str]:
    """A warning where replayed texts do more damage than the model's own attack, on the rows where both were tried."""
    kinds = {outcome.index: outcome.outcome for outcome in own if outcome.outcome != "skipped"}
    rows = [index for index in attacked if index in kinds]
    damage = sum(kinds[index] == "succeeded" for index in rows)
    return false_robustness.transfer_warnings(recipe, len(rows), len(set(broken) & set(rows)), damage)


def _labels(labels: list[int], result: RecipeResult, model: PreTrainedModel) -> list[int]:
    """Labels in the numbering of the model that replays."""
    names = result.model.get("id2label", {})
    mapping = (
        match_names([names[key] for key in sorted(names, key=int)], Classes.of_model(model.config)) if names else None
    )
    if mapping is not None:
        return [mapping[label] for label in labels]
    highest = max(labels, default=0)
    if highest >= model.config.num_labels:
        raise DataError(f"expected a model with more than {highest} classes, got {model.config.num_labels}")
    return labels


def _input(text: Text) -> TextInput:
    return text if isinstance(text, str) else tuple(text.values())
